package singlevm

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// copyPrograms gives the daemons programs of their own: a build that is under way never breaks the restart of a daemon, and a
// checkout on a slow or distant file system, such as a share of a VM's host, is read once instead of page by page.
func (s *Setup) copyPrograms() error {
	for _, name := range []string{"ciao", "singlevm"} {
		if err := copyProgram(s.program(name), s.layout.program(name)); err != nil {
			return fmt.Errorf("copy the program %s: %w", name, err)
		}
	}
	return nil
}

// copyProgram copies a program that is new, with its time, by which a later setup knows the copy.
func copyProgram(from, to string) (err error) {
	wanted, err := os.Stat(from)
	if err != nil {
		return err
	}
	if have, err := os.Stat(to); err == nil && have.Size() == wanted.Size() && have.ModTime().Equal(wanted.ModTime()) {
		return nil
	}
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer source.Close()
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	temporary := to + ".new"
	copied, err := os.OpenFile(temporary, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(copied, source)
	if err = errors.Join(err, copied.Close()); err != nil {
		return err
	}
	if err := os.Chtimes(temporary, wanted.ModTime(), wanted.ModTime()); err != nil {
		return err
	}
	return os.Rename(temporary, to)
}
