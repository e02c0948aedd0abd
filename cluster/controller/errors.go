package controller

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/store"
)

func compareText(a, b string) int { return cmp.Compare(a, b) }

// translations of the store's classes of errors into those of the cluster.
var translations = []struct{ from, to error }{
	{store.ErrNotFound, cluster.ErrNotFound},
	{store.ErrExists, cluster.ErrExists},
	{store.ErrConflict, cluster.ErrConflict},
	{store.ErrTooLarge, cluster.ErrTooLarge},
	{store.ErrUnavailable, cluster.ErrUnavailable},
	{store.ErrClosed, cluster.ErrUnavailable},
	{context.DeadlineExceeded, cluster.ErrTimeout},
}

// classify gives an error of the store its class in the cluster; others stay as they are.
func classify(err error) error {
	for _, t := range translations {
		if errors.Is(err, t.from) && !errors.Is(err, t.to) {
			return fmt.Errorf("%w: %w", t.to, err)
		}
	}
	return err
}

func (c *Controller) view(ctx context.Context, read func(store.Reader) error) error {
	return classify(c.store.View(ctx, read))
}

func (c *Controller) update(ctx context.Context, change func(store.Tx) error) (store.Revision, error) {
	revision, err := c.store.Update(ctx, change)
	return revision, classify(err)
}

// ErrChanged is of class cluster.ErrConflict: what an update was made for is no longer what is there.
var ErrChanged = fmt.Errorf("%w: it has changed since you read it; read it again and repeat the change", cluster.ErrConflict)

// checkMatch refuses an update of what has changed since the caller read it.
func checkMatch(current, match store.Revision) error {
	if match != 0 && current != match {
		return ErrChanged
	}
	return nil
}

func noSuch(what, ref string) error {
	return fmt.Errorf("%s %q: %w", what, ref, cluster.ErrNotFound)
}
