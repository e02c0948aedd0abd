package store

import (
	"slices"
	"strings"

	"github.com/tidwall/btree"
)

// row is immutable. Its indexed values are kept per index.
type row struct {
	key      string
	value    any
	revision Revision
	indexed  [][]string
}

// entry of an index: a row under one of its values.
type entry struct {
	value string
	row   *row
}

func entryLess(a, b entry) bool {
	if c := strings.Compare(a.value, b.value); c != 0 {
		return c < 0
	}
	return a.row.key < b.row.key
}

// tableImage is the rows of one table with their indexes at one revision. Once published it is only read and cloned.
type tableImage struct {
	rows    *btree.Map[string, *row]
	indexes []*btree.BTreeG[entry]
}

// degree of the trees: small nodes, because a commit copies those on the way to a row in the table and each index.
const degree = 8

// first sorts before all rows of an index value.
var first = new(row)

func newTableImage(d *tableDef) *tableImage {
	t := &tableImage{rows: btree.NewMap[string, *row](degree)}
	for range d.indexes {
		t.indexes = append(t.indexes, btree.NewBTreeGOptions(entryLess, btree.Options{Degree: degree, NoLocks: true}))
	}
	return t
}

// clone takes a constant-time copy to modify. It writes to the source's ownership mark, so callers clone a shared image under
// the engine's lock; readers never look at the mark.
func (t *tableImage) clone() *tableImage {
	c := &tableImage{rows: t.rows.Copy(), indexes: make([]*btree.BTreeG[entry], len(t.indexes))}
	for i, ix := range t.indexes {
		c.indexes[i] = ix.Copy()
	}
	return c
}

func (t *tableImage) get(key string) *row {
	r, _ := t.rows.Get(key)
	return r
}

func (t *tableImage) ascend(from string, yield func(*row) bool) {
	t.rows.Ascend(from, func(_ string, r *row) bool { return yield(r) })
}

// last is the row with the greatest key; nil without any.
func (t *tableImage) last() *row {
	_, r, _ := t.rows.Max()
	return r
}

func (t *tableImage) lookup(index int, value string, yield func(*row) bool) {
	t.indexes[index].Ascend(entry{value, first}, func(e entry) bool {
		return e.value == value && yield(e.row)
	})
}

// set replaces the row with this key; nil removes it. It returns what was there.
func (t *tableImage) set(key string, r *row) (before *row) {
	if r == nil {
		before, _ = t.rows.Delete(key)
	} else {
		before, _ = t.rows.Set(key, r)
	}
	if before != nil {
		for i, values := range before.indexed {
			for _, v := range values {
				if r == nil || !slices.Contains(r.indexed[i], v) { // what stays is replaced in its place
					t.indexes[i].Delete(entry{v, before})
				}
			}
		}
	}
	if r != nil {
		for i, values := range r.indexed {
			for _, v := range values {
				t.indexes[i].Set(entry{v, r})
			}
		}
	}
	return before
}

// image is all tables at one revision.
type image struct {
	revision Revision
	tables   []*tableImage
}
