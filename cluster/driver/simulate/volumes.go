package simulate

import (
	"context"
	"fmt"
	"slices"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/driver"
)

// Stores implements driver.Storer; nobody looks at the volumes.
func (d *Driver) Stores(cluster.VolumeContent) bool { return true }

// Attach takes its time, then notes that the instance has a volume.
func (d *Driver) Attach(ctx context.Context, id string, v driver.Volume) error {
	return d.change(ctx, id, Attach, func(i *instance) {
		if !slices.ContainsFunc(i.wanted.Volumes, func(has driver.Volume) bool { return has.ID == v.ID }) {
			i.wanted.Volumes = append(slices.Clone(i.wanted.Volumes), v)
		}
	})
}

// Attached says whether an instance was noted to have a volume.
func (d *Driver) Attached(_ context.Context, id, volume string) (bool, error) {
	return slices.Contains(d.engine.Volumes(id), volume), nil
}

// Detach takes its time, then notes that the instance does not have a volume.
func (d *Driver) Detach(ctx context.Context, id, volume string) error {
	return d.change(ctx, id, Detach, func(i *instance) {
		i.wanted.Volumes = slices.DeleteFunc(slices.Clone(i.wanted.Volumes), func(has driver.Volume) bool { return has.ID == volume })
	})
}

func (d *Driver) change(ctx context.Context, id string, step Step, note func(*instance)) error {
	return d.step(ctx, id, step, func(e *Engine, i *instance) error {
		if i == nil || i.status.Condition != driver.Running {
			return fmt.Errorf("%s a volume: instance %s does not run: %w", step, id, cluster.ErrUnavailable)
		}
		if err := e.fails(i, step); err != nil {
			return err
		}
		note(i)
		return nil
	})
}

// Volumes are the ids of the volumes that an instance has, in their order.
func (e *Engine) Volumes(id string) (ids []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if i := e.instances[id]; i != nil {
		for _, v := range i.wanted.Volumes {
			ids = append(ids, v.ID)
		}
	}
	return ids
}
