package etcdembed_test

import (
	"errors"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ciaocloud/ciao/cluster/store"
	"github.com/ciaocloud/ciao/cluster/store/etcdembed"
)

func config(t *testing.T, dir string) etcdembed.Config {
	return etcdembed.Config{Dir: dir, Log: testLog(t)}
}

// counted yields a store of one counter with this id, then an error if there is one.
func counted(id string, err error) iter.Seq2[store.RawRow, error] {
	return func(yield func(store.RawRow, error) bool) {
		if yield(store.RawRow{Path: "counters/" + id, Value: []byte(`{"ID":"` + id + `"}`)}, nil) && err != nil {
			yield(store.RawRow{}, err)
		}
	}
}

// holds opens the store in a directory and returns the ids of its counters.
func holds(t *testing.T, dir string) (ids []string) {
	t.Helper()
	db, err := etcdembed.Open(t.Context(), config(t, dir), counterSchema)
	if err != nil {
		t.Fatal(err)
	}
	err = db.View(t.Context(), func(r store.Reader) error {
		for c := range counters.All(r) {
			ids = append(ids, c.ID)
		}
		return nil
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	return ids
}

func restore(t *testing.T, dir, id string, force bool) {
	t.Helper()
	if n, err := etcdembed.Restore(t.Context(), config(t, dir), counted(id, nil), force); n != 1 || err != nil {
		t.Fatal(n, err)
	}
}

func names(t *testing.T, dir string) (all []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

func TestRestore(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	restore(t, dir, "a", false)
	if diff := cmp.Diff([]string{"a"}, holds(t, dir)); diff != "" {
		t.Fatal(diff)
	}
	if _, err := etcdembed.Restore(t.Context(), config(t, dir), counted("b", nil), false); !errors.Is(err, store.ErrExists) {
		t.Errorf("over a store with rows: %v", err)
	}
	broken := errors.New("broken")
	if _, err := etcdembed.Restore(t.Context(), config(t, dir), counted("b", broken), true); !errors.Is(err, broken) {
		t.Errorf("from a broken backup: %v", err)
	}
	if diff := cmp.Diff([]string{"established", "etcd", "lock"}, names(t, dir)); diff != "" {
		t.Errorf("what failed leaves something (-want +got): %s", diff)
	}
	if diff := cmp.Diff([]string{"a"}, holds(t, dir)); diff != "" {
		t.Fatal(diff)
	}
	restore(t, dir, "b", true)
	restore(t, dir, "c", true)
	if diff := cmp.Diff([]string{"c"}, holds(t, dir)); diff != "" {
		t.Fatal(diff)
	}
	old := t.TempDir()
	if err := os.Rename(filepath.Join(dir, "replaced"), filepath.Join(old, "etcd")); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"b"}, holds(t, old)); diff != "" {
		t.Errorf("the replaced store is not kept: %s", diff)
	}
}

func TestRestoreIsRefusedWhileTheStoreIsOpen(t *testing.T) {
	dir := t.TempDir()
	start(t, etcdembed.Config{Dir: dir})
	for _, force := range []bool{false, true} {
		if _, err := etcdembed.Restore(t.Context(), config(t, dir), counted("b", nil), force); !errors.Is(err, store.ErrConflict) {
			t.Errorf("force %v: %v", force, err)
		}
	}
}

// TestRestoreIntoAnEmptyStore: a controller that was started too early is no obstacle.
func TestRestoreIntoAnEmptyStore(t *testing.T) {
	dir := t.TempDir()
	if ids := holds(t, dir); ids != nil {
		t.Fatal(ids)
	}
	restore(t, dir, "a", false)
	if diff := cmp.Diff([]string{"a"}, holds(t, dir)); diff != "" {
		t.Error(diff)
	}
}

// TestRestoreOverADamagedStore is what a backup is for.
func TestRestoreOverADamagedStore(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir() // two, because a process keeps a directory in which its etcd has failed
	for _, d := range []string{dir, other} {
		restore(t, d, "a", false)
		if err := os.WriteFile(filepath.Join(d, "etcd/member/snap/db"), []byte("damage"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := etcdembed.Restore(t.Context(), config(t, other), counted("b", nil), false); err == nil || !strings.Contains(err.Error(), "force") {
		t.Errorf("a store that cannot be read is replaced unforced: %v", err)
	}
	restore(t, dir, "b", true)
	if diff := cmp.Diff([]string{"b"}, holds(t, dir)); diff != "" {
		t.Error(diff)
	}
}

// TestRestoreKilled has the directory as it is after a kill at each point: there is the old store or the new one.
func TestRestoreKilled(t *testing.T) {
	oldDir, newDir := t.TempDir(), t.TempDir()
	restore(t, oldDir, "old", false)
	restore(t, newDir, "new", false)
	for _, test := range []struct {
		name       string
		has        map[string]string // name in the directory, and where its files come from
		unfinished bool
		want       string
	}{
		{"while it was built", map[string]string{"etcd": oldDir + "/etcd", "restoring": newDir}, false, "old"},
		{"when it counts", map[string]string{"etcd": oldDir + "/etcd", "restored": newDir + "/etcd", "restoring": oldDir}, false, "new"},
		{"with an older one aside", map[string]string{"etcd": oldDir + "/etcd", "restored": newDir + "/etcd", "replaced": oldDir + "/etcd"}, false, "new"},
		{"with the old one aside", map[string]string{"restored": newDir + "/etcd", "replaced": oldDir + "/etcd"}, false, "new"},
		{"over a first start that was cut short", map[string]string{"etcd/member": oldDir + "/etcd/member/wal", "restored": newDir + "/etcd"}, true, "new"},
		{"at the end", map[string]string{"etcd": newDir + "/etcd", "replaced": oldDir + "/etcd", "restoring": newDir + "/etcd"}, false, "new"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			marks := []string{"established"}
			if test.unfinished {
				marks = append(marks, "unfinished")
			}
			for _, mark := range marks {
				if err := os.WriteFile(filepath.Join(dir, mark), nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			for name, from := range test.has {
				if err := os.CopyFS(filepath.Join(dir, name), os.DirFS(from)); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff([]string{test.want}, holds(t, dir)); diff != "" {
				t.Fatal(diff)
			}
			restore(t, dir, "again", true)
			if diff := cmp.Diff([]string{"again"}, holds(t, dir)); diff != "" {
				t.Fatal(diff)
			}
		})
	}
}

// TestLostFilesAreNotANewStore: a directory whose store has gone is not taken for that of a new cluster.
func TestLostFilesAreNotANewStore(t *testing.T) {
	dir := t.TempDir()
	restore(t, dir, "a", false)
	if err := os.RemoveAll(filepath.Join(dir, "etcd")); err != nil {
		t.Fatal(err)
	}
	_, err := etcdembed.Open(t.Context(), config(t, dir), counterSchema)
	if !errors.Is(err, store.ErrNotFound) || !strings.Contains(err.Error(), "ciao store restore") {
		t.Errorf("opened: %v", err)
	}
	restore(t, dir, "b", false)
	if diff := cmp.Diff([]string{"b"}, holds(t, dir)); diff != "" {
		t.Error(diff)
	}
	for _, name := range []string{"etcd", "established"} {
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if ids := holds(t, dir); ids != nil {
		t.Errorf("the operator wanted an empty store: %v", ids)
	}
}

// TestCopiedFilesOutliveAnUnfinishedStart: a copy of a whole data directory, put over one whose first start was cut short, is not
// taken for the remains of that start.
func TestCopiedFilesOutliveAnUnfinishedStart(t *testing.T) {
	copied, dir := t.TempDir(), filepath.Join(t.TempDir(), "new")
	restore(t, copied, "a", false)
	if err := os.CopyFS(dir, os.DirFS(copied)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "unfinished"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if diff := cmp.Diff([]string{"a"}, holds(t, dir)); diff != "" {
			t.Fatal(diff)
		}
	}
}
