package controller

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/quota"
	"github.com/ciaocloud/ciao/cluster/store"
)

// edit is one change of the store that the reconciler makes. It reads the rows it changes and does nothing when they are not as it
// expects, so that it may be applied late or twice.
type edit struct {
	cost int // operations of the transaction, at most
	// apply returns what to do when the transaction is committed, or nil.
	apply func(tx store.Tx) (committed func(), err error)
}

// commit applies all waiting edits in as few transactions as possible. Reports that arrived while one was being committed go into
// the next one together. While the store is unavailable it keeps trying: nothing is lost, and senders are held back.
func (r *reconciler) commit(ctx context.Context) error {
	for len(r.edits) > 0 {
		n, cost := 0, 0
		for n < len(r.edits) && (n == 0 || cost+r.edits[n].cost <= store.MaxOperations) {
			cost += r.edits[n].cost
			n++
		}
		chunk := r.edits[:n:n]
		r.edits = r.edits[n:]
		if err := r.commitChunk(ctx, chunk); err != nil {
			return err
		}
	}
	r.edits = nil
	return nil
}

func (r *reconciler) commitChunk(ctx context.Context, chunk []edit) error {
	for {
		var after []func()
		begun := time.Now()
		_, err := r.store.Update(ctx, func(tx store.Tx) error {
			after = after[:0]
			for _, e := range chunk {
				committed, err := e.apply(tx)
				if err != nil {
					return err
				}
				if committed != nil {
					after = append(after, committed)
				}
			}
			return nil
		})
		r.c.counters.count(func(n *Counters) { n.Commits++; n.CommitBusy += time.Since(begun).Seconds() })
		switch {
		case err == nil:
			for _, f := range after {
				f()
			}
			return nil
		case transient(err):
			if done := r.pause(ctx, "record changes", err); done != nil || ctx.Err() != nil {
				return done
			}
		case len(chunk) > 1: // too large together, or one of them is bad
			return errors.Join(r.commitChunk(ctx, chunk[:len(chunk)/2]), r.commitChunk(ctx, chunk[len(chunk)/2:]))
		default:
			r.log.Error("cannot record a change", slog.Any("error", err))
			return nil
		}
	}
}

// transient errors may pass by themselves.
func transient(err error) bool {
	return errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrClosed) ||
		errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// pauseAfterFailure is how long the reconciler waits for a store that does not answer.
const pauseAfterFailure = 250 * time.Millisecond

// pause waits before another attempt; an error says that the store is closed for good. It returns at once when ctx has ended.
func (r *reconciler) pause(ctx context.Context, what string, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	if errors.Is(err, store.ErrClosed) || errors.Is(err, cluster.ErrUnavailable) && errors.Is(err, store.ErrClosed) {
		return fmt.Errorf("controller: %s: %w", what, classify(err))
	}
	r.log.Warn("the store did not take a change; trying again", slog.String("what", what), slog.Any("error", err))
	select {
	case <-time.After(pauseAfterFailure):
	case <-ctx.Done():
	}
	return nil
}

// editInstance changes one instance; change returns false to leave it.
func (r *reconciler) editInstance(id string, change func(*cluster.Instance) bool) {
	r.edits = append(r.edits, edit{cost: 2, apply: func(tx store.Tx) (func(), error) {
		before, err := instances.Get(tx, id)
		if errors.Is(err, store.ErrNotFound) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		after := before
		if !change(&after) {
			return nil, nil
		}
		return nil, putInstance(tx, before, after)
	}})
}

// putInstance stores a changed instance with the event of its new state.
func putInstance(tx store.Tx, before, after cluster.Instance) error {
	if event, ok := changeEvent(before, after); ok {
		if err := putEvent(tx, event); err != nil {
			return err
		}
	}
	return instances.Put(tx, after)
}

// removeInstance removes an instance that no node holds, and gives back all that was reserved for it.
func removeInstance(tx store.Tx, i cluster.Instance) error {
	if i.Host() {
		return removeCNCI(tx, i)
	}
	usage, err := usages.Get(tx, i.Tenant)
	if err != nil {
		return err
	}
	usage.Usage = quota.Release(usage.Usage, i.Spec.Requirements.Resources(), 1)
	return errors.Join(
		usages.Put(tx, usage),
		releaseAddress(tx, i),
		detachAll(tx, i.ID),
		leaveVolumes(tx, i),
		instances.Delete(tx, i.ID),
		putEvent(tx, instanceEvent(i, cluster.Info, "Deleted", "Instance "+i.Name+" was deleted.")))
}

// Costs of edits. A report usually changes an instance and adds an event; where it removes one, the rows of tenant and subnet come on
// top, mostly shared with others of the same transaction. A transaction that turns out too large is split.
const (
	reportCost = 2
	removeCost = 4
)
