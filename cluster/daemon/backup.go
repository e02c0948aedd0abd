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
		return found, fmt.Errorf("%s is there already: name a new file: %w", name, cluster.ErrExists)
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
		err = os.Rename(file.Name(), name)
	}
	if err != nil {
		return found, errors.Join(err, os.Remove(file.Name()))
	}
	return found, syncDirectory(filepath.Dir(name))
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

// RestoreStore makes a backup all that the store holds, wholly or not at all, with a mark that the controller heeds. No controller may run. It wants force to replace what a store
// holds, and to restore the backup of a cluster of another name.
func (e Environment) RestoreStore(ctx context.Context, name string, force bool) (Saved, error) {
	file, err := os.Open(name)
	if err != nil {
		return Saved{}, err
	}
	defer file.Close()
	found, err := checkBackup(ctx, name, file)
	if err != nil {
		return found, err
	}
	if found.Cluster != e.Config.Name && !force {
		return found, fmt.Errorf("%s is a backup of cluster %s and the cluster file is of %s: choose another, or force it (--force): %w",
			name, found.Cluster, e.Config.Name, cluster.ErrConflict)
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return found, err
	}
	b, err := backup.NewReader(file)
	if err != nil {
		return found, err
	}
	return found, e.replace(ctx, controller.MarkRestored(b.Rows(), time.Now(), found.Time), force)
}

func (e Environment) replace(ctx context.Context, rows iter.Seq2[store.RawRow, error], force bool) error {
	if !e.external() {
		_, err := etcdembed.Restore(ctx, e.etcdServer(e.logger()), rows, force)
		return err
	}
	b, err := e.existing(ctx)
	if err != nil {
		return err
	}
	_, err = store.Replace(ctx, b, rows, force)
	return errors.Join(err, b.Close())
}
