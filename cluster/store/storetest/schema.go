package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"

	"github.com/ciaocloud/ciao/cluster/store"
)

func openBackend(t *testing.T, b store.Backend) *store.DB {
	t.Helper()
	db, err := store.Open(t.Context(), b, schema, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

// rename moves the rows' owner from "old" to "new".
func rename(_ context.Context, rows *store.RawTables) error {
	for key, value := range rows.All("items") {
		rows.Put("items", key, bytes.ReplaceAll(value, []byte(`"old"`), []byte(`"new"`)))
	}
	return nil
}

func migrated(steps ...func(context.Context, *store.RawTables) error) store.Schema {
	s := schema
	for i, step := range steps {
		s.Migrations = append(s.Migrations, store.Migration{Number: i + 1, Name: fmt.Sprint("step ", i+1), Apply: step})
	}
	return s
}

func fill(t *testing.T, s Shared, n int) {
	t.Helper()
	db := open(t, s)
	for i := range n {
		put(t, db, Item{ID: fmt.Sprint(i), Owner: "old"})
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

func testMigrations(t *testing.T, s Shared) {
	const rows = 300 // more than one transaction
	fill(t, s, rows)
	drop := func(_ context.Context, r *store.RawTables) error {
		r.Delete("items", "7")
		r.Put("notes", "7", []byte(`{"id":"7"}`))
		return nil
	}
	for _, c := range []struct {
		schema store.Schema
		rows   int
	}{{migrated(rename), rows}, {migrated(rename, drop), rows - 1}, {migrated(rename, drop), rows - 1}} {
		db := openSchema(t, s, c.schema)
		view(t, db, func(r store.Reader) {
			if n := len(keysOf(items.By(r, "owner", "new"))); n != c.rows || items.Len(r) != c.rows {
				t.Errorf("%d steps: %d rows migrated of %d, want %d", len(c.schema.Migrations), n, items.Len(r), c.rows)
			}
		})
		put(t, db, Item{ID: "8", Owner: "new", Count: 1})
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func keysOf(seq func(func(Item) bool)) (all []string) {
	for i := range seq {
		all = append(all, i.ID)
	}
	return all
}

// testMigrationInterrupted fails each commit of a migration once.
func testMigrationInterrupted(t *testing.T, s Shared) {
	fill(t, s, 300)
	cut := errors.New("cut")
	for commits := 0; ; commits++ {
		b := &cutOff{Backend: s.Backend(), left: commits, err: cut}
		db, err := store.Open(t.Context(), b, migrated(rename), slog.New(slog.DiscardHandler))
		if err == nil {
			view(t, db, func(r store.Reader) {
				if n := len(keysOf(items.By(r, "owner", "new"))); n != 300 {
					t.Errorf("%d rows migrated", n)
				}
			})
			if err := db.Close(); err != nil {
				t.Error(err)
			}
			return
		}
		if !errors.Is(err, cut) || commits > 10 {
			t.Fatalf("after %d commits: %v", commits, err)
		}
	}
}

// cutOff fails after some commits.
type cutOff struct {
	store.Backend
	left int
	err  error
}

func (c *cutOff) Commit(ctx context.Context, commit store.Commit) (store.Revision, error) {
	if c.left--; c.left < 0 {
		return 0, c.err
	}
	return c.Backend.Commit(ctx, commit)
}

func testNewer(t *testing.T, s Shared) {
	old := openSchema(t, s, migrated(rename))
	newer := openSchema(t, s, migrated(rename, rename))
	put(t, newer, Item{ID: "a"})
	// The program that is running is told as well.
	<-old.Done()
	if err := old.Err(); !errors.Is(err, store.ErrNewer) || !errors.Is(err, store.ErrClosed) {
		t.Errorf("running program: %v", err)
	}
	_, err := s.Open(t.Context(), migrated(rename), slog.New(slog.DiscardHandler))
	if !errors.Is(err, store.ErrNewer) {
		t.Errorf("open: %v", err)
	}
}

func testUnknownTable(t *testing.T, s Shared) {
	db := open(t, s)
	update(t, db, func(tx store.Tx) error { return notes.Put(tx, Item{ID: "a"}) })
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	known := store.Schema{Tables: []store.AnyTable{items}}
	if db, err := s.Open(t.Context(), known, slog.New(slog.DiscardHandler)); err == nil {
		t.Errorf("opened (%v)", db.Close())
	}
}

func testUnknownFields(t *testing.T, s Shared) {
	type later struct {
		ID    string `json:"id"`
		Extra []int  `json:"extra"`
	}
	table := store.NewTable("items", func(l later) string { return l.ID })
	db := openSchema(t, s, store.Schema{Tables: []store.AnyTable{table}})
	update(t, db, func(tx store.Tx) error { return table.Put(tx, later{"a", []int{1}}) })
	view(t, open(t, s), func(r store.Reader) {
		if got, err := items.Get(r, "a"); err != nil || got.ID != "a" {
			t.Errorf("got %v, %v", got, err)
		}
	})
}
