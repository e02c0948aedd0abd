package store

import (
	"context"
	"slices"
)

// history is the newest transactions, complete after base.
type history struct {
	base    Revision
	batches []Batch
}

func (h *history) reset(base Revision) { h.base, h.batches = base, nil }

func (h *history) add(b Batch) {
	if len(h.batches) >= 2*historySize {
		cut := len(h.batches) - historySize
		h.base = h.batches[cut-1].Revision
		h.batches = slices.Clone(h.batches[cut:])
	}
	h.batches = append(h.batches, b)
}

// watcher is one call of Watch. Its queue is guarded by the DB's mutex.
type watcher struct {
	after  Revision
	tables []string
	limit  int
	queue  []Batch
	wake   chan struct{}
}

// Watch implements Store.
func (db *DB) Watch(ctx context.Context, opts WatchOptions) <-chan Batch {
	w := &watcher{after: opts.After, tables: opts.Tables, limit: opts.Buffer, wake: make(chan struct{}, 1)}
	if w.limit <= 0 {
		w.limit = 1024
	}
	out := make(chan Batch)
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.ctx.Err() != nil {
		close(out)
		return out
	}
	if opts.After < db.history.base || opts.After == 0 {
		w.resync(db.current.Load().revision)
	} else {
		for _, b := range db.history.batches {
			w.add(b)
		}
	}
	w.signal()
	db.watchers[w] = struct{}{}
	db.work.Go(func() {
		defer close(out)
		w.send(ctx, db, out)
	})
	return out
}

// send hands the queue out until there is no more to come.
func (w *watcher) send(ctx context.Context, db *DB, out chan<- Batch) {
	defer func() {
		db.mu.Lock()
		defer db.mu.Unlock()
		delete(db.watchers, w)
	}()
	for {
		select {
		case <-w.wake:
		case <-ctx.Done():
			return
		case <-db.ctx.Done():
			return
		}
		for _, b := range w.take(db) {
			select {
			case out <- b:
			case <-ctx.Done():
				return
			case <-db.ctx.Done():
				return
			}
		}
	}
}

func (w *watcher) take(db *DB) []Batch {
	db.mu.Lock()
	defer db.mu.Unlock()
	taken := w.queue
	w.queue = nil
	return taken
}

func (w *watcher) add(b Batch) {
	if b.Revision <= w.after {
		return
	}
	if len(w.tables) > 0 {
		wanted := func(c Change) bool { return slices.Contains(w.tables, c.Table) }
		if !slices.ContainsFunc(b.Changes, wanted) {
			return
		}
		b.Changes = slices.DeleteFunc(slices.Clone(b.Changes), func(c Change) bool { return !wanted(c) })
	}
	if len(w.queue) >= w.limit {
		w.resync(b.Revision)
		return
	}
	w.queue = append(w.queue, b)
}

func (w *watcher) resync(revision Revision) {
	w.queue = []Batch{{Revision: revision, Resync: true}}
}

func (w *watcher) signal() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// announce queues a transaction for the watchers, who can take it when the image that has it is published.
func (db *DB) announce(b Batch) {
	db.history.add(b)
	for w := range db.watchers {
		w.add(b)
	}
}

// resync tells every watcher that the history is gone.
func (db *DB) resync(revision Revision) {
	db.history.reset(revision)
	for w := range db.watchers {
		w.resync(revision)
	}
}

func (db *DB) wakeWatchers() {
	for w := range db.watchers {
		if len(w.queue) > 0 {
			w.signal()
		}
	}
}
