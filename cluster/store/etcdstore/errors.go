package etcdstore

import (
	"context"
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/ciaocloud/ciao/cluster/store"
)

// classify gives etcd's errors the store's classes.
func classify(err error) error {
	switch {
	case err == nil, errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.Is(err, rpctypes.ErrCompacted):
		return store.ErrCompacted
	case errors.Is(err, rpctypes.ErrTooManyOps), errors.Is(err, rpctypes.ErrRequestTooLarge):
		return fmt.Errorf("etcd: %w: %w", err, store.ErrTooLarge)
	case errors.Is(err, rpctypes.ErrNoSpace):
		return fmt.Errorf("etcd has reached its quota: delete what is not needed, compact and defragment it: %w: %w", err, store.ErrUnavailable)
	default:
		return fmt.Errorf("etcd: %w: %w", err, store.ErrUnavailable)
	}
}
