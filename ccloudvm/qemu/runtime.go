package qemu

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// SocketDir makes and returns the private directory for the sockets of the machine whose state is in dir. It is short whatever
// dir is, because the path of a unix socket has at most 107 bytes: below $XDG_RUNTIME_DIR when that is set, else in /tmp, where a
// directory that belongs to somebody else is refused. The same dir always gives the same directory, in any process.
func SocketDir(dir string) (string, error) {
	absolute, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	base := os.Getenv("XDG_RUNTIME_DIR")
	if base == "" || len(base) > 60 {
		base = "/tmp"
	}
	sum := sha256.Sum256([]byte(absolute))
	path := filepath.Join(base, "ccloudvm-"+strconv.Itoa(os.Getuid()), hex.EncodeToString(sum[:6]))
	if err := os.MkdirAll(path, 0o700); err != nil {
		return "", fmt.Errorf("making the runtime directory: %w", err)
	}
	for _, p := range []string{filepath.Dir(path), path} {
		info, err := os.Lstat(p)
		if err != nil {
			return "", err
		}
		owner, ok := info.Sys().(*syscall.Stat_t)
		if !info.IsDir() || info.Mode().Perm()&0o077 != 0 || !ok || int(owner.Uid) != os.Getuid() {
			return "", fmt.Errorf("%s must be a directory of yours that nobody else can enter: remove it, or set XDG_RUNTIME_DIR", p)
		}
	}
	return path, nil
}
