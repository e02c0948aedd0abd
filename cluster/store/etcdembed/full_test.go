package etcdembed_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ciaocloud/ciao/cluster/store"
	"github.com/ciaocloud/ciao/cluster/store/etcdembed"
	"github.com/ciaocloud/ciao/require"
)

func putCounter(ctx context.Context, db *store.DB, c counter) error {
	_, err := db.Update(ctx, func(tx store.Tx) error { return counters.Put(tx, c) })
	return err
}

// TestQuota overwrites rows until their history fills the quota; the server then makes room by itself.
func TestQuota(t *testing.T) {
	s := start(t, etcdembed.Config{Dir: quickDirectory(t), QuotaBytes: 40 << 20})
	db := openOn(t, s)
	fill := strings.Repeat("x", 500_000)
	full, again := false, false
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for n := 0; !again; n++ {
		switch err := putCounter(ctx, db, counter{fmt.Sprint(n % 4), n, fill}); {
		case err == nil:
			again = full
		case errors.Is(err, store.ErrUnavailable) && ctx.Err() == nil:
			if !full {
				t.Logf("after %d writes: %v", n, err)
			}
			full = true
		default:
			t.Fatalf("after %d writes: %v", n, err)
		}
	}
	_, _, size := s.Sizes()
	t.Logf("database has %d bytes", size)
}

func openOn(t *testing.T, s *etcdembed.Server) *store.DB {
	t.Helper()
	db, err := store.Open(t.Context(), s.Backend(), counterSchema, testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// TestCompaction: history does not grow for ever, and the file shrinks when most of it is free.
func TestCompaction(t *testing.T) {
	s := start(t, etcdembed.Config{Dir: quickDirectory(t)})
	db := openOn(t, s)
	fill := strings.Repeat("x", 5000)
	for n := range 11_000 {
		if _, err := s.Client().Put(t.Context(), fmt.Sprint("other/", n%10), fill); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Sync(t.Context()); err != nil {
		t.Errorf("sync after what is not ours: %v", err)
	}
	if err := s.Tidy(); err != nil {
		t.Fatal(err)
	}
	if first, last, _ := s.Sizes(); last-first > 6000 {
		t.Errorf("revisions %d to %d are kept", first, last)
	}
	if err := putCounter(t.Context(), db, counter{ID: "x"}); err != nil {
		t.Error(err)
	}
}

// smallDisk mounts a disk of a size.
func smallDisk(t *testing.T, size int) string {
	t.Helper()
	require.Root(t)
	dir := t.TempDir()
	if err := unix.Mount("etcdembed-test", dir, "tmpfs", 0, fmt.Sprintf("size=%d", size)); err != nil {
		t.Skipf("mount: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// occupy fills a disk until only some bytes are free.
func occupy(t *testing.T, disk string, leave uint64) (free func()) {
	t.Helper()
	name := filepath.Join(disk, "filler")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	for {
		var fs unix.Statfs_t
		if err := unix.Statfs(disk, &fs); err != nil {
			t.Fatal(err)
		}
		err := unix.Fallocate(int(f.Fd()), 0, 0, int64(fs.Bavail*uint64(fs.Bsize)-leave))
		if err == nil {
			break
		}
		if !errors.Is(err, unix.ENOSPC) { // else somebody wrote in the meantime
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := os.Remove(name); err != nil {
			t.Error(err)
		}
	}
}

// TestDiskFull: writes are refused before etcd runs out of space, reads go on, and writes are accepted when space returns.
func TestDiskFull(t *testing.T) {
	disk := smallDisk(t, 256<<20)
	s := start(t, etcdembed.Config{Dir: filepath.Join(disk, "data")})
	db := openOn(t, s)
	if err := putCounter(t.Context(), db, counter{ID: "before"}); err != nil {
		t.Fatal(err)
	}
	free := occupy(t, disk, 20<<20)
	err := putCounter(t.Context(), db, counter{ID: "while"})
	if !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), "disk") {
		t.Errorf("full: %v", err)
	}
	t.Log(err)
	if err := db.View(t.Context(), func(r store.Reader) error { _, err := counters.Get(r, "before"); return err }); err != nil {
		t.Error(err)
	}
	free()
	if err := putCounter(t.Context(), db, counter{ID: "after"}); err != nil {
		t.Error(err)
	}
}

// TestDiskFullToTheBrim leaves etcd no reserve: it fails, which ends the writer with a clear error and not with a crash; nothing
// acknowledged is lost, and with space it starts again.
func TestDiskFullToTheBrim(t *testing.T) {
	disk := smallDisk(t, 256<<20)
	dir := filepath.Join(disk, "data")
	s := spawn(t, dir, 1)
	for range 200 {
		if !s.read() {
			t.Fatalf("writer ended: %s", s.said)
		}
	}
	free := occupy(t, disk, 1<<20)
	if err := s.wait(); err == nil {
		t.Error("writer goes on")
	}
	t.Logf("writer's last words: %s", s.said)
	// With nothing at all left the check before a write may be the first to see it.
	if !strings.Contains(s.said, "no space left") && !strings.Contains(s.said, "is full") {
		t.Errorf("last words: %s", s.said)
	}
	free()
	s.check(t, dir)
}

// TestRestoreOnAFullDisk: a backup for which there is no room, at the beginning or in the middle, leaves the store as it was.
func TestRestoreOnAFullDisk(t *testing.T) {
	disk := smallDisk(t, 320<<20)
	dir := filepath.Join(disk, "data")
	restore(t, dir, "before", false)
	fill := strings.Repeat("x", 500_000)
	large := func(yield func(store.RawRow, error) bool) {
		for i := range 400 {
			row := store.RawRow{Path: fmt.Sprintf("counters/%04d", i), Value: fmt.Appendf(nil, `{"ID":"%04d","Fill":"%s"}`, i, fill)}
			if !yield(row, nil) {
				return
			}
		}
	}
	try := func(when string) {
		_, err := etcdembed.Restore(t.Context(), config(t, dir), large, true)
		t.Logf("%s: %v", when, err)
		if !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), "free some space") {
			t.Errorf("%s: %v", when, err)
		}
	}
	try("in the middle")
	free := occupy(t, disk, 20<<20)
	try("at the beginning")
	free()
	if ids := holds(t, dir); len(ids) != 1 || ids[0] != "before" {
		t.Errorf("the store holds %v", ids)
	}
	if left := names(t, dir); !slices.Equal(left, []string{"established", "etcd", "lock"}) {
		t.Errorf("left: %v", left)
	}
	restore(t, dir, "after", true)
}
