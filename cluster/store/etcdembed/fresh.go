package etcdembed

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/ciaocloud/ciao/cluster/store"
)

// etcd cannot go on from a data directory whose making was cut short: it finds a log without members and waits for them for ever. So a
// mark stands in the directory from before etcd makes its files until it is ready for the first time; a start that finds the mark
// removes those files, in which nothing can have been written yet. From then on another mark says that there is a store, so that one
// whose files have gone is not taken for a new one.

func (c Config) files() string { return filepath.Join(c.Dir, "etcd") }

func (c Config) unfinished() string { return filepath.Join(c.Dir, "unfinished") }

func (c Config) established() string { return filepath.Join(c.Dir, "established") }

// begin prepares the directory for etcd, and sets the mark if that is to start from nothing.
func (c Config) begin() error {
	if err := c.adopt(); err != nil {
		return err
	}
	unfinished, err := exists(c.unfinished())
	if err != nil {
		return err
	}
	established, err := exists(c.established())
	if err != nil {
		return err
	}
	if unfinished && !established { // with both marks the files are whole: a start was cut short at its very end, or they were copied here
		if err := os.RemoveAll(c.files()); err != nil {
			return fmt.Errorf("remove what an interrupted first start left: %w", err)
		}
		return syncDir(c.Dir)
	}
	if there, err := exists(c.files()); there || err != nil {
		return err
	}
	if established {
		return fmt.Errorf("there was a store and its files %s are gone: put them back, or restore a backup (`ciao store restore`); "+
			"to begin with an empty store remove %s: %w", c.files(), c.established(), store.ErrNotFound)
	}
	if err := os.WriteFile(c.unfinished(), nil, 0o600); err != nil {
		return fmt.Errorf("mark the first start: %w", err)
	}
	return syncDir(c.Dir)
}

// finish says that there is a store now.
func (c Config) finish() error {
	done, err := exists(c.established())
	if err != nil {
		return err
	}
	if !done {
		if err := os.WriteFile(c.established(), nil, 0o600); err != nil {
			return fmt.Errorf("mark the store: %w", err)
		}
		if err := syncDir(c.Dir); err != nil {
			return err
		}
	}
	if err := os.Remove(c.unfinished()); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return fmt.Errorf("end the first start: %w", err)
	}
	return syncDir(c.Dir)
}

func exists(name string) (bool, error) {
	_, err := os.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
