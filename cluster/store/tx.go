package store

import "errors"

// rowID names a row of a DB.
type rowID struct {
	table *tableDef
	key   string
}

func (id rowID) path() string { return path(id.table.name, id.key) }

// transaction is one attempt of an Update: a snapshot, the revisions of the rows it depends on, and what it wrote.
type transaction struct {
	db     *DB
	base   *image
	seen   map[rowID]Revision
	writes []write
	at     map[rowID]int             // position in writes
	own    map[*tableDef]*tableImage // the tables that it has written to and gone over since, as it sees them
	over   bool
}

var errOver = errors.New("store: transaction used after its function returned")

func newTransaction(db *DB) *transaction {
	return &transaction{db: db, base: db.current.Load(), seen: map[rowID]Revision{}, at: map[rowID]int{}, own: map[*tableDef]*tableImage{}}
}

func (tx *transaction) Revision() Revision { return tx.base.revision }

// find returns a row and notes that the transaction depends on it or its absence.
func (tx *transaction) find(d *tableDef, key string) *row {
	id := rowID{d, key}
	if i, ok := tx.at[id]; ok {
		return tx.writes[i].row
	}
	found := tx.base.tables[tx.db.number(d)].get(key)
	if _, ok := tx.seen[id]; !ok && !tx.over {
		tx.seen[id] = 0
		if found != nil {
			tx.seen[id] = found.revision
		}
	}
	return found
}

// scan returns the table as the transaction sees it now. Only a transaction that has written to the table and then goes over its
// rows needs a copy of its own, which it keeps: what it writes while somebody goes over the returned one is not seen there.
func (tx *transaction) scan(d *tableDef) *tableImage {
	if own := tx.own[d]; own != nil {
		return own.clone()
	}
	base := tx.base.tables[tx.db.number(d)]
	var own *tableImage
	for _, w := range tx.writes {
		if w.table != d {
			continue
		}
		if own == nil {
			tx.db.mu.Lock()
			own = base.clone()
			tx.db.mu.Unlock()
		}
		own.set(w.key, w.row)
	}
	if own == nil {
		return base
	}
	tx.own[d] = own
	return own.clone()
}

// last returns the row with the greatest key. It makes no copy of the table for what the transaction has only added to it: each row of a log is
// written after a look at the one before.
func (tx *transaction) last(d *tableDef) *row {
	last := tx.base.tables[tx.db.number(d)].last()
	for _, w := range tx.writes {
		switch {
		case w.table != d:
		case w.row == nil:
			return tx.scan(d).last()
		case last == nil || w.key >= last.key:
			last = w.row
		}
	}
	return last
}

func (tx *transaction) write(d *tableDef, key string, r *row, raw []byte) error {
	if tx.over {
		return errOver
	}
	tx.find(d, key)
	id := rowID{d, key}
	w := write{d, key, r, raw}
	if own := tx.own[d]; own != nil {
		own.set(key, r)
	}
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
