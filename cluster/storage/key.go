package storage

import (
	"errors"
	"fmt"
	"log/slog"
	"os"

	"golang.org/x/sys/unix"
)

// Key is a Ceph user's key, in base64 as in keyrings. It is in no message and no log.
type Key string

// String, GoString and LogValue hide the key.
func (Key) String() string       { return "(a key)" }
func (Key) GoString() string     { return "(a key)" }
func (Key) LogValue() slog.Value { return slog.StringValue("(a key)") }

// File is a file without a name that has the key, so that a program can be given it and nobody sees it on the command line. Who
// has its descriptor, as whatever user, reads it by its place in /proc/self/fd. The caller closes it.
func (k Key) File() (*os.File, error) {
	fd, err := unix.MemfdCreate("key", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("hand a key over: %w", err)
	}
	file := os.NewFile(uintptr(fd), "key")
	if _, err := file.WriteString(string(k)); err != nil {
		return nil, errors.Join(fmt.Errorf("hand a key over: %w", err), file.Close())
	}
	return file, nil
}
