package etcdstore

import (
	"context"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/ciaocloud/ciao/cluster/store"
)

// pageRows are read at a time, so that neither side has to build one enormous message.
const pageRows = 1000

// Snapshot implements store.Backend. The pages are read as of the first page's revision.
func (b *Backend) Snapshot(ctx context.Context) (store.Snapshot, error) {
	first, err := b.page(ctx, b.prefix, 0)
	if err != nil {
		return store.Snapshot{}, err
	}
	revision := first.Header.Revision
	return store.Snapshot{Revision: store.Revision(revision), Rows: func(yield func(store.RawRow, error) bool) {
		for page := first; ; {
			for _, kv := range page.Kvs {
				if !yield(b.row(kv, false), nil) {
					return
				}
			}
			if !page.More {
				return
			}
			var err error
			if page, err = b.page(ctx, string(page.Kvs[len(page.Kvs)-1].Key)+"\x00", revision); err != nil {
				yield(store.RawRow{}, err)
				return
			}
		}
	}}, nil
}

// page reads rows from a key on as of a revision; zero is now.
func (b *Backend) page(ctx context.Context, from string, revision int64) (*clientv3.GetResponse, error) {
	page, err := b.client.Get(ctx, from, clientv3.WithRange(clientv3.GetPrefixRangeEnd(b.prefix)),
		clientv3.WithLimit(pageRows), clientv3.WithRev(revision))
	return page, classify(err)
}

func (b *Backend) row(kv *mvccpb.KeyValue, deleted bool) store.RawRow {
	row := store.RawRow{Path: string(kv.Key[len(b.prefix):]), Revision: store.Revision(kv.ModRevision)}
	if !deleted {
		row.Value = kv.Value
	}
	return row
}
