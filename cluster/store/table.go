package store

import (
	"encoding/json"
	"fmt"
	"iter"
	"regexp"
)

// Table is a typed table: rows of type T, stored as JSON, in order of their key. A table holds no rows itself, it is the way
// to them in any store opened with it; make it once, as a package variable or a field.
//
// Rows are shared between all readers: never modify what a slice, map or pointer inside a row that Get, All, From,
// By or Changes returned refers to; copy it first. What is given to Create and Put is copied by way of JSON, so T must survive
// that: fields that JSON leaves out are not stored. Unknown fields in stored rows are ignored.
//
// Using a table with a store that was not opened with it, or an index that it does not have, is a mistake in the program and
// panics.
type Table[T any] struct {
	def *tableDef
}

// Index finds rows by something else than their key. Keys returns the values under which a row is found: none, one or several;
// it must depend on nothing but the row. Indexes live in memory only; adding one needs no migration.
type Index[T any] struct {
	Name string
	Keys func(T) []string
}

// tableDef is a table without its type, for the engine.
type tableDef struct {
	name    string
	decode  func([]byte) (any, error)
	key     func(any) string
	indexes []indexDef
}

type indexDef struct {
	name string
	keys func(any) []string
}

// AnyTable is a *Table of any row type, for the list in [Schema].
type AnyTable interface {
	Name() string
	definition() *tableDef
}

var tableName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,62}$`)

// NewTable describes a table. The name is of lower-case letters, digits and hyphens and starts with a letter: else NewTable
// panics. key returns a row's key: not empty, valid UTF-8, at most [MaxKeyBytes] long.
func NewTable[T any](name string, key func(T) string, indexes ...Index[T]) *Table[T] {
	if !tableName.MatchString(name) {
		panic(fmt.Sprintf("store: table name %q: use 1 to 63 lower-case letters, digits and hyphens, a letter first", name))
	}
	def := &tableDef{
		name: name,
		key:  func(v any) string { return key(v.(T)) },
		decode: func(b []byte) (any, error) {
			var v T
			err := json.Unmarshal(b, &v)
			return v, err
		},
	}
	for _, ix := range indexes {
		def.indexes = append(def.indexes, indexDef{ix.Name, func(v any) []string { return ix.Keys(v.(T)) }})
	}
	return &Table[T]{def}
}

// Name of the table.
func (t *Table[T]) Name() string { return t.def.name }

func (t *Table[T]) definition() *tableDef { return t.def }

// Get returns the row with this key, or an error that wraps ErrNotFound. In a transaction the row, or its absence, is
// protected until the commit.
func (t *Table[T]) Get(r Reader, key string) (T, error) {
	found := r.find(t.def, key)
	if found == nil {
		var none T
		return none, fmt.Errorf("%s %q: %w", t.def.name, key, ErrNotFound)
	}
	return found.value.(T), nil
}

// Has tells whether there is a row with this key; in a transaction it protects like Get.
func (t *Table[T]) Has(r Reader, key string) bool {
	return r.find(t.def, key) != nil
}

// Revision returns the revision of the last change of the row with this key, for an ETag; zero when there is none, or when
// this transaction has written it. In a transaction it protects like Get.
func (t *Table[T]) Revision(r Reader, key string) Revision {
	found := r.find(t.def, key)
	if found == nil {
		return 0
	}
	return found.revision
}

// All yields all rows in order of their keys, as they were when the loop began.
func (t *Table[T]) All(r Reader) iter.Seq[T] { return t.From(r, "") }

// From yields the rows whose key is at least key, in order, for reading page by page.
func (t *Table[T]) From(r Reader, key string) iter.Seq[T] {
	return func(yield func(T) bool) {
		r.scan(t.def).ascend(key, func(found *row) bool { return yield(found.value.(T)) })
	}
}

// Last returns the row with the greatest key; false when there is none. A transaction does not depend on it: another one may add a greater
// one at the same time.
func (t *Table[T]) Last(r Reader) (last T, ok bool) {
	found := r.last(t.def)
	if found == nil {
		return last, false
	}
	return found.value.(T), true
}

// By yields the rows that the index lists under value, in order of their keys, as they were when the loop began.
func (t *Table[T]) By(r Reader, index, value string) iter.Seq[T] {
	n := t.def.index(index)
	return func(yield func(T) bool) {
		r.scan(t.def).lookup(n, value, func(found *row) bool { return yield(found.value.(T)) })
	}
}

// Len is the number of rows.
func (t *Table[T]) Len(r Reader) int { return r.scan(t.def).rows.Len() }

// Create adds a row; an error wraps ErrExists when its key is taken.
func (t *Table[T]) Create(tx Tx, v T) error {
	key := t.def.key(v)
	if t.Has(tx, key) {
		return fmt.Errorf("%s %q: %w", t.def.name, key, ErrExists)
	}
	return t.Put(tx, v)
}

// Put adds or replaces a row. The commit fails over to another attempt when the row was changed by someone else after this
// transaction's snapshot, read or not.
func (t *Table[T]) Put(tx Tx, v T) error {
	key := t.def.key(v)
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("%s %q: cannot be written as JSON: %w", t.def.name, key, err)
	}
	if err := checkRow(t.def, key, b); err != nil {
		return err
	}
	made, err := t.def.row(key, b)
	if err != nil {
		return err
	}
	return tx.write(t.def, key, made, b)
}

// Delete removes the row with this key; an error wraps ErrNotFound when there is none.
func (t *Table[T]) Delete(tx Tx, key string) error {
	if !t.Has(tx, key) {
		return fmt.Errorf("%s %q: %w", t.def.name, key, ErrNotFound)
	}
	return tx.write(t.def, key, nil, nil)
}

// row decodes a stored row and computes its index values once, so that a row always leaves an index the way it came.
func (d *tableDef) row(key string, b []byte) (*row, error) {
	v, err := d.decode(b)
	if err != nil {
		return nil, fmt.Errorf("%s %q: stored row cannot be read: %w", d.name, key, err)
	}
	if k := d.key(v); k != key {
		return nil, fmt.Errorf("%s %q: the row read back from JSON has another key, %q", d.name, key, k)
	}
	made := &row{key: key, value: v}
	for _, ix := range d.indexes {
		made.indexed = append(made.indexed, ix.keys(v))
	}
	return made, nil
}

func (d *tableDef) index(name string) int {
	for i, ix := range d.indexes {
		if ix.name == name {
			return i
		}
	}
	panic(fmt.Sprintf("store: table %s has no index %q", d.name, name))
}
