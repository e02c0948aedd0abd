package controller

import (
	"context"
	"fmt"
	"slices"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/store"
)

// Volumes lists the volumes of a scope.
func (c *Controller) Volumes(ctx context.Context, scope string, p Page) (list []cluster.Volume, next string, err error) {
	err = c.view(ctx, func(r store.Reader) error {
		all := volumes.All(r)
		if scope != Operator {
			all = volumes.By(r, byTenant, scope)
		}
		list = slices.SortedFunc(all, func(a, b cluster.Volume) int { return compareText(a.ID, b.ID) })
		list, next = Paged(list, p, func(v cluster.Volume) string { return v.ID })
		return nil
	})
	return list, next, err
}

// Volume looks a volume up by id or name.
func (c *Controller) Volume(ctx context.Context, scope, ref string) (volume cluster.Volume, err error) {
	err = c.view(ctx, func(r store.Reader) error {
		volume, err = findVolume(r, scope, ref)
		return err
	})
	return volume, err
}

func findVolume(r store.Reader, scope, ref string) (cluster.Volume, error) {
	if cluster.ValidID(ref) {
		volume, err := volumes.Get(r, ref)
		if err != nil || scope != Operator && volume.Tenant != scope {
			return cluster.Volume{}, noSuch("volume", ref)
		}
		return volume, nil
	}
	name := ref
	if scope != Operator {
		name = scope + "/" + ref
	}
	found := slices.Collect(volumes.By(r, byName, name))
	switch len(found) {
	case 0:
		return cluster.Volume{}, noSuch("volume", ref)
	case 1:
		return found[0], nil
	}
	return cluster.Volume{}, fmt.Errorf("volume %q: %w: several tenants have one of that name; give its id", ref, cluster.ErrConflict)
}

// changeVolume changes one volume with the instance that has it, or is to have it, protected.
func (c *Controller) changeVolume(ctx context.Context, scope, ref string, change func(store.Tx, *cluster.Volume) error) (volume cluster.Volume, err error) {
	_, err = c.update(ctx, func(tx store.Tx) error {
		found, err := findVolume(tx, scope, ref)
		if err != nil {
			return err
		}
		if volume, err = volumes.Get(tx, found.ID); err != nil { // protects it
			return noSuch("volume", ref)
		}
		if err := change(tx, &volume); err != nil {
			return fmt.Errorf("volume %q: %w", ref, err)
		}
		return volumes.Put(tx, volume)
	})
	if err != nil {
		return cluster.Volume{}, err
	}
	return volume, nil
}

// label is how people are told of a volume.
func label(v cluster.Volume) string {
	if v.Name != "" {
		return v.Name
	}
	return v.ID
}
