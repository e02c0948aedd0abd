package etcdembed

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/ciaocloud/ciao/cluster/store"
)

// A restored store is built beside the one that is there, by a server of its own. The renaming of its finished files to restored is the
// step that makes it count: whoever opens the directory next puts restored files in place first, however often that is cut short.

func (c Config) building() string { return filepath.Join(c.Dir, "restoring") }

func (c Config) restored() string { return filepath.Join(c.Dir, "restored") }

func (c Config) replaced() string { return filepath.Join(c.Dir, "replaced") }

// Restore makes rows, which come in order of their paths, all that the data directory holds. It does so wholly or, when it fails or is
// killed, not at all. The files that it replaces are kept in the folder replaced, until the next time. No server may be running on the
// directory (store.ErrConflict). A store that holds rows is replaced only with force (store.ErrExists without); one that is damaged, too.
// It returns how many rows there are now.
func Restore(ctx context.Context, c Config, rows iter.Seq2[store.RawRow, error], force bool) (int, error) {
	if !force {
		if err := c.checkEmpty(ctx); err != nil {
			return 0, err
		}
	}
	c, lock, err := c.own()
	if err != nil {
		return 0, err
	}
	n, err := c.restore(ctx, rows)
	return n, errors.Join(err, lock.Close())
}

// Exists tells whether the data directory has a store, without opening it.
func Exists(c Config) (bool, error) {
	for _, name := range []string{c.files(), c.restored()} {
		if there, err := exists(name); there || err != nil {
			return there, err
		}
	}
	return false, nil
}

func (c Config) checkEmpty(ctx context.Context) error {
	if there, err := Exists(c); !there || err != nil {
		return err
	}
	s, err := Start(ctx, c)
	if err != nil {
		return fmt.Errorf("whether a store is there that would be lost cannot be seen: correct that, or force it (--force): %w", err)
	}
	occupied, err := store.Occupied(ctx, s.Backend())
	if err == nil && occupied {
		err = fmt.Errorf("the store in %s holds a cluster's state, which would be replaced: choose another directory, or force it (--force): %w", c.Dir, store.ErrExists)
	}
	return errors.Join(err, s.Close())
}

// restoreBatch bounds how far the database may be behind the log, by some transactions of the largest size: less than the reserve, so that
// a disk that is too small is seen before etcd fails of it.
const restoreBatch = 16

// restore builds, makes it count, and puts it in place.
func (c Config) restore(ctx context.Context, rows iter.Seq2[store.RawRow, error]) (int, error) {
	if err := c.adopt(); err != nil {
		return 0, err
	}
	side := c
	side.Dir, side.batch = c.building(), restoreBatch
	n, err := side.build(ctx, rows)
	if err == nil {
		err = errors.Join(os.Rename(side.files(), c.restored()), syncDir(c.Dir))
	}
	if err := errors.Join(err, os.RemoveAll(side.Dir)); err != nil {
		return 0, err
	}
	return n, c.adopt()
}

// build makes a new store of the rows in c's directory.
func (c Config) build(ctx context.Context, rows iter.Seq2[store.RawRow, error]) (int, error) {
	if err := os.RemoveAll(c.Dir); err != nil { // of an attempt that was killed
		return 0, err
	}
	s, err := Start(ctx, c)
	if err != nil {
		return 0, err
	}
	n, err := store.Replace(ctx, s.Backend(), rows, false)
	err = errors.Join(err, s.Close())
	if errors.Is(err, unix.ENOSPC) { // etcd writes its database some time after it has acknowledged
		err = fmt.Errorf("the disk of %s is full: free some space there: %w: %w", c.Dir, err, store.ErrUnavailable)
	}
	return n, err
}

// adopt puts restored files in place of those that are there. Each of its steps may be the last before a crash.
func (c Config) adopt() error {
	there, err := exists(c.restored())
	if !there || err != nil {
		return err
	}
	if old, err := exists(c.files()); err != nil {
		return err
	} else if old {
		if err := errors.Join(os.RemoveAll(c.replaced()), os.Rename(c.files(), c.replaced())); err != nil {
			return fmt.Errorf("put the replaced store aside: %w", err)
		}
	}
	// The mark of a first start that was cut short would have the restored files removed.
	if err := c.finish(); err != nil {
		return err
	}
	if err := os.Rename(c.restored(), c.files()); err != nil {
		return fmt.Errorf("put the restored store in place: %w", err)
	}
	return syncDir(c.Dir)
}
