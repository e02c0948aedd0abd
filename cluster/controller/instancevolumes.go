package controller

import (
	"fmt"
	"slices"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/store"
)

// namedVolumes are the existing volumes of a new instance in their order: those of the workload, then those of the request.
func namedVolumes(own []cluster.VolumeSpec, requested []VolumeAttachment) (named []VolumeAttachment) {
	for k, spec := range own {
		if spec.Volume != "" {
			named = append(named, VolumeAttachment{spec.Volume, cluster.VolumePlace{Number: k, Target: spec.Target, ReadOnly: spec.ReadOnly}})
		}
	}
	for k, one := range requested {
		one.Place.Number = len(own) + k
		named = append(named, one)
	}
	return named
}

// VolumeAttachment is an existing volume that a new instance has.
type VolumeAttachment struct {
	Volume string // name or id
	Place  cluster.VolumePlace
}

// giveVolumes attaches the existing volumes that a request or a workload names to the one instance of a batch, and reserves those that
// are made with each instance. The rows of the latter come when the batch is unfolded.
func (c *Controller) giveVolumes(tx store.Tx, batch cluster.Batch, requested []VolumeAttachment) error {
	named := namedVolumes(batch.Template.Spec.Volumes, requested)
	if len(named) > 0 && batch.Count > 1 {
		return fmt.Errorf("%w: a volume is one instance's at a time; create one instance, or volumes that are made with each", cluster.ErrInvalid)
	}
	instance, _ := batch.Instance(0)
	node := instance.Spec.Requirements.Node
	for _, one := range named {
		found, err := findVolume(tx, instance.Tenant, one.Volume)
		if err != nil {
			return err
		}
		v, err := volumes.Get(tx, found.ID) // protects it
		if err != nil {
			return noSuch("volume", one.Volume)
		}
		if err := c.give(tx, &v, instance, one.Place); err != nil {
			return fmt.Errorf("volume %q: %w", one.Volume, err)
		}
		if err := putEvent(tx, changeOf(v, instance, wasAttached)); err != nil {
			return err
		}
		if node != "" && v.Node != "" && v.Node != node {
			return fmt.Errorf("volume %q: %w: it is on node %s, and what else the instance needs is on %s", one.Volume, cluster.ErrConflict, v.Node, node)
		}
		if v.Node != "" {
			node = v.Node
		}
		if err := volumes.Put(tx, v); err != nil {
			return err
		}
	}
	return reserveVolumes(tx, instance.Tenant, batch.Volumes, batch.Count)
}

// volumesOf are the volumes that are made with each instance of a workload, as far as they are the same for all.
func (c *Controller) volumesOf(r store.Reader, workload cluster.Workload, tenant string, now time.Time) (made []cluster.Volume, err error) {
	kind := workload.Spec.Kind
	for k, spec := range workload.Spec.Volumes {
		if spec.Volume != "" {
			continue
		}
		v := cluster.Volume{
			Tenant: tenant, State: cluster.VolumeAttached, Content: cluster.ContentFor(kind), SizeMiB: spec.SizeMiB, Storage: spec.Storage, Ephemeral: spec.Ephemeral, Created: now,
			Place: cluster.VolumePlace{Number: k, Target: spec.Target, ReadOnly: spec.ReadOnly},
		}
		if spec.Image != "" {
			if err := beginAsImage(r, &v, workload.Tenant, spec.Image); err != nil {
				return nil, err
			}
			if needed := cluster.ContentFor(kind); v.Content != needed {
				return nil, fmt.Errorf("image %q: %w: as a volume it is a %s, and a %s needs a %s", spec.Image, cluster.ErrInvalid, v.Content, kind, needed)
			}
		}
		c.decideStorage(&v)
		made = append(made, v)
	}
	return made, nil
}

// leaveVolumes takes the volumes of an instance that is gone from it. What was never made is nowhere.
func leaveVolumes(tx store.Tx, i cluster.Instance) error {
	for _, v := range slices.Collect(volumes.By(tx, byInstance, i.ID)) {
		ephemeral := v.Ephemeral
		detach(&v)
		if !v.Stays() {
			v.Node = ""
		}
		if ephemeral {
			v.State = cluster.VolumeDeleting
		}
		if err := volumes.Put(tx, v); err != nil {
			return err
		}
	}
	return nil
}
