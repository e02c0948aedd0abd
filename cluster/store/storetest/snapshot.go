package storetest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/ciaocloud/ciao/cluster/store"
)

// putMany puts rows that are numbered from 0 on, a hundred in a transaction.
func putMany(t *testing.T, db *store.DB, rows int) {
	t.Helper()
	for first := 0; first < rows; first += 100 {
		update(t, db, func(tx store.Tx) error {
			for i := range min(100, rows-first) {
				if err := items.Put(tx, Item{ID: fmt.Sprint(first + i)}); err != nil {
					return err
				}
			}
			return nil
		})
	}
}

func snapshotOf(t *testing.T, db *store.DB) store.Snapshot {
	t.Helper()
	s, err := db.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// testSnapshotRows: a snapshot has all rows in order, and none of what is written while it is read.
func testSnapshotRows(t *testing.T, s Shared) {
	db := open(t, s)
	const rows = 2500 // more than a backend reads at a time
	putMany(t, db, rows)
	snapshot := snapshotOf(t, db)
	var paths []string
	for row, err := range snapshot.Rows {
		if err != nil {
			t.Fatal(err)
		}
		if len(paths) == 1 {
			put(t, db, Item{ID: "99999"}, Item{ID: "7", Count: 1})
		}
		if row.Revision > snapshot.Revision || strings.Contains(string(row.Value), "count") {
			t.Errorf("row of later: %s %s", row.Path, row.Value)
		}
		paths = append(paths, row.Path)
	}
	if len(paths) != rows+1 || !slices.IsSorted(paths) || slices.Contains(paths, "items/99999") {
		t.Errorf("%d rows, want %d and that of the schema, in order", len(paths), rows)
	}
	for row, err := range snapshotOf(t, db).Rows {
		if _, _, ok := store.SchemaOf(row); err != nil || !ok {
			t.Errorf("the first row is %s, not that of the schema: %v", row.Path, err)
		}
		break
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Snapshot(t.Context()); !errors.Is(err, store.ErrClosed) {
		t.Errorf("of a closed store: %v", err)
	}
}

// testSnapshotCompacted: a snapshot whose history goes says so, or is whole all the same.
func testSnapshotCompacted(t *testing.T, s Shared) {
	db := open(t, s)
	const rows = 2000
	putMany(t, db, rows)
	count := 0
	for _, err := range snapshotOf(t, db).Rows {
		if errors.Is(err, store.ErrCompacted) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if count++; count == 1 {
			put(t, db, Item{ID: "more"})
			if err := s.Compact(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if count != rows+1 {
		t.Errorf("%d rows and no error, want %d", count, rows+1)
	}
}
