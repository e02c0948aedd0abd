package store

import "errors"

// rowID names a row of a DB.
type rowID struct {
	table *tableDef
	key   string
}

func (id rowID) path() string { return path(id.table.name, id.key) }

// transaction is one attempt of an Update: a snapshot, the revisions of the rows it depends on, and what it wrote, in
// copies of the tables it wrote to.
type transaction struct {
	db     *DB
	base   *image
	tables []*tableImage
	seen   map[rowID]Revision
	writes []write
	at     map[rowID]int // position in writes
	over   bool
}

var errOver = errors.New("store: transaction used after its function returned")

func newTransaction(db *DB) *transaction {
	img := db.current.Load()
	return &transaction{
		db: db, base: img,
		tables: make([]*tableImage, len(img.tables)),
		seen:   map[rowID]Revision{},
		at:     map[rowID]int{},
	}
}

func (tx *transaction) Revision() Revision { return tx.base.revision }

func (tx *transaction) view(d *tableDef) *tableImage {
	n := tx.db.number(d)
	if tx.tables[n] != nil {
		return tx.tables[n]
	}
	return tx.base.tables[n]
}

// reading notes that the transaction depends on a row or its absence, unless the row is its own.
func (tx *transaction) reading(d *tableDef, key string, found *row) {
	id := rowID{d, key}
	if _, ok := tx.seen[id]; ok {
		return
	}
	var revision Revision
	if found != nil {
		revision = found.revision
	}
	tx.seen[id] = revision
}

func (tx *transaction) write(d *tableDef, key string, r *row, raw []byte) error {
	if tx.over {
		return errOver
	}
	n := tx.db.number(d)
	if tx.tables[n] == nil {
		tx.db.mu.Lock()
		tx.tables[n] = tx.base.tables[n].clone()
		tx.db.mu.Unlock()
		tx.tables[n].owned = true
	}
	before := tx.tables[n].set(key, r)
	tx.reading(d, key, before)
	id := rowID{d, key}
	w := write{d, key, r, raw}
	if i, ok := tx.at[id]; ok {
		tx.writes[i] = w
		return nil
	}
	tx.at[id] = len(tx.writes)
	tx.writes = append(tx.writes, w)
	return nil
}

// commit is the transaction for the backend. Rows that were made and deleted within it are left out.
func (tx *transaction) commit() Commit {
	var c Commit
	for id, revision := range tx.seen {
		c.Compares = append(c.Compares, Compare{id.path(), revision})
	}
	kept := tx.writes[:0]
	for _, w := range tx.writes {
		id := rowID{w.table, w.key}
		if w.row == nil && tx.seen[id] == 0 {
			continue
		}
		kept = append(kept, w)
		c.Writes = append(c.Writes, RawRow{Path: id.path(), Value: w.raw})
	}
	tx.writes = kept
	return c
}
