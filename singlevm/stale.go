package singlevm

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// staleSource is a source file that is newer than the programs, when these lie in bin/ of a checkout: what runs is then not what
// the reader of the sources expects.
func (s *Setup) staleSource() string {
	program, err := os.Stat(s.program("ciao"))
	checkout := filepath.Dir(s.config.Programs)
	if err != nil || filepath.Base(s.config.Programs) != "bin" || !exists(filepath.Join(checkout, "go.mod")) {
		return ""
	}
	return newer(checkout, program.ModTime())
}

// newer is a Go source below root that changed after the time; empty if there is none.
func newer(root string, than time.Time) string {
	found := ""
	_ = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error { // what cannot be read is not newer
		switch {
		case err != nil:
			return nil
		case entry.IsDir() && path != root && (strings.HasPrefix(entry.Name(), ".") || entry.Name() == "testdata" || entry.Name() == "docs"):
			return fs.SkipDir
		case entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		if info, err := entry.Info(); err == nil && info.ModTime().After(than) {
			found = path
			return fs.SkipAll
		}
		return nil
	})
	return found
}
