package controller

import (
	"context"
	"fmt"
	"slices"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/store"
)

// AttachVolume gives a volume to an instance of the same tenant: to one that does not run at once, which finds it from its next start on; to a
// VM that runs by way of its node, and meanwhile it is attaching. ErrConflict: the volume has an instance, the instance is no VM and runs, it is
// between states, or the two are on different nodes.
func (c *Controller) AttachVolume(ctx context.Context, scope, ref, instanceRef string, place cluster.VolumePlace) (cluster.Volume, error) {
	if err := c.unfoldFor(ctx, scope, instanceRef); err != nil {
		return cluster.Volume{}, err
	}
	return c.changeVolume(ctx, scope, ref, func(tx store.Tx, v *cluster.Volume) error {
		i, err := changeable(tx, v.Tenant, instanceRef)
		if err != nil {
			return err
		}
		if err := c.give(tx, v, i, place); err != nil {
			return err
		}
		if !ended(i.State) {
			begin(v, cluster.VolumeAttaching)
			return nil
		}
		return putEvent(tx, changeOf(*v, i, wasAttached))
	})
}

// changeable finds an instance whose volumes can be changed: one that no node runs, nor will before the transaction is over, or a VM that runs.
func changeable(tx store.Tx, tenant, ref string) (cluster.Instance, error) {
	found, _, err := findInstance(tx, tenant, ref)
	if err != nil {
		return found, err
	}
	i, err := instances.Get(tx, found.ID) // protects it
	if err != nil {
		return i, noSuch("instance", ref)
	}
	switch {
	case ended(i.State), i.Kind == cluster.KindVM && runs(i):
		return i, nil
	case i.Kind == cluster.KindVM:
		return i, fmt.Errorf("%w: instance %s is %s; wait until it is active, or stopped", cluster.ErrConflict, i.Name, i.State)
	}
	return i, fmt.Errorf("%w: instance %s is %s; stop it first", cluster.ErrConflict, i.Name, i.State)
}

// runs says that an instance runs, and is to go on.
func runs(i cluster.Instance) bool {
	return i.State == cluster.Active && i.Desired == cluster.WantActive
}

// give attaches a volume to an instance, in a transaction that protects both.
func (c *Controller) give(tx store.Tx, v *cluster.Volume, i cluster.Instance, place cluster.VolumePlace) error {
	var problems cluster.Problems
	place.Check("", i.Kind, &problems)
	own := slices.Collect(volumes.By(tx, byInstance, i.ID))
	for _, other := range own {
		if other.Place.Target != "" && other.Place.Target == place.Target {
			problems.Add("target", "%q is where instance %s finds volume %s", place.Target, i.Name, label(other))
		}
		place.Number = max(place.Number, other.Place.Number+1)
	}
	if err := problems.Err(); err != nil {
		return err
	}
	needed := cluster.ContentFor(i.Kind)
	switch {
	case v.State == cluster.VolumeAttached || v.State == cluster.VolumeAttaching:
		return fmt.Errorf("%w: instance %s has it; detach it first", cluster.ErrConflict, instanceName(tx, v.Instance))
	case v.State != cluster.VolumeAvailable:
		return fmt.Errorf("%w: it is %s", cluster.ErrConflict, v.State)
	case v.Content != "" && v.Content != needed:
		return fmt.Errorf("%w: it is a %s, and a %s needs a %s; create another volume for it", cluster.ErrInvalid, v.Content, i.Kind, needed)
	case !v.Storage.Keeps(needed):
		return fmt.Errorf("%w: it is kept in storage %s, which keeps disks of VMs, and a %s needs a %s; create another volume for it", cluster.ErrInvalid, v.Storage, i.Kind, needed)
	case v.Node != "" && i.Node != "" && v.Node != i.Node:
		return fmt.Errorf("%w: it is on node %s, and instance %s belongs to node %s; create an instance that has it from the beginning (`ciao create instance … --volume`)",
			cluster.ErrConflict, v.Node, i.Name, i.Node)
	case len(own) >= cluster.MaxVolumesPerInstance:
		return fmt.Errorf("%w: instance %s has %d volumes, which is the most", cluster.ErrConflict, i.Name, len(own))
	}
	v.State, v.Instance, v.Place, v.Content, v.Reason = cluster.VolumeAttached, i.ID, place, needed, ""
	c.decideStorage(v)
	switch {
	case v.Shared():
		v.Token = nextToken(*v)
	case i.Node != "":
		v.Node = i.Node
	}
	return nil
}

// DetachVolume takes a volume from its instance: at once when that does not run, by way of its node from a VM that runs, and meanwhile it is
// detaching.
func (c *Controller) DetachVolume(ctx context.Context, scope, ref string) (cluster.Volume, error) {
	return c.changeVolume(ctx, scope, ref, func(tx store.Tx, v *cluster.Volume) error {
		switch v.State {
		case cluster.VolumeAttached, cluster.VolumeAttaching:
		case cluster.VolumeDetaching:
			return fmt.Errorf("%w: it is being detached; wait until that is done", cluster.ErrConflict)
		default:
			return fmt.Errorf("%w: no instance has it", cluster.ErrConflict)
		}
		i, err := changeable(tx, v.Tenant, v.Instance)
		if err != nil {
			return err
		}
		if bootVolume(tx, i) == v.ID {
			return fmt.Errorf("%w: instance %s boots from it; delete the instance, which leaves the volume", cluster.ErrConflict, i.Name)
		}
		if !ended(i.State) {
			begin(v, cluster.VolumeDetaching)
			return nil
		}
		detach(v)
		return putEvent(tx, changeOf(*v, i, wasDetached))
	})
}

// bootVolume is the id of the volume that an instance boots from; empty when that has a disk of its own.
func bootVolume(r store.Reader, i cluster.Instance) string {
	if !i.Spec.BootsFromVolume() {
		return ""
	}
	return slices.MinFunc(slices.Collect(volumes.By(r, byInstance, i.ID)), func(a, b cluster.Volume) int { return a.Place.Number - b.Place.Number }).ID
}

func detach(v *cluster.Volume) {
	v.State, v.Instance, v.Place = cluster.VolumeAvailable, "", cluster.VolumePlace{}
}
