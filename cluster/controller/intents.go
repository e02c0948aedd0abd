package controller

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/store"
)

// StartInstance wants a stopped, exited or failed instance active again: on its node when it has one. One that is active or on its way
// is left alone.
func (c *Controller) StartInstance(ctx context.Context, scope, ref string) (cluster.Instance, error) {
	return c.changeInstance(ctx, scope, ref, startAlone)
}

// StopInstance wants an instance stopped; it keeps id, name, addresses and node. One that has ended is left as it is, stopped.
func (c *Controller) StopInstance(ctx context.Context, scope, ref string) (cluster.Instance, error) {
	return c.changeInstance(ctx, scope, ref, func(_ store.Reader, i *cluster.Instance, now time.Time) error { return wantStopped(i, now) })
}

// DeleteInstance wants an instance gone. It is there, deleting, until its node has confirmed.
func (c *Controller) DeleteInstance(ctx context.Context, scope, ref string) (cluster.Instance, error) {
	return c.changeInstance(ctx, scope, ref, func(_ store.Reader, i *cluster.Instance, now time.Time) error { return wantDeleted(i, now) })
}

// changeInstance changes the intent of one instance, which is unfolded first if need be.
func (c *Controller) changeInstance(ctx context.Context, scope, ref string, change func(store.Reader, *cluster.Instance, time.Time) error) (changed cluster.Instance, err error) {
	if err := c.unfoldFor(ctx, scope, ref); err != nil {
		return cluster.Instance{}, err
	}
	_, err = c.update(ctx, func(tx store.Tx) error {
		instance, _, err := findInstance(tx, scope, ref)
		if err != nil {
			return err
		}
		if instance, err = instances.Get(tx, instance.ID); err != nil { // protects it
			return noSuch("instance", ref)
		}
		before := instance
		if err := change(tx, &instance, time.Now().UTC()); err != nil {
			return fmt.Errorf("instance %q: %w", ref, err)
		}
		changed = instance
		if instance.State == before.State && instance.Desired == before.Desired {
			return nil
		}
		if before.State == cluster.Failed { // it has a say in its node again
			if err := queueGroup(tx, before); err != nil {
				return err
			}
		}
		return instances.Put(tx, instance)
	})
	if err != nil {
		return cluster.Instance{}, err
	}
	return changed, nil
}

// startAlone wants an instance active, elsewhere if another of a group that must be spread has its node since it failed.
func startAlone(r store.Reader, i *cluster.Instance, now time.Time) error {
	if i.State != cluster.Failed || !crowded(r, *i, i.Node) {
		return wantActive(i, now)
	}
	reason := fmt.Sprintf("another instance of group %q has node %s", i.Spec.Requirements.Spread, i.Node)
	if i.Bound {
		return fmt.Errorf("%w: %s, where it has run and must stay; delete one of the two", cluster.ErrConflict, reason)
	}
	restart(i, now)
	enter(i, cluster.Pending, reason, now) // it is withdrawn from there first
	return nil
}

func wantActive(i *cluster.Instance, now time.Time) error {
	if i.Desired == cluster.WantActive && i.State != cluster.Exited && i.State != cluster.Failed {
		return nil
	}
	switch i.State {
	case cluster.Stopped, cluster.Exited, cluster.Failed:
		restart(i, now)
		return nil
	case cluster.Missing:
		return fmt.Errorf("%w: its node is missing; it can be started when the node is back", cluster.ErrConflict)
	}
	return fmt.Errorf("%w: it is %s; wait until that is done", cluster.ErrConflict, i.State)
}

// restart wants an ended instance active again, as a new generation.
func restart(i *cluster.Instance, now time.Time) {
	i.Generation++
	i.Desired = cluster.WantActive
	i.ExitCode, i.Refusals = nil, nil
	if i.Node == "" {
		enter(i, cluster.Pending, "", now)
	} else {
		enter(i, cluster.Scheduled, "", now)
	}
}

func wantStopped(i *cluster.Instance, now time.Time) error {
	switch i.State {
	case cluster.Deleting:
		return fmt.Errorf("%w: it is being deleted", cluster.ErrConflict)
	case cluster.Exited, cluster.Failed:
		enter(i, cluster.Stopped, i.Reason, now)
	case cluster.Pending:
		if i.Node == "" {
			enter(i, cluster.Stopped, "", now)
		}
	}
	i.Desired = cluster.WantStopped
	return nil
}

func wantDeleted(i *cluster.Instance, now time.Time) error {
	i.Desired = cluster.WantDeleted
	if i.State != cluster.Deleting {
		enter(i, cluster.Deleting, "", now)
	}
	return nil
}

// enter brings an instance to a state.
func enter(i *cluster.Instance, state cluster.State, reason string, now time.Time) {
	if i.State != state {
		i.State, i.Changed = state, now
	}
	i.Reason = reason
}

// deletesPerTransaction keeps a delete of many within the store's limits.
const deletesPerTransaction = 100

// DeleteInstances wants all chosen instances gone, and says how many they are.
func (c *Controller) DeleteInstances(ctx context.Context, scope string, filter InstanceFilter) (count int, err error) {
	if err := c.unfoldAll(ctx, scope); err != nil {
		return 0, err
	}
	var chosen []cluster.Instance
	if err := c.view(ctx, func(r store.Reader) error { chosen = selectInstances(r, scope, filter); return nil }); err != nil {
		return 0, err
	}
	for chunk := range slices.Chunk(chosen, deletesPerTransaction) {
		n, err := c.deleteSome(ctx, chunk)
		count += n
		if err != nil {
			return count, err
		}
	}
	return count, nil
}

func (c *Controller) deleteSome(ctx context.Context, chunk []cluster.Instance) (count int, err error) {
	_, err = c.update(ctx, func(tx store.Tx) error {
		count = 0
		for _, chosen := range chunk {
			instance, err := instances.Get(tx, chosen.ID)
			if err != nil {
				continue // gone meanwhile
			}
			count++
			if instance.Desired == cluster.WantDeleted {
				continue
			}
			wantDeleted(&instance, time.Now().UTC())
			if err := instances.Put(tx, instance); err != nil {
				return err
			}
		}
		return nil
	})
	return count, err
}
