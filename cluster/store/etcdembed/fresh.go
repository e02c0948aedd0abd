package etcdembed

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// etcd cannot go on from a data directory whose making was cut short: it finds a log without members and waits for them for ever. So a
// mark stands in the directory from before etcd makes its files until it is ready for the first time; a start that finds the mark
// removes those files, in which nothing can have been written yet.

func (s *Server) files() string { return filepath.Join(s.config.Dir, "etcd") }

func (s *Server) mark() string { return filepath.Join(s.config.Dir, "unfinished") }

// begin sets the mark if etcd is to start from nothing.
func (s *Server) begin() error {
	_, err := os.Stat(s.mark())
	unfinished := err == nil
	if unfinished {
		if err := os.RemoveAll(s.files()); err != nil {
			return fmt.Errorf("remove what an interrupted first start left: %w", err)
		}
		return syncDir(s.config.Dir)
	}
	if _, err := os.Stat(s.files()); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.WriteFile(s.mark(), nil, 0o600); err != nil {
		return fmt.Errorf("mark the first start: %w", err)
	}
	return syncDir(s.config.Dir)
}

// finish removes the mark.
func (s *Server) finish() error {
	if err := os.Remove(s.mark()); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return fmt.Errorf("end the first start: %w", err)
	}
	return syncDir(s.config.Dir)
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
