package store

import (
	"context"
	"errors"
	"fmt"
	"time"
)

func isConflict(err error) bool { return errors.Is(err, ErrConflict) }

// Update implements Store.
func (db *DB) Update(ctx context.Context, fn func(Tx) error) (Revision, error) {
	if err := db.usable(ctx); err != nil {
		return 0, err
	}
	ctx, cancel := db.bound(ctx)
	defer cancel()
	var turn turn
	defer turn.end()
	for lost := 0; lost < maxAttempts; {
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		tx := newTransaction(db)
		err := fn(tx)
		tx.over = true
		if err != nil {
			return 0, err
		}
		c := tx.commit()
		if len(c.Writes) == 0 {
			return tx.Revision(), nil
		}
		if err := checkCommit(c); err != nil {
			return 0, err
		}
		flight, wait := db.admit(tx)
		if flight == nil {
			if err := turn.wait(ctx, &db.inflight, wait); err != nil {
				return 0, err
			}
			continue
		}
		revision, err := db.commit(ctx, tx, c)
		db.land(flight)
		if !isConflict(err) {
			return revision, err
		}
		lost++
		db.backOff(ctx, lost)
	}
	return 0, fmt.Errorf("transaction lost %d races for the same rows: try again later: %w", maxAttempts, ErrConflict)
}

// commit sends the transaction and waits until its outcome is visible here: after success its own writes, after a lost race
// those of the winner.
func (db *DB) commit(ctx context.Context, tx *transaction, c Commit) (Revision, error) {
	revision, err := db.backend.Commit(ctx, c)
	switch {
	case err == nil:
		db.committed(revision, tx.writes)
		return revision, db.await(ctx, revision)
	case isConflict(err):
		return 0, errors.Join(err, db.awaitAll(ctx, revision))
	default:
		return 0, db.explain(ctx, fmt.Errorf("commit: %w", err))
	}
}

// backOff spreads processes that keep losing to each other.
func (db *DB) backOff(ctx context.Context, lost int) {
	if lost > 2 {
		pause(ctx, min(time.Millisecond<<min(lost-2, 8), 50*time.Millisecond))
	}
}
