package store

import (
	"context"
	"hash/maphash"
)

// inflight keeps the transactions of this process from losing races to each other: a transaction is sent only when its
// snapshot is still true and no transaction under way writes a row it depends on, or depends on a row it writes. All others run
// side by side, so that the backend can write them to disk together.
type inflight struct {
	rows map[rowID]*sharing
	// turns let those that were refused because of the same row try one after the other, instead of all at once.
	turns [64]chan struct{}
	seed  maphash.Seed
}

// sharing is who uses a row: one writer, or readers.
type sharing struct {
	writer  *flight
	readers map[*flight]struct{}
}

// flight is an admitted transaction.
type flight struct {
	tx   *transaction
	done chan struct{}
}

// refusal says what to wait for; a nil channel means nothing, the snapshot was old.
type refusal struct {
	row  rowID
	done <-chan struct{}
}

func newInflight() inflight {
	in := inflight{rows: map[rowID]*sharing{}, seed: maphash.MakeSeed()}
	for i := range in.turns {
		in.turns[i] = make(chan struct{}, 1)
	}
	return in
}

// admit lets a transaction go or says why not.
func (db *DB) admit(tx *transaction) (*flight, refusal) {
	db.mu.Lock()
	defer db.mu.Unlock()
	current := db.current.Load()
	for id, revision := range tx.seen {
		var now Revision
		if r := current.tables[db.numbers[id.table]].get(id.key); r != nil {
			now = r.revision
		}
		_, writes := tx.at[id]
		if done := db.inflight.blocks(id, writes); done != nil {
			return nil, refusal{id, done}
		}
		if now != revision {
			return nil, refusal{id, nil}
		}
	}
	f := &flight{tx, make(chan struct{})}
	for id := range tx.seen {
		_, writes := tx.at[id]
		db.inflight.add(id, f, writes)
	}
	return f, refusal{}
}

// land ends a flight.
func (db *DB) land(f *flight) {
	db.mu.Lock()
	defer db.mu.Unlock()
	for id := range f.tx.seen {
		s := db.inflight.rows[id]
		if s.writer == f {
			s.writer = nil
		}
		delete(s.readers, f)
		if s.writer == nil && len(s.readers) == 0 {
			delete(db.inflight.rows, id)
		}
	}
	close(f.done)
}

func (in *inflight) blocks(id rowID, writes bool) <-chan struct{} {
	s := in.rows[id]
	if s == nil {
		return nil
	}
	if s.writer != nil {
		return s.writer.done
	}
	if writes {
		for f := range s.readers {
			return f.done
		}
	}
	return nil
}

func (in *inflight) add(id rowID, f *flight, writes bool) {
	s := in.rows[id]
	if s == nil {
		s = &sharing{}
		in.rows[id] = s
	}
	if writes {
		s.writer = f
		return
	}
	if s.readers == nil {
		s.readers = map[*flight]struct{}{}
	}
	s.readers[f] = struct{}{}
}

// turn is an Update's place in the queue of those refused because of a row.
type turn struct{ held chan struct{} }

// wait takes a turn when the Update has none, and then waits for the reason of its refusal to go away.
func (t *turn) wait(ctx context.Context, in *inflight, r refusal) error {
	if t.held == nil {
		h := maphash.String(in.seed, r.row.path())
		queue := in.turns[h%uint64(len(in.turns))]
		select {
		case queue <- struct{}{}:
			t.held = queue
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	if r.done == nil {
		return nil
	}
	select {
	case <-r.done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (t *turn) end() {
	if t.held != nil {
		<-t.held
	}
}
