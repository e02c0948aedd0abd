package launcher

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/ciaocloud/ciao/cluster"
)

// writeFile replaces a file: a reader, also after a crash, sees the old content or the new.
func writeFile(name string, data []byte, durable bool) error {
	temporary := name + ".new"
	if err := writeThrough(temporary, data, durable); err != nil {
		return cluster.DiskFull(filepath.Dir(name), fmt.Errorf("write %s: %w", name, err))
	}
	if err := os.Rename(temporary, name); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	if !durable {
		return nil
	}
	return syncDirectory(filepath.Dir(name))
}

func writeThrough(name string, data []byte, durable bool) (err error) {
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if _, err := file.Write(data); err != nil {
		return err
	}
	if durable {
		return file.Sync()
	}
	return nil
}

func syncDirectory(name string) error {
	directory, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(directory.Sync(), directory.Close())
}

// lockDirectory makes sure that one launcher at a time uses a directory. The lock ends with the process; release ends it before.
func lockDirectory(directory string) (release func() error, err error) {
	if err := os.MkdirAll(directory, 0o700); err != nil {
		return nil, fmt.Errorf("make the launcher's directory: %w", err)
	}
	file, err := os.OpenFile(filepath.Join(directory, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the launcher's directory: %w", err)
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("%w: another launcher runs on %s; stop it first", cluster.ErrConflict, directory), file.Close())
	}
	return file.Close, nil
}
