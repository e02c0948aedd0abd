package store

import (
	"context"
	"iter"
)

// Revision orders the transactions of one store: each one that writes gets a higher revision than those before it. Zero is
// before the first.
type Revision int64

// Store is what services use. [DB] implements it; all methods may be called from several goroutines.
type Store interface {
	// View calls fn with a consistent snapshot from memory. It fails with fn's error, ctx's, or ErrClosed.
	View(ctx context.Context, fn func(Reader) error) error

	// Update calls fn with a transaction and commits what fn wrote, all or nothing. When a row was changed by someone
	// else in the meantime, fn runs again on a newer snapshot, so fn must have no effects outside the transaction but
	// setting variables of its caller, each time anew. When fn fails, nothing is written and its error is returned as
	// it is. The revision is that of the commit, or of the snapshot when fn wrote nothing.
	//
	// Errors: ErrConflict when the races were lost too often, ErrTooLarge, ErrUnavailable, ErrClosed, or ctx's error.
	// After ErrUnavailable or ctx's error during the commit its outcome is unknown.
	Update(ctx context.Context, fn func(Tx) error) (Revision, error)

	// Watch sends the transactions committed after opts.After, in order, until ctx ends or the store closes; then the
	// channel is closed.
	Watch(ctx context.Context, opts WatchOptions) <-chan Batch
}

// Reader is a consistent snapshot for a table's Get, All, From, By, Len and Revision. It may be kept and used from several
// goroutines (it never changes), but keeps the rows of its time in memory.
type Reader interface {
	// Revision of the snapshot: it holds all transactions up to and including this one.
	Revision() Revision
	find(*tableDef, string) *row
	last(*tableDef) *row
	scan(*tableDef) *tableImage
}

// Tx is a transaction: a Reader that sees its own writes. It is valid until the function it was given to returns, and must
// be used by one goroutine at a time.
type Tx interface {
	Reader
	write(*tableDef, string, *row, []byte) error
}

// WatchOptions say what a watcher gets.
type WatchOptions struct {
	// After is the revision the watcher knows already (from [Reader.Revision] or [Batch]); it gets what came later.
	// Zero starts with a Resync batch, so that starting and having fallen behind are one case.
	After Revision
	// Tables are the names of the tables wanted; none means all. Transactions that touch no wanted table are left out.
	Tables []string
	// Buffer is the number of batches kept for a slow watcher before they are replaced by one Resync; zero means 1024.
	Buffer int
}

// Batch is one committed transaction as a watcher sees it, or a Resync.
type Batch struct {
	// Revision of the transaction.
	Revision Revision
	// Resync says that the history up to Revision is not available: because the watcher started without one, was too slow,
	// or the backend forgot it. The watcher must read what it needs in a View; that View's revision is Revision or
	// later, and batches up to the View's revision, which may still follow, tell nothing new.
	Resync bool
	// Changes in the order they were written, one per row; none with Resync. [Table.Changes] gives them typed.
	Changes []Change
}

// Change of one row.
type Change struct {
	Table string
	Key   string

	before, after *row
}

// Deleted says that the row is gone.
func (c Change) Deleted() bool { return c.after == nil }

// Created says that the row was not there before.
func (c Change) Created() bool { return c.before == nil && c.after != nil }

// RowChange is a change of a row of a known type.
type RowChange[T any] struct {
	Key string
	// Created: there was no row before, Old is the zero value. Deleted: there is none now, New is the zero value.
	Created, Deleted bool
	Old, New         T
}

// Changes yields the batch's changes of this table.
func (t *Table[T]) Changes(b Batch) iter.Seq[RowChange[T]] {
	return func(yield func(RowChange[T]) bool) {
		for _, c := range b.Changes {
			if c.Table != t.def.name {
				continue
			}
			rc := RowChange[T]{Key: c.Key, Created: c.Created(), Deleted: c.Deleted()}
			if c.before != nil {
				rc.Old = c.before.value.(T)
			}
			if c.after != nil {
				rc.New = c.after.value.(T)
			}
			if !yield(rc) {
				return
			}
		}
	}
}
