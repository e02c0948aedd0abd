// Package memstore keeps a store's rows in memory: for tests, and for clusters that need not outlive their controller.
//
// It behaves like etcd as far as package store can see: a log of transactions with revisions that count up by one,
// of which the older part is forgotten; a follower that has fallen behind that is told so.
package memstore

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"sync"

	"github.com/ciaocloud/ciao/cluster/store"
)

// keep is how many transactions of the log are kept at least.
const keep = 1024

// Memory is the rows that one or several engines share.
type Memory struct {
	mu       sync.Mutex
	rows     map[string]store.RawRow
	revision store.Revision
	log      []store.RawBatch // complete up to revision
	grown    chan struct{}    // closed and replaced by each commit
}

var _ store.Backend = (*backend)(nil)

// New returns empty memory.
func New() *Memory {
	return &Memory{rows: map[string]store.RawRow{}, grown: make(chan struct{})}
}

// Open returns a store on new memory.
func Open(ctx context.Context, schema store.Schema, log *slog.Logger) (*store.DB, error) {
	return New().Open(ctx, schema, log)
}

// Open returns a store on this memory; several may be open at once, as several processes on one etcd are.
func (m *Memory) Open(ctx context.Context, schema store.Schema, log *slog.Logger) (*store.DB, error) {
	return store.Open(ctx, m.Backend(), schema, log)
}

// Backend gives access to the memory for an engine.
func (m *Memory) Backend() store.Backend { return &backend{m} }

// Compact forgets the log, as etcd does from time to time: whoever has not followed up to now must read again.
func (m *Memory) Compact() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.log = nil
}

type backend struct{ m *Memory }

func (b *backend) Snapshot(context.Context) (store.Snapshot, error) {
	b.m.mu.Lock()
	defer b.m.mu.Unlock()
	rows := make([]store.RawRow, 0, len(b.m.rows))
	for _, r := range b.m.rows {
		rows = append(rows, r)
	}
	slices.SortFunc(rows, func(x, y store.RawRow) int { return cmp.Compare(x.Path, y.Path) })
	return store.Snapshot{Revision: b.m.revision, Rows: func(yield func(store.RawRow, error) bool) {
		for _, row := range rows {
			if !yield(row, nil) {
				return
			}
		}
	}}, nil
}

func (b *backend) Commit(ctx context.Context, c store.Commit) (store.Revision, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	m := b.m
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, k := range c.Compares {
		if m.rows[k.Path].Revision != k.Revision {
			return m.revision, store.ErrConflict
		}
	}
	m.revision++
	batch := store.RawBatch{Revision: m.revision}
	for _, w := range c.Writes {
		row := store.RawRow{Path: w.Path, Value: w.Value, Revision: m.revision}
		if w.Value == nil {
			delete(m.rows, w.Path)
		} else {
			m.rows[w.Path] = row
		}
		batch.Rows = append(batch.Rows, row)
	}
	if len(m.log) >= 2*keep {
		m.log = slices.Clone(m.log[keep:])
	}
	m.log = append(m.log, batch)
	close(m.grown)
	m.grown = make(chan struct{})
	return m.revision, nil
}

func (b *backend) Follow(ctx context.Context, after store.Revision, deliver func(store.RawBatch) error) error {
	for {
		batches, grown, err := b.m.since(after)
		if err != nil {
			return err
		}
		for _, batch := range batches {
			if err := deliver(batch); err != nil {
				return err
			}
			after = batch.Revision
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// since returns the log after a revision, and what is closed when there is more.
func (m *Memory) since(after store.Revision) ([]store.RawBatch, <-chan struct{}, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	behind := int(m.revision - after)
	if behind > len(m.log) {
		return nil, nil, store.ErrCompacted
	}
	return m.log[len(m.log)-max(behind, 0):], m.grown, nil
}

func (b *backend) Current(context.Context) (store.Revision, error) {
	b.m.mu.Lock()
	defer b.m.mu.Unlock()
	return b.m.revision, nil
}

func (*backend) Close() error { return nil }
