package store

import (
	"bytes"
	"iter"
	"maps"
	"slices"
)

// RawTables are the stored rows as JSON, for migrations.
type RawTables struct {
	rows    map[string]RawRow
	changed map[string]bool
}

func newRawTables(rows []RawRow) *RawTables {
	t := &RawTables{rows: make(map[string]RawRow, len(rows)), changed: map[string]bool{}}
	for _, r := range rows {
		t.rows[r.Path] = r
	}
	return t
}

// All yields key and JSON of a table's rows in order of their keys, as they were when the loop began.
func (t *RawTables) All(table string) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		for _, p := range slices.Sorted(maps.Keys(t.rows)) {
			name, key, _ := splitPath(p)
			if r := t.rows[p]; name == table && r.Value != nil && !yield(key, r.Value) {
				return
			}
		}
	}
}

// Get returns a row's JSON, or nil.
func (t *RawTables) Get(table, key string) []byte { return t.rows[path(table, key)].Value }

// Put adds or replaces a row.
func (t *RawTables) Put(table, key string, value []byte) {
	p := path(table, key)
	r := t.rows[p]
	if r.Value != nil && bytes.Equal(r.Value, value) {
		return
	}
	t.rows[p] = RawRow{Path: p, Value: value, Revision: r.Revision}
	t.changed[p] = true
}

// Delete removes a row if it is there.
func (t *RawTables) Delete(table, key string) {
	p := path(table, key)
	if r := t.rows[p]; r.Value != nil {
		t.rows[p] = RawRow{Path: p, Revision: r.Revision}
		t.changed[p] = true
	}
}

// commits cuts the changes into transactions within the limits.
func (t *RawTables) commits() iter.Seq[Commit] {
	return func(yield func(Commit) bool) {
		var c Commit
		for _, p := range slices.Sorted(maps.Keys(t.changed)) {
			r := t.rows[p]
			if r.Value == nil && r.Revision == 0 {
				continue // added and removed again
			}
			next := Commit{append(c.Compares, Compare{p, r.Revision}), append(c.Writes, r)}
			if checkCommit(next) != nil && len(c.Writes) > 0 {
				if !yield(c) {
					return
				}
				next = Commit{[]Compare{{p, r.Revision}}, []RawRow{r}}
			}
			c = next
		}
		if len(c.Writes) > 0 {
			yield(c)
		}
	}
}
