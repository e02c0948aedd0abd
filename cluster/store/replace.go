package store

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/ciaocloud/ciao/cluster"
)

// replacingPath is the row that is there while Replace works. A store that has it is not opened, and one that is open ends.
const replacingPath = "_/replacing"

var errReplacing = fmt.Errorf("the store is being restored, or a restore was cut short: let it end, or run it again: %w", ErrConflict)

// Replace makes rows, which come in order of their paths from a [Snapshot] or a backup, all that a backend holds. Nothing may use the
// backend meanwhile: programs that have it open end with an error, and none can open it before everything is in its place. When
// Replace fails or is cut short after it has begun to write, that stays so until a Replace succeeds.
//
// It fails with ErrExists when the backend holds rows and force is not set, with ErrConflict when others keep writing, or with an
// error of the backend or of rows. It returns how many rows there are now.
func Replace(ctx context.Context, b Backend, rows iter.Seq2[RawRow, error], force bool) (int, error) {
	r := &replacement{backend: b, old: map[string]Revision{}, mine: map[Revision]bool{}}
	if err := r.survey(ctx, force); err != nil {
		return 0, err
	}
	for row, err := range rows {
		if err != nil {
			return 0, err
		}
		if err := r.put(ctx, row); err != nil {
			return 0, err
		}
	}
	return r.rows, r.finish(ctx)
}

// Occupied tells whether a backend holds rows that Replace would not overwrite unless forced.
func Occupied(ctx context.Context, b Backend) (bool, error) {
	s, err := b.Snapshot(ctx)
	if err != nil {
		return false, err
	}
	found := false
	for row, err := range s.Rows {
		switch {
		case err != nil:
			return false, err
		case row.Path == replacingPath:
			return false, nil
		case !ownPath(row.Path):
			found = true
		}
	}
	return found, nil
}

// ownPath says whether a row belongs to this package rather than to a table.
func ownPath(path string) bool { return strings.HasPrefix(path, "_/") }

// replacement is a Replace under way.
type replacement struct {
	backend Backend
	old     map[string]Revision // rows that are not replaced yet
	mine    map[Revision]bool   // transactions of this replacement
	pending Commit
	schema  []byte // the new row of the schema, which comes last
	rows    int
}

// survey finds out what is there and sets the mark.
func (r *replacement) survey(ctx context.Context, force bool) error {
	s, err := r.backend.Snapshot(ctx)
	if err != nil {
		return err
	}
	tables := 0
	for row, err := range s.Rows {
		if err != nil {
			return fmt.Errorf("read what the store holds: %w", err)
		}
		r.old[row.Path] = row.Revision
		if !ownPath(row.Path) {
			tables++
		}
	}
	if _, begun := r.old[replacingPath]; tables > 0 && !force && !begun {
		return fmt.Errorf("the store holds %d rows, which would be lost: choose an empty one, or force it (--force): %w", tables, ErrExists)
	}
	return r.commit(ctx, Commit{
		Compares: []Compare{{replacingPath, r.old[replacingPath]}, {schemaPath, r.old[schemaPath]}},
		Writes:   []RawRow{{Path: replacingPath, Value: []byte("{}")}},
	})
}

// put adds a row to the transaction under way, and commits that when it is full.
func (r *replacement) put(ctx context.Context, row RawRow) error {
	switch {
	case row.Path == schemaPath && json.Valid(row.Value):
		r.schema = slices.Clone(row.Value)
		r.rows++
		return nil
	case ownPath(row.Path) || row.Value == nil:
		return fmt.Errorf("row %q cannot be restored: use the version of the program that wrote it: %w", row.Path, cluster.ErrInvalid)
	}
	r.rows++
	return r.add(ctx, RawRow{Path: row.Path, Value: row.Value})
}

func (r *replacement) add(ctx context.Context, row RawRow) error {
	compare := Compare{row.Path, r.old[row.Path]}
	delete(r.old, row.Path)
	next := Commit{append(r.pending.Compares, compare), append(r.pending.Writes, row)}
	if checkCommit(next) == nil || len(r.pending.Writes) == 0 {
		r.pending = next
		return nil
	}
	if err := r.commit(ctx, r.pending); err != nil {
		return err
	}
	r.pending = Commit{[]Compare{compare}, []RawRow{row}}
	return nil
}

// commit commits a transaction of this replacement.
func (r *replacement) commit(ctx context.Context, c Commit) error {
	revision, err := r.backend.Commit(ctx, c)
	switch {
	case isConflict(err):
		return r.disturbed()
	case err != nil:
		return fmt.Errorf("write restored rows: %w", err)
	}
	r.mine[revision] = true
	for _, w := range c.Writes {
		if w.Path == replacingPath {
			r.old[replacingPath] = revision
		}
	}
	return nil
}

func (*replacement) disturbed() error {
	return fmt.Errorf("another process writes to the store while it is restored: stop all controllers and restore again: %w", ErrConflict)
}

// finish removes what was there before, makes sure that nobody else wrote, and in one last step sets the schema and removes the mark.
func (r *replacement) finish(ctx context.Context) error {
	for path := range r.old {
		if !ownPath(path) {
			if err := r.add(ctx, RawRow{Path: path}); err != nil {
				return err
			}
		}
	}
	if len(r.pending.Writes) > 0 {
		if err := r.commit(ctx, r.pending); err != nil {
			return err
		}
	}
	if err := r.verify(ctx); err != nil {
		return err
	}
	last := Commit{
		Compares: []Compare{{replacingPath, r.old[replacingPath]}, {schemaPath, r.old[schemaPath]}},
		Writes:   []RawRow{{Path: replacingPath}, {Path: schemaPath, Value: r.schema}},
	}
	if r.schema == nil && r.old[schemaPath] == 0 {
		last.Writes = last.Writes[:1]
	}
	return r.commit(ctx, last)
}

// verify reads what is there now: all of it must be of this replacement.
func (r *replacement) verify(ctx context.Context) error {
	s, err := r.backend.Snapshot(ctx)
	if err != nil {
		return err
	}
	there := 0
	for row, err := range s.Rows {
		switch {
		case err != nil:
			return fmt.Errorf("read restored rows: %w", err)
		case ownPath(row.Path):
			continue
		case !r.mine[row.Revision]:
			return r.disturbed()
		}
		there++
	}
	if r.schema != nil {
		there++
	}
	if there != r.rows {
		return r.disturbed()
	}
	return nil
}
