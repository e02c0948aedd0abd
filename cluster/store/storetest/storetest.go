// Package storetest is the conformance suite of package store: every backend runs it.
package storetest

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/ciaocloud/ciao/cluster/store"
)

// Shared is one place of rows on which several stores can be open at once, as several processes on one etcd are.
type Shared interface {
	// Open opens another store.
	Open(ctx context.Context, schema store.Schema, log *slog.Logger) (*store.DB, error)
	// Compact makes the place forget its history.
	Compact(ctx context.Context) error
	// Backend gives raw access.
	Backend() store.Backend
}

// Run runs the suite; make returns a new, empty place that is removed with the test.
func Run(t *testing.T, make func(*testing.T) Shared) {
	for _, c := range []struct {
		name string
		test func(*testing.T, Shared)
	}{
		{"Rows", testRows},
		{"RowsSurviveReopen", testReopen},
		{"ReadOwnWrites", testReadOwnWrites},
		{"FailedUpdateWritesNothing", testFailedUpdate},
		{"SnapshotIsolation", testSnapshot},
		{"LoopsSeeTheirBeginning", testLoops},
		{"StoredRowIsACopy", testCopy},
		{"LimitOperations", testOperations},
		{"LimitBytes", testBytes},
		{"BadRows", testBadRows},
		{"ConflictBetweenStores", testConflict},
		{"AbsenceIsProtected", testAbsence},
		{"EndlessConflict", testEndlessConflict},
		{"Uniqueness", testUnique},
		{"ManyWritersOneRow", testCounter},
		{"ManyWritersManyStores", testTransfers},
		{"RandomOperations", testRandom},
		{"Sync", testSync},
		{"WatchOrder", testWatchOrder},
		{"WatchFromRevision", testWatchFrom},
		{"WatchTables", testWatchTables},
		{"WatchSlow", testWatchSlow},
		{"WatchAfterCompaction", testWatchCompacted},
		{"Migrations", testMigrations},
		{"MigrationInterrupted", testMigrationInterrupted},
		{"NewerStoreRefused", testNewer},
		{"UnknownTableRefused", testUnknownTable},
		{"UnknownFieldsIgnored", testUnknownFields},
		{"Snapshot", testSnapshotRows},
		{"SnapshotAfterCompaction", testSnapshotCompacted},
		{"Replace", testReplace},
		{"ReplaceRefused", testReplaceRefused},
		{"ReplaceInterrupted", testReplaceInterrupted},
		{"ReplaceDisturbed", testReplaceDisturbed},
		{"Closed", testClosed},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, make(t)) })
	}
}

// Item is the row of the suite's table.
type Item struct {
	ID     string   `json:"id"`
	Owner  string   `json:"owner,omitempty"`
	Labels []string `json:"labels,omitempty"`
	Count  int      `json:"count,omitempty"`
}

var (
	items = store.NewTable("items", func(i Item) string { return i.ID },
		store.Index[Item]{Name: "owner", Keys: func(i Item) []string { return []string{i.Owner} }},
		store.Index[Item]{Name: "label", Keys: func(i Item) []string { return i.Labels }})
	notes = store.NewTable("notes", func(i Item) string { return i.ID })

	schema = store.Schema{Tables: []store.AnyTable{items, notes}}
)

const patience = time.Minute

func open(t *testing.T, s Shared) *store.DB { return openSchema(t, s, schema) }

func openSchema(t *testing.T, s Shared, schema store.Schema) *store.DB {
	t.Helper()
	db, err := s.Open(t.Context(), schema, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return db
}

func update(t *testing.T, db *store.DB, fn func(store.Tx) error) store.Revision {
	t.Helper()
	revision, err := db.Update(t.Context(), fn)
	if err != nil {
		t.Fatalf("update: %v", err)
	}
	return revision
}

func put(t *testing.T, db *store.DB, all ...Item) store.Revision {
	t.Helper()
	return update(t, db, func(tx store.Tx) error { return putAll(tx, all...) })
}

func putAll(tx store.Tx, all ...Item) error {
	for _, i := range all {
		if err := items.Put(tx, i); err != nil {
			return err
		}
	}
	return nil
}

func view(t *testing.T, db *store.DB, fn func(store.Reader)) {
	t.Helper()
	if err := db.View(t.Context(), func(r store.Reader) error { fn(r); return nil }); err != nil {
		t.Fatalf("view: %v", err)
	}
}

func receive(t *testing.T, batches <-chan store.Batch) store.Batch {
	t.Helper()
	select {
	case b, ok := <-batches:
		if !ok {
			t.Fatal("watch ended")
		}
		return b
	case <-time.After(patience):
		t.Fatal("no batch")
	}
	panic("not reached")
}

func text(b store.Batch) string {
	if b.Resync {
		return "resync"
	}
	s := ""
	for c := range items.Changes(b) {
		switch {
		case c.Created:
			s += fmt.Sprintf("+%s=%d ", c.Key, c.New.Count)
		case c.Deleted:
			s += fmt.Sprintf("-%s=%d ", c.Key, c.Old.Count)
		default:
			s += fmt.Sprintf("%s=%d→%d ", c.Key, c.Old.Count, c.New.Count)
		}
	}
	for c := range notes.Changes(b) {
		s += "note " + c.Key + " "
	}
	return s
}
