package netns

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// The directory of named namespaces must be a shared mount of its own, as ip(8) makes it: else the first `ip netns` of anybody
// would mount it over itself, and our namespaces under it could be seen but not be removed any more. If we made the mount, a note says
// so, and it goes with the last namespace.
const note = "/run/ciao/netns"

// place runs f while no other process of ours changes the directory.
func place(f func() error) error {
	if err := os.MkdirAll(Directory, 0o755); err != nil {
		return fmt.Errorf("make a place for namespaces: %w", err)
	}
	directory, err := os.Open(Directory)
	if err != nil {
		return fmt.Errorf("open the place for namespaces: %w", err)
	}
	defer directory.Close() // and with it goes the lock
	if err := unix.Flock(int(directory.Fd()), unix.LOCK_EX); err != nil {
		return fmt.Errorf("lock the place for namespaces: %w", err)
	}
	return f()
}

// ready makes the directory a shared mount, if it is none.
func ready() error {
	err := unix.Mount("", Directory, "none", unix.MS_SHARED|unix.MS_REC, "")
	if !errors.Is(err, unix.EINVAL) {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(note), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(note, nil, 0o644); err != nil {
		return err
	}
	if err := unix.Mount(Directory, Directory, "none", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("prepare %s: %w", Directory, err)
	}
	return unix.Mount("", Directory, "none", unix.MS_SHARED|unix.MS_REC, "")
}

// vacate undoes ready when the last namespace is gone, whoever made that.
func vacate() error {
	if _, err := os.Stat(note); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	entries, err := os.ReadDir(Directory)
	if err != nil || len(entries) > 0 {
		return err
	}
	if err := unmount(Directory); err != nil {
		return err
	}
	if err := os.Remove(note); err != nil {
		return err
	}
	os.Remove(filepath.Dir(note)) // when it is empty
	return nil
}
