package store

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
)

// Backend keeps raw rows and a log of transactions. Several engines, in one process or several, may share what a
// backend reaches. All methods may be called from several goroutines. Errors of connection or time wrap ErrUnavailable.
type Backend interface {
	// Snapshot begins to read all rows as of one revision, that of the last transaction committed by anyone before the call or a
	// later one.
	Snapshot(ctx context.Context) (Snapshot, error)

	// Commit applies c, all or nothing, if every compared path has the given revision, and returns the new revision, which is
	// exactly one more than the revision before. Otherwise it returns ErrConflict, with a revision at which the
	// comparison failed.
	Commit(ctx context.Context, c Commit) (Revision, error)

	// Follow delivers the transactions after the given revision, complete and in order, until ctx ends, and returns its error.
	// It rides out lost connections itself. A batch without rows says that there is nothing more up to its revision.
	// It returns ErrCompacted when the history after that revision is gone.
	Follow(ctx context.Context, after Revision, deliver func(RawBatch) error) error

	// Current returns the revision of the last transaction committed by anyone before the call, and sees to it that Follow
	// soon delivers that revision or a batch without rows for it.
	Current(ctx context.Context) (Revision, error)

	// Close releases what the backend holds; nothing is called after it.
	Close() error
}

// Snapshot is all rows as of one revision. They are read as the loop asks for them, so that it needs little memory however many
// there are; the context of the call that gave the snapshot must live as long.
type Snapshot struct {
	Revision Revision
	// Rows in order of their paths, byte by byte; values must not be modified. An error is the last thing that comes. It is
	// ErrCompacted when the history at Revision was forgotten meanwhile: take another snapshot.
	Rows iter.Seq2[RawRow, error]
}

// loadAttempts bounds how often a compaction may get in between.
const loadAttempts = 5

// load reads all rows into memory. When the backend forgets the revision meanwhile, it starts over.
func load(ctx context.Context, b Backend) ([]RawRow, Revision, error) {
	for range loadAttempts {
		s, err := b.Snapshot(ctx)
		if err != nil {
			return nil, 0, err
		}
		rows, err := s.collect()
		if !errors.Is(err, ErrCompacted) {
			return rows, s.Revision, err
		}
	}
	return nil, 0, fmt.Errorf("history was compacted %d times while the rows were read: %w", loadAttempts, ErrUnavailable)
}

func (s Snapshot) collect() (rows []RawRow, err error) {
	for row, err := range s.Rows {
		if err != nil {
			return nil, err
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// RawRow is a row as backends know it.
type RawRow struct {
	// Path is table/key.
	Path string
	// Value is the JSON; nil in a log means deleted.
	Value []byte
	// Revision of the last change.
	Revision Revision
}

// RawBatch is one transaction of the log.
type RawBatch struct {
	Revision Revision
	Rows     []RawRow
}

// Commit is a transaction for a backend.
type Commit struct {
	Compares []Compare
	// Writes in order, at most one per path; a nil value deletes.
	Writes []RawRow
}

// Compare asks that a path still has a revision; zero: that it does not exist.
type Compare struct {
	Path     string
	Revision Revision
}

func path(table, key string) string { return table + "/" + key }

func splitPath(p string) (table, key string, ok bool) { return strings.Cut(p, "/") }
