// Package local keeps volumes in a directory of the node: disks as qcow2 files, which take the room that was written to, files as they
// are.
//
// A volume is made under another name, and one rename makes it count; deleting begins with such a rename, too. What a crash left
// behind under these names is removed when the driver is opened. It needs qemu-img for disks, and cp of GNU coreutils for copies: it shares
// blocks where the file system can, and keeps holes and links.
//
// On disk, below the directory, which nobody but root enters:
//
//	ID/disk.qcow2       a disk
//	ID/files/           files, with the owners and modes that instances gave them
//	.new-ID, .gone-ID   being made, being deleted
package local

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/storage"
)

const (
	newPrefix  = ".new-"
	gonePrefix = ".gone-"
	diskFile   = "disk.qcow2"
	filesName  = "files"
)

// Driver implements storage.Driver.
type Driver struct {
	directory string
	lock      *os.File // the directory, for as long as the driver is open
}

var _ storage.Driver = (*Driver)(nil)

// Open returns the volumes in a directory, which is made when it is not there, and removes what a crash left. A directory that another
// driver has open is cluster.ErrConflict, and left alone: what is half made there is its to finish.
func Open(directory string) (*Driver, error) {
	if err := os.MkdirAll(directory, 0o711); err != nil { // QEMU is not root, and is told the names
		return nil, fmt.Errorf("make the directory of volumes: %w", err)
	}
	lock, err := lockDirectory(directory)
	if err != nil {
		return nil, err
	}
	if err := removeUnfinished(directory); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return &Driver{directory, lock}, nil
}

// Close lets others open the directory. Nothing may be under way; the volumes stay.
func (d *Driver) Close() error { return d.lock.Close() }

const (
	lockWait  = 5 * time.Second // programs of a driver whose process was killed may take a moment to die with it
	lockEvery = 10 * time.Millisecond
)

func lockDirectory(name string) (*os.File, error) {
	directory, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("open the directory of volumes: %w", err)
	}
	for deadline := time.Now().Add(lockWait); ; time.Sleep(lockEvery) {
		err = syscall.Flock(int(directory.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EWOULDBLOCK) || time.Now().After(deadline) {
			break
		}
	}
	switch {
	case errors.Is(err, syscall.EWOULDBLOCK):
		return nil, errors.Join(fmt.Errorf("%w: another launcher uses the volumes in %s; stop it first", cluster.ErrConflict, name), directory.Close())
	case err != nil:
		return nil, errors.Join(fmt.Errorf("lock the directory of volumes %s: %w", name, err), directory.Close())
	}
	return directory, nil
}

// removeUnfinished removes what a crash left of volumes that were being made or deleted.
func removeUnfinished(directory string) error {
	entries, err := os.ReadDir(directory)
	if err != nil {
		return fmt.Errorf("read the directory of volumes: %w", err)
	}
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), newPrefix) || strings.HasPrefix(entry.Name(), gonePrefix) {
			if err := os.RemoveAll(filepath.Join(directory, entry.Name())); err != nil {
				return fmt.Errorf("remove what a crash left of a volume: %w", err)
			}
		}
	}
	return nil
}

// Create implements storage.Driver.
func (d *Driver) Create(ctx context.Context, volume storage.Volume, origin storage.Origin) error {
	if _, err := d.Find(ctx, volume.ID); !errors.Is(err, cluster.ErrNotFound) {
		return err
	}
	making := filepath.Join(d.directory, newPrefix+volume.ID)
	if err := os.RemoveAll(making); err != nil {
		return fmt.Errorf("make volume %s: %w", volume.ID, err)
	}
	err := os.Mkdir(making, 0o711)
	if err == nil {
		err = d.fill(ctx, making, volume, origin)
	}
	if err == nil {
		err = os.Rename(making, d.path(volume.ID))
	}
	if err == nil {
		err = syncDirectory(d.directory)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("make volume %s: %w", volume.ID, d.classify(err)), os.RemoveAll(making))
	}
	return nil
}

