package etcdembed

import (
	"context"
	"errors"
	"fmt"

	"github.com/dustin/go-humanize"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"golang.org/x/sys/unix"

	"github.com/ciaocloud/ciao/cluster/store"
	"github.com/ciaocloud/ciao/cluster/store/etcdstore"
)

// Backend is a store's access to the server.
type Backend struct {
	*etcdstore.Backend
	server *Server
}

var _ store.Backend = (*Backend)(nil)

// Commit implements store.Backend. It refuses to write into the disk's last space, because etcd cannot go on after a failed write.
func (b *Backend) Commit(ctx context.Context, c store.Commit) (store.Revision, error) {
	if err := checkSpace(b.server.config.Dir, b.server.config.ReserveBytes); err != nil {
		return 0, err
	}
	ctx, cancel := b.bound(ctx)
	defer cancel()
	revision, err := b.Backend.Commit(ctx, c)
	if errors.Is(err, rpctypes.ErrNoSpace) {
		b.server.maintainNow()
		err = fmt.Errorf("the store has reached its quota of %s: delete what is not needed: %w: %w",
			humanize.IBytes(uint64(b.server.config.QuotaBytes)), rpctypes.ErrNoSpace, store.ErrUnavailable)
	}
	return revision, b.explain(err)
}

// Current implements store.Backend.
func (b *Backend) Current(ctx context.Context) (store.Revision, error) {
	ctx, cancel := b.bound(ctx)
	defer cancel()
	revision, err := b.Backend.Current(ctx)
	return revision, b.explain(err)
}

// Snapshot implements store.Backend.
func (b *Backend) Snapshot(ctx context.Context) (store.Snapshot, error) {
	s, err := b.Backend.Snapshot(ctx)
	return s, b.explain(err)
}

// Follow implements store.Backend. It ends with the server.
func (b *Backend) Follow(ctx context.Context, after store.Revision, deliver func(store.RawBatch) error) error {
	ctx, cancel := b.bound(ctx)
	defer cancel()
	err := b.Backend.Follow(ctx, after, deliver)
	if failed := b.server.Err(); failed != nil {
		return failed // and not of class ErrUnavailable: the store cannot go on either
	}
	return err
}

// Close implements store.Backend. The client belongs to the server.
func (b *Backend) Close() error { return nil }

func (b *Backend) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	unhook := context.AfterFunc(b.server.ctx, cancel)
	return ctx, func() { unhook(); cancel() }
}

// explain prefers the server's end to what it did to a call.
func (b *Backend) explain(err error) error {
	if failed := b.server.Err(); err != nil && failed != nil {
		return fmt.Errorf("%w: %w", failed, store.ErrUnavailable)
	}
	return err
}

func checkSpace(dir string, reserve uint64) error {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return fmt.Errorf("free space of %s: %w", dir, err)
	}
	if free := fs.Bavail * uint64(fs.Bsize); free < reserve {
		return fmt.Errorf("the disk of %s is full: %s are free and %s are needed: free some space there: %w",
			dir, humanize.IBytes(free), humanize.IBytes(reserve), store.ErrUnavailable)
	}
	return nil
}
