package client

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/api"
)

// Reached says whether an instance is where the waiter wants it; an error ends the wait. gone is set when it does not exist any more.
type Reached func(instance api.Instance, gone bool) (bool, error)

// Active waits for an instance to run; one that failed, exited or vanished will not.
func Active(instance api.Instance, gone bool) (bool, error) {
	switch {
	case gone:
		return false, failed(cluster.ErrNotFound, "instance %s was deleted meanwhile", instance.Name)
	case instance.State == cluster.Failed || instance.State == cluster.Exited:
		return false, failed(cluster.ErrConflict, "instance %s is %s: %s", instance.Name, instance.State, reason(instance))
	}
	return instance.State == cluster.Active, nil
}

// Inactive waits for an instance to have stopped, however.
func Inactive(instance api.Instance, gone bool) (bool, error) {
	return gone || instance.State == cluster.Stopped || instance.State == cluster.Exited || instance.State == cluster.Failed, nil
}

// Deleted waits for an instance to be gone.
func Deleted(_ api.Instance, gone bool) (bool, error) { return gone, nil }

// Wait follows instances until each has got where reached wants it, and returns them as they were then. progress, which may be
// nil, is called with every change. When the deadline of ctx passes first, the error is of class cluster.ErrTimeout and names one that
// is not there yet; a controller that goes away meanwhile is waited for.
func (c *Client) Wait(ctx context.Context, wanted []api.Instance, reached Reached, progress func(api.Instance)) ([]api.Instance, error) {
	w := waiting{client: c, reached: reached, progress: progress, latest: make(map[string]api.Instance, len(wanted)), open: make(map[string]bool, len(wanted))}
	for _, instance := range wanted {
		w.latest[instance.ID], w.open[instance.ID] = instance, true
	}
	if err := w.run(ctx); err != nil {
		return nil, err
	}
	result := make([]api.Instance, len(wanted))
	for i, instance := range wanted {
		result[i] = w.latest[instance.ID]
	}
	return result, nil
}

type waiting struct {
	client   *Client
	reached  Reached
	progress func(api.Instance)
	latest   map[string]api.Instance
	open     map[string]bool // ids that are not there yet
}

// run follows the changes until nobody is waited for. A controller that is away for a while is waited for as well.
func (w *waiting) run(ctx context.Context) error {
	for len(w.open) > 0 {
		err := w.follow(ctx)
		if ctx.Err() != nil && len(w.open) > 0 {
			return w.late(ctx)
		}
		if err != nil && !passing(err) {
			return err
		}
		if err != nil {
			wait(ctx, reconnect)
		}
	}
	return nil
}

func (w *waiting) follow(ctx context.Context) error {
	for change, err := range w.client.Watch(ctx, api.ChangeInstance) {
		switch {
		case err != nil:
			return err
		case change.Type == api.ChangeResync:
			err = w.list(ctx)
		case w.open[change.ID] && change.Deleted:
			err = w.see(w.latest[change.ID], true)
		case w.open[change.ID] && change.Instance != nil:
			err = w.see(*change.Instance, false)
		}
		if err != nil || len(w.open) == 0 {
			return err
		}
	}
	return nil
}

// list looks everything up, for changes may have been missed.
func (w *waiting) list(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, defaultTimeout)
	defer cancel()
	found, err := w.client.Instances(ctx, InstanceFilter{})
	if err != nil {
		return err
	}
	there := make(map[string]api.Instance, len(found))
	for _, instance := range found {
		there[instance.ID] = instance
	}
	for id := range w.latest {
		if !w.open[id] {
			continue
		}
		instance, exists := there[id]
		if !exists {
			instance = w.latest[id]
		}
		if err := w.see(instance, !exists); err != nil {
			return err
		}
	}
	return nil
}

func (w *waiting) see(instance api.Instance, gone bool) error {
	w.latest[instance.ID] = instance
	done, err := w.reached(instance, gone)
	if err != nil {
		return err
	}
	if done {
		delete(w.open, instance.ID)
	}
	if w.progress != nil {
		if gone {
			instance.State = cluster.Gone
		}
		w.progress(instance)
	}
	return nil
}

// late says who is not there yet; of several, the first by name.
func (w *waiting) late(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return context.Cause(ctx)
	}
	last := w.latest[slices.MinFunc(slices.Collect(maps.Keys(w.open)), func(a, b string) int {
		return cmp.Compare(w.latest[a].Name, w.latest[b].Name)
	})]
	if len(w.latest) == 1 {
		return failed(cluster.ErrTimeout, "instance %s is not there yet: it is %s (%s)", last.Name, last.State, reason(last))
	}
	return failed(cluster.ErrTimeout, "%d of %d instances are not there yet; %s is %s (%s)", len(w.open), len(w.latest), last.Name, last.State, reason(last))
}

func reason(instance api.Instance) string {
	return cmp.Or(instance.Reason, "no reason is known; `ciao list events` may tell")
}