// fill makes the content of a volume in its new directory.
func (d *Driver) fill(ctx context.Context, directory string, volume storage.Volume, origin storage.Origin) error {
	disk, files := filepath.Join(directory, diskFile), filepath.Join(directory, filesName)
	switch volume.Content {
	case cluster.ContentDisk:
		return d.fillDisk(ctx, disk, volume.SizeMiB, origin)
	case cluster.ContentFiles:
		return d.fillFiles(ctx, files, origin)
	}
	return fmt.Errorf("%w: %q is not a content of volumes", cluster.ErrInvalid, volume.Content)
}

func (d *Driver) fillFiles(ctx context.Context, files string, origin storage.Origin) error {
	switch {
	case origin.Volume != "":
		source, err := d.source(ctx, origin.Volume, cluster.ContentFiles)
		if err != nil {
			return err
		}
		return d.copyTree(ctx, source, files)
	case origin.Image != nil && origin.Image.Format != cluster.FormatTar:
		return fmt.Errorf("%w: files cannot begin as a copy of %s", cluster.ErrInvalid, origin.Image.Format)
	}
	// Programs of containers run as any user; what is in the volume is theirs to protect.
	if err := errors.Join(os.Mkdir(files, 0o755), os.Chmod(files, 0o755)); err != nil || origin.Image == nil {
		return err
	}
	return unpack(ctx, origin.Image.Path, files)
}

// source is the content of the volume that another one begins as.
func (d *Driver) source(ctx context.Context, id string, content cluster.VolumeContent) (string, error) {
	place, err := d.Find(ctx, id)
	if err != nil {
		return "", fmt.Errorf("the volume that it is a copy of: %w", err)
	}
	if place.Content() != content {
		return "", fmt.Errorf("%w: a %s cannot begin as a copy of volume %s, which is none", cluster.ErrInvalid, content, id)
	}
	return pathOf(place), nil
}

// Find implements storage.Driver.
func (d *Driver) Find(_ context.Context, id string) (storage.Place, error) {
	if !cluster.ValidID(id) {
		return storage.Place{}, fmt.Errorf("volume %q: %w: it is not an id", id, cluster.ErrInvalid)
	}
	for _, place := range []storage.Place{
		{Directory: filepath.Join(d.path(id), filesName)},
		{File: storage.File{Path: filepath.Join(d.path(id), diskFile), Format: cluster.FormatQcow2}},
	} {
		_, err := os.Lstat(pathOf(place))
		if !errors.Is(err, fs.ErrNotExist) {
			return place, err
		}
	}
	return storage.Place{}, fmt.Errorf("volume %s: %w: it is not on this node", id, cluster.ErrNotFound)
}

// Delete implements storage.Driver.
func (d *Driver) Delete(_ context.Context, id string) error {
	if !cluster.ValidID(id) {
		return fmt.Errorf("volume %q: %w: it is not an id", id, cluster.ErrInvalid)
	}
	gone := filepath.Join(d.directory, gonePrefix+id)
	if err := os.RemoveAll(gone); err != nil {
		return fmt.Errorf("delete volume %s: %w", id, err)
	}
	if err := os.Rename(d.path(id), gone); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("delete volume %s: %w", id, err)
	}
	if err := errors.Join(syncDirectory(d.directory), os.RemoveAll(gone)); err != nil {
		return fmt.Errorf("delete volume %s: %w", id, err)
	}
	return nil
}

// List implements storage.Driver.
func (d *Driver) List(context.Context) (ids []string, err error) {
	entries, err := os.ReadDir(d.directory)
	if err != nil {
		return nil, fmt.Errorf("list the volumes of the node: %w", err)
	}
	for _, entry := range entries {
		if cluster.ValidID(entry.Name()) {
			ids = append(ids, entry.Name())
		}
	}
	return ids, nil
}

// pathOf is where a volume of this driver is.
func pathOf(place storage.Place) string { return cmp.Or(place.Directory, place.File.Path) }

func (d *Driver) path(id string) string { return filepath.Join(d.directory, id) }

// syncDirectory makes a rename last.
func syncDirectory(name string) error {
	directory, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(directory.Sync(), directory.Close())
}
