package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxAttempts of an Update before it gives up with ErrConflict.
	maxAttempts = 32
	// commitTimeout bounds one commit when the caller's context does not.
	commitTimeout = 15 * time.Second
	// progressInterval is how long to wait for the log before asking again how far it is.
	progressInterval = 250 * time.Millisecond
	// historySize is the number of transactions kept for watchers that start from a revision.
	historySize = 1024
)

var errClosed = fmt.Errorf("%w by its owner", ErrClosed)

// DB is the engine; see the package's documentation.
type DB struct {
	backend Backend
	schema  Schema
	log     *slog.Logger
	numbers map[*tableDef]int
	names   map[string]*tableDef

	current atomic.Pointer[image]

	mu       sync.Mutex // guards all below, and the making of images
	pending  map[Revision][]write
	advanced chan struct{} // closed and replaced when current advances
	history  history
	watchers map[*watcher]struct{}
	inflight inflight

	ctx    context.Context // ends when the store is closed or has failed, with the cause
	stop   context.CancelCauseFunc
	work   sync.WaitGroup
	closed sync.Once
}

var _ Store = (*DB)(nil)

// Open loads all rows through a backend, migrates them to the schema and keeps following. The DB owns the backend from then on, also
// when Open fails. The store must be closed.
func Open(ctx context.Context, b Backend, schema Schema, log *slog.Logger) (*DB, error) {
	db, err := open(ctx, b, schema, log)
	if err != nil {
		return nil, errors.Join(err, b.Close())
	}
	db.work.Go(db.follow)
	return db, nil
}

func open(ctx context.Context, b Backend, schema Schema, log *slog.Logger) (*DB, error) {
	if err := schema.check(); err != nil {
		return nil, err
	}
	db := &DB{
		backend: b, schema: schema, log: log,
		numbers:  map[*tableDef]int{},
		names:    map[string]*tableDef{},
		pending:  map[Revision][]write{},
		advanced: make(chan struct{}),
		watchers: map[*watcher]struct{}{},
		inflight: newInflight(),
	}
	for i, t := range schema.Tables {
		db.numbers[t.definition()] = i
		db.names[t.Name()] = t.definition()
	}
	rows, revision, err := schema.loadMigrated(ctx, b)
	if err != nil {
		return nil, err
	}
	img, err := db.imageOf(rows, revision)
	if err != nil {
		return nil, err
	}
	db.current.Store(img)
	db.history.reset(revision)
	db.ctx, db.stop = context.WithCancelCause(context.WithoutCancel(ctx))
	return db, nil
}

// imageOf decodes everything anew.
func (db *DB) imageOf(rows []RawRow, revision Revision) (*image, error) {
	img := &image{revision: revision, tables: make([]*tableImage, len(db.schema.Tables))}
	for i, t := range db.schema.Tables {
		img.tables[i] = newTableImage(t.definition())
	}
	for _, raw := range rows {
		if raw.Path == schemaPath {
			continue
		}
		w, err := db.decode(raw)
		if err != nil {
			return nil, err
		}
		w.row.revision = raw.Revision
		img.tables[db.numbers[w.table]].set(w.key, w.row)
	}
	return img, nil
}

// decode makes a write of a raw row, which may be a deletion.
func (db *DB) decode(raw RawRow) (write, error) {
	table, key, _ := splitPath(raw.Path)
	def, ok := db.names[table]
	if !ok {
		return write{}, fmt.Errorf("store has a row %q of an unknown table: use the version of the program that wrote it", raw.Path)
	}
	w := write{table: def, key: key}
	if raw.Value == nil {
		return w, nil
	}
	var err error
	w.row, err = def.row(key, raw.Value)
	return w, err
}

// View implements Store.
func (db *DB) View(ctx context.Context, fn func(Reader) error) error {
	if err := db.usable(ctx); err != nil {
		return err
	}
	return fn(reader{db, db.current.Load()})
}

func (db *DB) usable(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return db.Err()
}

// Sync waits until everything that was committed before the call, by any process, is visible here.
func (db *DB) Sync(ctx context.Context) error {
	if err := db.usable(ctx); err != nil {
		return err
	}
	ctx, cancel := db.bound(ctx)
	defer cancel()
	return db.awaitAll(ctx, 0)
}

// Snapshot begins to read all rows, as the backend has them, as of now or later; see [Backend].
func (db *DB) Snapshot(ctx context.Context) (Snapshot, error) {
	if err := db.usable(ctx); err != nil {
		return Snapshot{}, err
	}
	return db.backend.Snapshot(ctx)
}

// Done is closed when the store was closed or has failed for good.
func (db *DB) Done() <-chan struct{} { return db.ctx.Done() }

// Err says why the store is done; nil while it is not. It wraps ErrClosed.
func (db *DB) Err() error {
	if db.ctx.Err() == nil {
		return nil
	}
	return context.Cause(db.ctx)
}

// Close ends watchers and the backend and waits for them. Updates under way fail.
func (db *DB) Close() error {
	var err error
	db.closed.Do(func() {
		db.stop(errClosed)
		db.work.Wait()
		err = db.backend.Close()
	})
	return err
}

// bound gives work for a caller the store's end and the longest time a commit may take.
func (db *DB) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancelTime := context.WithTimeoutCause(ctx, commitTimeout,
		fmt.Errorf("store did not answer within %v: %w", commitTimeout, ErrUnavailable))
	ctx, cancel := context.WithCancelCause(ctx)
	unhook := context.AfterFunc(db.ctx, func() { cancel(db.Err()) })
	return ctx, func() {
		unhook()
		cancel(nil)
		cancelTime()
	}
}

// explain prefers the cause of an ended context to what the end did to a call.
func (db *DB) explain(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// reader is a snapshot.
type reader struct {
	db  *DB
	img *image
}

func (r reader) Revision() Revision { return r.img.revision }

func (r reader) find(d *tableDef, key string) *row { return r.scan(d).get(key) }

func (r reader) last(d *tableDef) *row { return r.scan(d).last() }

func (r reader) scan(d *tableDef) *tableImage { return r.img.tables[r.db.number(d)] }

func (db *DB) number(d *tableDef) int {
	n, ok := db.numbers[d]
	if !ok {
		panic("store: not opened with table " + d.name)
	}
	return n
}
