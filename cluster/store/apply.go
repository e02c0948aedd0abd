package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// write is one decoded row of a transaction; a nil row deletes.
type write struct {
	table *tableDef
	key   string
	row   *row
	raw   []byte
}

// follow keeps the image current until the store closes.
func (db *DB) follow() {
	for delay := 10 * time.Millisecond; ; {
		err := db.backend.Follow(db.ctx, db.current.Load().revision, db.deliver)
		if db.ctx.Err() != nil {
			return
		}
		if errors.Is(err, ErrCompacted) {
			db.log.Warn("store: history is gone, reading everything again", "after", db.current.Load().revision)
			err = db.reload()
		}
		switch {
		case err == nil:
			delay = 10 * time.Millisecond
			continue
		case !errors.Is(err, ErrUnavailable) && db.ctx.Err() == nil:
			db.log.Error("store: cannot go on", "error", err)
			db.stop(fmt.Errorf("%w after a failure: %w", ErrClosed, err))
			return
		}
		db.log.Warn("store: following failed, trying again", "error", err, "in", delay)
		pause(db.ctx, delay)
		delay = min(2*delay, 5*time.Second)
	}
}

// deliver takes one batch of the log.
func (db *DB) deliver(b RawBatch) error {
	db.mu.Lock()
	defer db.mu.Unlock()
	current := db.current.Load()
	if b.Revision <= current.revision {
		return nil // applied when our own commit returned
	}
	writes, mine := db.pending[b.Revision]
	if !mine {
		for _, raw := range b.Rows {
			if raw.Path == replacingPath {
				return errReplacing
			}
			if raw.Path == schemaPath {
				if _, err := db.schema.known(raw.Value); err != nil {
					return err
				}
				continue
			}
			w, err := db.decode(raw)
			if err != nil {
				return err
			}
			writes = append(writes, w)
		}
	}
	next := current.successor()
	db.apply(next, b.Revision, writes)
	db.drain(next)
	db.publish(next)
	return nil
}

// committed takes the writes of an own commit, which need no decoding, as soon as all before it are applied.
func (db *DB) committed(revision Revision, writes []write) {
	db.mu.Lock()
	defer db.mu.Unlock()
	current := db.current.Load()
	if revision <= current.revision {
		return
	}
	db.pending[revision] = writes
	if revision == current.revision+1 {
		next := current.successor()
		db.drain(next)
		db.publish(next)
	}
}

// drain applies pending commits as far as there is no gap, and forgets those that the log has overtaken.
func (db *DB) drain(next *building) {
	for {
		writes, ok := db.pending[next.revision+1]
		if !ok {
			break
		}
		db.apply(next, next.revision+1, writes)
	}
	for r := range db.pending {
		if r <= next.revision {
			delete(db.pending, r)
		}
	}
}

// building is the next image while transactions are added to it.
type building struct {
	image
	fresh []bool // tables cloned already
}

func (img *image) successor() *building {
	return &building{image{img.revision, slices.Clone(img.tables)}, make([]bool, len(img.tables))}
}

func (db *DB) apply(next *building, revision Revision, writes []write) {
	changes := make([]Change, 0, len(writes))
	for _, w := range writes {
		n := db.numbers[w.table]
		if !next.fresh[n] {
			next.tables[n], next.fresh[n] = next.tables[n].clone(), true
		}
		if w.row != nil {
			w.row.revision = revision
		}
		before := next.tables[n].set(w.key, w.row)
		if before != nil || w.row != nil {
			changes = append(changes, Change{w.table.name, w.key, before, w.row})
		}
	}
	next.revision = revision
	if len(changes) > 0 {
		db.announce(Batch{Revision: revision, Changes: changes})
	}
}

func (db *DB) publish(next *building) {
	db.current.Store(&next.image)
	close(db.advanced)
	db.advanced = make(chan struct{})
	db.wakeWatchers()
}

// reload replaces the image by what the backend holds now.
func (db *DB) reload() error {
	rows, revision, err := db.schema.loadMigrated(db.ctx, db.backend)
	if err != nil {
		return err
	}
	img, err := db.imageOf(rows, revision)
	if err != nil {
		return err
	}
	db.mu.Lock()
	defer db.mu.Unlock()
	next := &building{*img, make([]bool, len(img.tables))}
	if revision <= db.current.Load().revision {
		return nil
	}
	db.drain(next)
	db.resync(next.revision)
	db.publish(next)
	return nil
}

// await waits until the image has a revision.
func (db *DB) await(ctx context.Context, revision Revision) error {
	for {
		db.mu.Lock()
		reached, advanced := db.current.Load().revision >= revision, db.advanced
		db.mu.Unlock()
		if reached {
			return nil
		}
		select {
		case <-advanced:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// awaitAll waits until the image has all that was committed by anyone, and a revision. What others commit arrives with the log;
// should an answer about how far that is get lost with a connection, it is asked for again.
func (db *DB) awaitAll(ctx context.Context, revision Revision) error {
	for {
		now, err := db.backend.Current(ctx)
		if err != nil {
			return db.explain(ctx, fmt.Errorf("ask for the store's revision: %w", err))
		}
		revision = max(revision, now)
		part, cancel := context.WithTimeout(ctx, progressInterval)
		err = db.await(part, revision)
		cancel()
		if err == nil || ctx.Err() != nil {
			return db.explain(ctx, err)
		}
	}
}

// pause waits about d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d/2 + rand.N(d/2+1))
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
