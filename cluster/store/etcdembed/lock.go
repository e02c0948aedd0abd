package etcdembed

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ciaocloud/ciao/cluster/store"
)

// dirLock keeps two servers from one data directory. The kernel drops it with the process that holds it.
type dirLock struct{ file *os.File }

func lockDir(dir string) (*dirLock, error) {
	name := filepath.Join(dir, "lock")
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock of the data directory: %w", err)
	}
	switch err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); {
	case errors.Is(err, unix.EWOULDBLOCK):
		holder, _ := os.ReadFile(name)
		return nil, errors.Join(fmt.Errorf("data directory %s is in use by process %s: stop it or use another directory: %w",
			dir, strings.TrimSpace(string(holder)), store.ErrConflict), f.Close())
	case err != nil:
		return nil, errors.Join(fmt.Errorf("lock %s: %w", name, err), f.Close())
	}
	// Who holds the lock is for the reader of the message above only: a full disk must not be in the way.
	if f.Truncate(0) == nil {
		fmt.Fprintln(f, os.Getpid())
	}
	return &dirLock{f}, nil
}

// Close frees the directory.
func (l *dirLock) Close() error { return l.file.Close() }
