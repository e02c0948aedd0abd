package controller

import (
	"context"
	"errors"
	"fmt"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/quota"
	"github.com/ciaocloud/ciao/cluster/store"
)

// DeleteVolume wants a volume gone that no instance has. It is there, deleting, until its node has confirmed.
func (c *Controller) DeleteVolume(ctx context.Context, scope, ref string) (cluster.Volume, error) {
	return c.changeVolume(ctx, scope, ref, func(tx store.Tx, v *cluster.Volume) error {
		switch {
		case v.State == cluster.VolumeAttached || v.State.Changing():
			return fmt.Errorf("%w: instance %s has it; detach it first", cluster.ErrConflict, instanceName(tx, v.Instance))
		case copying(tx, v.ID):
			return fmt.Errorf("%w: another volume is being made as a copy of it; wait until that is done", cluster.ErrConflict)
		}
		v.State, v.Reason = cluster.VolumeDeleting, ""
		return nil
	})
}

// copying says whether a node copies a volume just now.
func copying(r store.Reader, id string) bool {
	for v := range volumes.By(r, byState, string(cluster.VolumeCreating)) {
		if v.Source == id {
			return true
		}
	}
	return false
}

// removeVolume removes a volume that no node has, and gives back what was reserved for it.
func removeVolume(tx store.Tx, v cluster.Volume) error {
	usage, err := usages.Get(tx, v.Tenant)
	if err != nil {
		return err
	}
	usage.Usage = quota.Sub(usage.Usage, volumesUsage([]cluster.Volume{v}, 1))
	event := newEvent(cluster.Info, "VolumeDeleted", "Volume "+label(v)+" was deleted.")
	event.Tenant, event.Node = v.Tenant, v.Node
	return errors.Join(usages.Put(tx, usage), volumes.Delete(tx, v.ID), putEvent(tx, event))
}
