package controller

import (
	"context"
	"slices"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/store"
)

// Watch sends changes of the wanted kinds (none: all) that a scope may see, until ctx ends or the store closes; then the channel is
// closed. It begins with a resync and sends one again when changes were missed: the reader lists again, and may see after it changes
// that the list already had.
func (c *Controller) Watch(ctx context.Context, scope string, kinds ...ChangeKind) <-chan Change {
	w := &watcher{c: c, scope: scope, kinds: kinds, out: make(chan Change, 64)}
	var progress <-chan Change
	cancel := func() {}
	if w.wants(ChangeProgress) {
		progress, cancel = c.progress.subscribe()
	}
	go func() {
		defer close(w.out)
		defer cancel()
		w.run(ctx, c.store.Watch(ctx, store.WatchOptions{Tables: []string{instances.Name(), nodes.Name(), events.Name()}}), progress)
	}()
	return w.out
}

type watcher struct {
	c     *Controller
	scope string
	kinds []ChangeKind
	out   chan Change
}

func (w *watcher) wants(kind ChangeKind) bool {
	return len(w.kinds) == 0 || slices.Contains(w.kinds, kind)
}

func (w *watcher) run(ctx context.Context, commits <-chan store.Batch, progress <-chan Change) {
	for {
		select {
		case batch, ok := <-commits:
			if !ok || !w.forward(ctx, batch) {
				return
			}
		case change := <-progress:
			if w.sees(change.Instance.Tenant) && !w.send(ctx, Change{Kind: change.Kind, ID: change.ID, Progress: change.Progress}) {
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

func (w *watcher) sees(tenant string) bool { return w.scope == Operator || w.scope == tenant }

func (w *watcher) send(ctx context.Context, change Change) bool {
	select {
	case w.out <- change:
		return true
	case <-ctx.Done():
		return false
	}
}

// forward translates one transaction; false when the watcher is gone.
func (w *watcher) forward(ctx context.Context, batch store.Batch) bool {
	if batch.Resync {
		return w.send(ctx, Change{Kind: ChangeResync})
	}
	for _, change := range w.translate(ctx, batch) {
		if w.wants(change.Kind) && !w.send(ctx, change) {
			return false
		}
	}
	return true
}

func (w *watcher) translate(ctx context.Context, batch store.Batch) (changes []Change) {
	err := w.c.view(ctx, func(r store.Reader) error {
		for row := range instances.Changes(batch) {
			if current := latest(row); w.sees(current.Tenant) {
				changes = append(changes, instanceChange(r, row.Deleted, current))
			}
		}
		for row := range nodes.Changes(batch) {
			if node := w.c.counted(r, row.New); w.scope == Operator {
				changes = append(changes, Change{Kind: ChangeNode, ID: row.Key, Node: &node})
			}
		}
		for row := range events.Changes(batch) {
			if event := row.New; row.Created && w.sees(event.Tenant) {
				changes = append(changes, Change{Kind: ChangeEvent, ID: row.Key, Event: &event})
			}
		}
		return nil
	})
	if err != nil {
		return []Change{{Kind: ChangeResync}}
	}
	return changes
}

// latest is the row as it is, or as it was before it was deleted.
func latest(row store.RowChange[cluster.Instance]) cluster.Instance {
	if row.Deleted {
		return row.Old
	}
	return row.New
}

func instanceChange(r store.Reader, deleted bool, instance cluster.Instance) Change {
	change := Change{Kind: ChangeInstance, ID: instance.ID, Deleted: deleted}
	if instance.Host() {
		change.Kind = ChangeCNCI
	}
	switch {
	case deleted:
	case instance.Host():
		if subnet, err := subnets.Get(r, instance.Subnet); err == nil {
			if cnci, ok := cnciOf(r, subnet); ok {
				change.CNCI = &cnci
			}
		}
	default:
		change.Instance = &instance
	}
	return change
}
