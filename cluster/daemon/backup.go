package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/controller"
	"github.com/ciaocloud/ciao/cluster/store"
	"github.com/ciaocloud/ciao/cluster/store/backup"
	"github.com/ciaocloud/ciao/cluster/store/etcdembed"
	"github.com/ciaocloud/ciao/cluster/store/etcdstore"
	"github.com/ciaocloud/ciao/cluster/store/memstore"
)

// Saved says what a backup or a store holds.
type Saved = backup.Summary

// SaveBackup makes a new file of what write writes, which must be a whole backup. The file is readable by its owner only; after a
// failure or a crash there is none of that name.
func SaveBackup(name string, write func(io.Writer) error) (Saved, error) {
	var found Saved
	if _, err := os.Lstat(name); err == nil {
		return found, exists(name)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return found, err
	}
	file, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*") // with mode 0600
	if err != nil {
		return found, fmt.Errorf("nothing can be written to the folder of %s: make it, or name a file elsewhere: %w", name, err)
	}
	if err = write(file); err == nil {
		err = file.Sync()
	}
	if err == nil {
		_, err = file.Seek(0, io.SeekStart)
	}
	if err == nil {
		found, err = backup.Check(file)
	}
	if err = errors.Join(err, file.Close()); err == nil {
		err = publish(file.Name(), name)
	}
	if err != nil {
		return found, errors.Join(err, os.Remove(file.Name()))
	}
	return found, syncDirectory(filepath.Dir(name))
}

// publish gives a file its name, unless another has got that meanwhile. Some file systems cannot rename so, and all of those can link
// (renameat2(2)).
func publish(temporary, name string) error {
	err := unix.Renameat2(unix.AT_FDCWD, temporary, unix.AT_FDCWD, name, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
		if err = os.Link(temporary, name); err == nil {
			return os.Remove(temporary)
		}
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrExist):
		return exists(name)
	}
	return fmt.Errorf("name the backup %s: %w", name, err)
}

func exists(name string) error {
	return fmt.Errorf("%s is there already: name a new file: %w", name, cluster.ErrExists)
}

// syncDirectory makes a new name in a directory last.
func syncDirectory(name string) error {
	directory, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(directory.Sync(), directory.Close())
}

// CheckBackup reads a backup to its end, and proves in memory that this program can restore it.
func CheckBackup(ctx context.Context, name string) (Saved, error) {
	file, err := os.Open(name)
	if err != nil {
		return Saved{}, err
	}
	defer file.Close()
	return checkBackup(ctx, name, file)
}

func checkBackup(ctx context.Context, name string, r io.Reader) (Saved, error) {
	b, err := backup.NewReader(r)
	if err != nil {
		return Saved{}, fmt.Errorf("%s: %w", name, err)
	}
	rows, err := usable(ctx, b.Rows())
	if err != nil {
		return Saved{}, fmt.Errorf("%s: %w", name, err)
	}
	return Saved{Header: b.Header, Rows: rows}, nil
}

// usable proves that a controller of this version can work with rows.
func usable(ctx context.Context, rows iter.Seq2[store.RawRow, error]) (int, error) {
	memory := memstore.New()
	count, err := store.Replace(ctx, memory.Backend(), rows, false)
	if err != nil {
		return 0, err
	}
	db, err := memory.Open(ctx, controller.Schema(), slog.New(slog.DiscardHandler))
	if err != nil {
		return 0, fmt.Errorf("this program cannot use it: %w: %w", err, cluster.ErrInvalid)
	}
	return count, db.Close()
}

// StoreName says where the state is kept, for people.
func (e Environment) StoreName() string {
	if e.external() {
		return fmt.Sprintf("%s in the etcd cluster at %s", e.Config.Controller.Store.Prefix, e.Config.Controller.Store.Endpoints[0])
	}
	return e.etcdServer(nil).Dir
}

// existing gives raw access to a store, while no controller runs on it; it makes none where there is none.
func (e Environment) existing(ctx context.Context) (store.Backend, error) {
	logger := e.logger()
	ctx, cancel := context.WithTimeout(ctx, e.scaled(storeTimeout))
	defer cancel()
	if e.external() {
		settings, err := e.etcdCluster(logger)
		if err != nil {
			return nil, err
		}
		return etcdstore.Connect(ctx, settings)
	}
	settings := e.etcdServer(logger)
	if there, err := etcdembed.Exists(settings); err != nil {
		return nil, err
	} else if !there {
		return nil, fmt.Errorf("there is no store in %s: is controller.directory of the cluster file right?: %w", settings.Dir, cluster.ErrNotFound)
	}
	return etcdembed.OpenBackend(ctx, settings)
}

