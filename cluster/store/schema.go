package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// Schema is what a program knows of a store.
type Schema struct {
	Tables []AnyTable
	// Migrations in order of their numbers, which count 1, 2, 3… and are never reused. The store remembers the number of
	// the last one applied; a new store starts at the last, without running any.
	Migrations []Migration
}

// Migration changes stored rows from one version of the program to the next; there is no way back.
type Migration struct {
	Number int
	Name   string
	// Apply edits the rows. What it changed is committed in transactions of at most MaxOperations rows, the number last: a
	// crash between two of them runs Apply again on rows of which some are migrated, so it must leave migrated rows as
	// they are. No older program may be running on the store.
	Apply func(ctx context.Context, rows *RawTables) error
}

// schemaPath is the row that holds the number of the schema. No table can be named so, and it comes before the rows of all.
const schemaPath = "_/schema"

type schemaRow struct {
	Number int    `json:"number"`
	Name   string `json:"name"`
}

// SchemaOf reads the number and name of a store's schema from the first row of a snapshot; ok is false when the store has none.
func SchemaOf(first RawRow) (number int, name string, ok bool) {
	var row schemaRow
	if first.Path != schemaPath || json.Unmarshal(first.Value, &row) != nil {
		return 0, "", false
	}
	return row.Number, row.Name, true
}

func (s Schema) latest() schemaRow {
	if len(s.Migrations) == 0 {
		return schemaRow{}
	}
	last := s.Migrations[len(s.Migrations)-1]
	return schemaRow{last.Number, last.Name}
}

func (s Schema) check() error {
	names := map[string]bool{}
	for _, t := range s.Tables {
		if names[t.Name()] {
			return fmt.Errorf("schema: two tables are named %s", t.Name())
		}
		names[t.Name()] = true
	}
	for i, m := range s.Migrations {
		if m.Number != i+1 {
			return fmt.Errorf("schema: migration %q has number %d where %d is expected", m.Name, m.Number, i+1)
		}
	}
	return nil
}

// known fails when the stored number is beyond ours.
func (s Schema) known(value []byte) (schemaRow, error) {
	var stored schemaRow
	if err := json.Unmarshal(value, &stored); err != nil {
		return stored, fmt.Errorf("schema number of the store cannot be read: %w", err)
	}
	if latest := s.latest(); stored.Number > latest.Number {
		return stored, fmt.Errorf("store has schema %d (%s) and this program knows up to %d: start the newer version: %w",
			stored.Number, stored.Name, latest.Number, ErrNewer)
	}
	return stored, nil
}

// loadMigrated loads the rows and brings them to the latest schema first. When another process migrates at the same time, the
// one that loses a comparison starts over.
func (s Schema) loadMigrated(ctx context.Context, b Backend) ([]RawRow, Revision, error) {
	for range maxAttempts {
		rows, revision, err := load(ctx, b)
		if err != nil {
			return nil, 0, fmt.Errorf("load the store: %w", err)
		}
		done, err := s.migrate(ctx, b, rows)
		switch {
		case err == nil && done:
			return rows, revision, nil
		case err != nil && (!isConflict(err) || errors.Is(err, errReplacing)):
			return nil, 0, err
		}
	}
	return nil, 0, fmt.Errorf("migrate the store: another process keeps changing it: stop it first: %w", ErrConflict)
}

// migrate reports done when there was nothing to do; otherwise the rows have to be loaded again.
func (s Schema) migrate(ctx context.Context, b Backend, rows []RawRow) (done bool, err error) {
	if slices.ContainsFunc(rows, func(r RawRow) bool { return r.Path == replacingPath }) {
		return false, errReplacing
	}
	var stored schemaRow
	var revision Revision
	at := slices.IndexFunc(rows, func(r RawRow) bool { return r.Path == schemaPath })
	switch {
	case at >= 0:
		if stored, err = s.known(rows[at].Value); err != nil {
			return false, err
		}
		revision = rows[at].Revision
	case len(rows) == 0:
		stored = s.latest()
	}
	if at >= 0 && stored.Number == s.latest().Number {
		return true, nil
	}
	raw := newRawTables(rows)
	for _, m := range s.Migrations[stored.Number:] {
		if err := m.Apply(ctx, raw); err != nil {
			return false, fmt.Errorf("migration %d (%s): %w", m.Number, m.Name, err)
		}
	}
	number, err := json.Marshal(s.latest())
	if err != nil {
		return false, err
	}
	for c := range raw.commits() {
		if _, err := b.Commit(ctx, c); err != nil {
			return false, fmt.Errorf("write migrated rows: %w", err)
		}
	}
	_, err = b.Commit(ctx, Commit{
		Compares: []Compare{{schemaPath, revision}},
		Writes:   []RawRow{{Path: schemaPath, Value: number}},
	})
	return false, err
}
