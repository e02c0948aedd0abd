package etcdstore

import (
	"context"
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/ciaocloud/ciao/cluster/store"
)

// pageRows are read at a time, so that neither side has to build one enormous message.
const pageRows = 1000

// loadAttempts bounds how often a compaction may get in between.
const loadAttempts = 5

// Load implements store.Backend. The pages are read as of the first page's revision; when that is compacted away in the
// meantime, it starts over.
func (b *Backend) Load(ctx context.Context) ([]store.RawRow, store.Revision, error) {
	for range loadAttempts {
		rows, revision, err := b.load(ctx)
		if !errors.Is(err, store.ErrCompacted) {
			return rows, revision, err
		}
	}
	return nil, 0, fmt.Errorf("etcd was compacted %d times while its rows were read: %w", loadAttempts, store.ErrUnavailable)
}

func (b *Backend) load(ctx context.Context) ([]store.RawRow, store.Revision, error) {
	var rows []store.RawRow
	var revision int64
	end := clientv3.GetPrefixRangeEnd(b.prefix)
	for from := b.prefix; ; {
		page, err := b.client.Get(ctx, from, clientv3.WithRange(end), clientv3.WithLimit(pageRows), clientv3.WithRev(revision))
		if err != nil {
			return nil, 0, classify(err)
		}
		if revision == 0 {
			revision = page.Header.Revision
		}
		for _, kv := range page.Kvs {
			rows = append(rows, b.row(kv, false))
			from = string(kv.Key) + "\x00"
		}
		if !page.More {
			return rows, store.Revision(revision), nil
		}
	}
}

func (b *Backend) row(kv *mvccpb.KeyValue, deleted bool) store.RawRow {
	row := store.RawRow{Path: string(kv.Key[len(b.prefix):]), Revision: store.Revision(kv.ModRevision)}
	if !deleted {
		row.Value = kv.Value
	}
	return row
}