// CheckStore reads the whole store, and proves that this program can work with it. No controller may run on an embedded one.
func (e Environment) CheckStore(ctx context.Context) (found Saved, err error) {
	err = e.read(ctx, func(write func(io.Writer) error) error {
		reader, writer := io.Pipe()
		var writing sync.WaitGroup
		defer writing.Wait()
		defer reader.Close()
		writing.Go(func() { writer.CloseWithError(write(writer)) })
		found, err = checkBackup(ctx, e.StoreName(), reader)
		return err
	})
	return found, err
}

// BackupStore saves a backup of the store while no controller runs on it.
func (e Environment) BackupStore(ctx context.Context, name string) (found Saved, err error) {
	err = e.read(ctx, func(write func(io.Writer) error) error {
		found, err = SaveBackup(name, write)
		return err
	})
	return found, err
}

func (e Environment) read(ctx context.Context, use func(write func(io.Writer) error) error) error {
	b, err := e.existing(ctx)
	if err != nil {
		return err
	}
	write, err := backup.Begin(ctx, e.Config.Name, b)
	if err == nil {
		err = use(write)
	}
	return errors.Join(err, b.Close())
}

// Restoring says what a restore may do.
type Restoring struct {
	Replace      bool // what the store holds
	OtherCluster bool // take the backup of a cluster of another name
}

// RestoreStore makes a backup all that the store holds, wholly or not at all, with a mark that the controller heeds. No controller may run.
// What the store held is kept in the file or folder of the returned name; empty if there was nothing.
func (e Environment) RestoreStore(ctx context.Context, name string, may Restoring) (found Saved, kept string, err error) {
	file, err := os.Open(name)
	if err != nil {
		return found, "", err
	}
	defer file.Close()
	found, err = checkBackup(ctx, name, file)
	if err != nil {
		return found, "", err
	}
	if found.Cluster != e.Config.Name && !may.OtherCluster {
		return found, "", fmt.Errorf("%s is a backup of cluster %s and the cluster file is of %s: choose another, or say that it is meant (--other-cluster): %w",
			name, found.Cluster, e.Config.Name, cluster.ErrConflict)
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return found, "", err
	}
	b, err := backup.NewReader(file)
	if err != nil {
		return found, "", err
	}
	kept, err = e.replace(ctx, controller.MarkRestored(b.Rows(), time.Now(), found.Time), may.Replace)
	return found, kept, err
}

func (e Environment) replace(ctx context.Context, rows iter.Seq2[store.RawRow, error], force bool) (kept string, err error) {
	if !e.external() {
		_, err := etcdembed.Restore(ctx, e.etcdServer(e.logger()), rows, force)
		return "", err
	}
	b, err := e.existing(ctx)
	if err != nil {
		return "", err
	}
	if force {
		kept, err = e.keep(ctx, b)
	}
	if err == nil {
		_, err = store.Replace(ctx, b, rows, force)
	}
	return kept, errors.Join(err, b.Close())
}

// keep saves what an etcd cluster holds in the controller's folder, before it is replaced. A restore that was cut short has nothing worth keeping.
func (e Environment) keep(ctx context.Context, b store.Backend) (string, error) {
	if holds, err := store.Occupied(ctx, b); err != nil || !holds {
		return "", err
	}
	directory := e.Config.Controller.Directory
	if err := os.MkdirAll(directory, 0o700); err != nil {
		return "", fmt.Errorf("keep what is replaced: %w", err)
	}
	write, err := backup.Begin(ctx, e.Config.Name, b)
	if err != nil {
		return "", fmt.Errorf("keep what is replaced: %w", err)
	}
	name := filepath.Join(directory, "replaced-"+time.Now().UTC().Format("20060102T150405.000000")+".backup")
	if _, err := SaveBackup(name, write); err != nil {
		return "", fmt.Errorf("keep what is replaced: %w", err)
	}
	return name, nil
}
