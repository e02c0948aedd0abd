package etcdstore

import (
	"context"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/ciaocloud/ciao/cluster/store"
)

// Follow implements store.Backend. The client itself resumes a watch whose connection is lost; a watch that etcd ends for another
// reason, as for the loss of its leader, is made anew after a moment.
func (b *Backend) Follow(ctx context.Context, after store.Revision, deliver func(store.RawBatch) error) error {
	for delay := 10 * time.Millisecond; ; delay = min(2*delay, 3*time.Second) {
		reached, err := b.watch(ctx, after, deliver)
		if err != nil {
			return err
		}
		if reached > after {
			after, delay = reached, 10*time.Millisecond
		}
		t := time.NewTimer(delay)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		}
	}
}

// watch delivers until the watch ends, and returns how far it came; its error is final.
func (b *Backend) watch(ctx context.Context, after store.Revision, deliver func(store.RawBatch) error) (store.Revision, error) {
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	defer cancel()
	answers := b.client.Watch(ctx, b.prefix, clientv3.WithPrefix(), clientv3.WithRev(int64(after)+1),
		clientv3.WithProgressNotify(), clientv3.WithCreatedNotify())
	for answer := range answers {
		switch {
		case answer.CompactRevision != 0:
			return after, store.ErrCompacted
		case answer.Err() != nil:
			return after, nil
		case answer.Created:
			// Who asked for the current revision before there was a watch gets its answer now.
			if err := b.client.RequestProgress(ctx); err != nil {
				return after, nil
			}
			continue
		}
		for batch := range b.batches(answer) {
			if err := deliver(batch); err != nil {
				return after, fmt.Errorf("row from etcd at revision %d: %w", batch.Revision, err)
			}
			after = max(after, batch.Revision)
		}
	}
	return after, ctx.Err()
}

// batches cuts an answer, which holds whole transactions, into them.
func (b *Backend) batches(answer clientv3.WatchResponse) func(func(store.RawBatch) bool) {
	return func(yield func(store.RawBatch) bool) {
		if answer.IsProgressNotify() {
			yield(store.RawBatch{Revision: store.Revision(answer.Header.Revision)})
			return
		}
		var batch store.RawBatch
		for _, event := range answer.Events {
			row := b.row(event.Kv, event.Type == clientv3.EventTypeDelete)
			if row.Revision != batch.Revision && batch.Rows != nil {
				if !yield(batch) {
					return
				}
				batch = store.RawBatch{}
			}
			batch.Revision = row.Revision
			batch.Rows = append(batch.Rows, row)
		}
		if batch.Rows != nil {
			yield(batch)
		}
	}
}
