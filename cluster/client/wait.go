package client

import (
	"context"
	"fmt"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/api"
)

// Reached says whether an instance is where the waiter wants it; an error ends the wait. gone is set when it does not exist any more.
type Reached func(instance api.Instance, gone bool) (bool, error)

// Active waits for an instance to run; one that failed, exited or vanished will not.
func Active(instance api.Instance, gone bool) (bool, error) {
	switch {
	case gone:
		return false, fmt.Errorf("instance %s: %w: it was deleted meanwhile", instance.Name, cluster.ErrNotFound)
	case instance.State == cluster.Failed || instance.State == cluster.Exited:
		return false, fmt.Errorf("instance %s is %s: %w: %s", instance.Name, instance.State, cluster.ErrConflict, instance.Reason)
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
// nil, is called with every change. When ctx ends first, the error is of class cluster.ErrTimeout and names one that is not there yet.
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

func (w *waiting) run(ctx context.Context) error {
	if len(w.open) == 0 {
		return nil
	}
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
		if err != nil {
			return err
		}
		if len(w.open) == 0 {
			return nil
		}
	}
	return w.late(ctx)
}

// list looks everything up, for changes may have been missed.
func (w *waiting) list(ctx context.Context) error {
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

func (w *waiting) late(ctx context.Context) error {
	for id := range w.open {
		last := w.latest[id]
		return fmt.Errorf("%w: %d of %d instances are not there yet; %s is %s (%s)",
			cluster.ErrTimeout, len(w.open), len(w.latest), last.Name, last.State, orElse(last.Reason, "no reason is known; `ciao list events` may tell"))
	}
	return context.Cause(ctx)
}

func orElse(text, other string) string {
	if text == "" {
		return other
	}
	return text
}
