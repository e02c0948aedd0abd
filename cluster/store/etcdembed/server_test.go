package etcdembed_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ciaocloud/ciao/cluster/store"
	"github.com/ciaocloud/ciao/cluster/store/etcdembed"
)

// TestDirectoryHasOneOwner: the lock is held by the process itself here, which flock treats no differently from another's.
func TestDirectoryHasOneOwner(t *testing.T) {
	dir := t.TempDir()
	first := start(t, etcdembed.Config{Dir: dir})
	_, err := etcdembed.Start(t.Context(), etcdembed.Config{Dir: dir})
	if !errors.Is(err, store.ErrConflict) || !strings.Contains(err.Error(), fmt.Sprint(os.Getpid())) {
		t.Errorf("second server: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	start(t, etcdembed.Config{Dir: dir})
}

// TestListensNowhere compares this process's sockets with the kernel's lists of listening ones.
func TestListensNowhere(t *testing.T) {
	before := listening(t)
	start(t, etcdembed.Config{})
	if after := listening(t); after != before {
		t.Errorf("listening sockets: %d before, %d with a server", before, after)
	}
}

func listening(t *testing.T) (n int) {
	t.Helper()
	mine := map[string]bool{}
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		if target, err := os.Readlink("/proc/self/fd/" + fd.Name()); err == nil && strings.HasPrefix(target, "socket:[") {
			mine[strings.Trim(target, "socket:[]")] = true
		}
	}
	for _, list := range []struct {
		file, state         string
		stateField, inodeAt int
	}{{"tcp", "0A", 3, 9}, {"tcp6", "0A", 3, 9}, {"unix", "00010000", 3, 6}} {
		lines, err := os.ReadFile("/proc/self/net/" + list.file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(lines)) {
			f := strings.Fields(line)
			if len(f) > list.inodeAt && f[list.stateField] == list.state && mine[f[list.inodeAt]] {
				n++
			}
		}
	}
	return n
}

func TestDirectoryIsPrivateAndMovable(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 50), "a")
	first, err := etcdembed.Open(t.Context(), etcdembed.Config{Dir: dir, Log: testLog(t)}, counterSchema)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := first.Update(t.Context(), func(tx store.Tx) error { return counters.Put(tx, counter{ID: "x"}) }); err != nil {
		t.Fatal(err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(dir)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	moved := filepath.Join(t.TempDir(), "b")
	if err := os.Rename(dir, moved); err != nil {
		t.Fatal(err)
	}
	second, err := etcdembed.Open(t.Context(), etcdembed.Config{Dir: moved, Log: testLog(t)}, counterSchema)
	if err != nil {
		t.Fatal(err)
	}
	if err := second.View(t.Context(), func(r store.Reader) error { _, err := counters.Get(r, "x"); return err }); err != nil {
		t.Error(err)
	}
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestDamagedDirectory: a log that cannot be read is an error, not the end of the process.
func TestDamagedDirectory(t *testing.T) {
	dir := t.TempDir()
	db, err := etcdembed.Open(t.Context(), etcdembed.Config{Dir: dir, Log: testLog(t)}, counterSchema)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	logs, err := filepath.Glob(filepath.Join(dir, "etcd/member/wal/*.wal"))
	if err != nil || len(logs) == 0 {
		t.Fatal(logs, err)
	}
	for _, name := range logs {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for i := 16; i < 2000; i++ {
			b[i] ^= 0x55
		}
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := etcdembed.Open(t.Context(), etcdembed.Config{Dir: dir, Log: testLog(t)}, counterSchema); err == nil {
		t.Error("opened")
	} else {
		t.Log(err)
	}
}
