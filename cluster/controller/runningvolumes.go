package controller

import (
	"fmt"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/payload"
	"github.com/ciaocloud/ciao/cluster/store"
)

// begin has a volume change hands while its instance runs. Revisions grow with the clock, too: those of a store that was restored are newer than
// what nodes heard before.
func begin(v *cluster.Volume, state cluster.VolumeState) {
	v.State, v.Reason = state, ""
	v.Revision = max(v.Revision+1, uint64(time.Now().UnixMilli()))
}

// wakeVolumes has those of an instance looked at whose change depends on what it does.
func (r *reconciler) wakeVolumes(before, i cluster.Instance) {
	if i.Kind != cluster.KindVM || before.State == i.State && before.Generation == i.Generation && before.Desired == i.Desired {
		return
	}
	r.peek(func(view store.Reader) {
		for v := range volumes.By(view, byInstance, i.ID) {
			if v.State.Changing() {
				delete(r.ordered, v.ID)
				r.chores[v.ID] = true
			}
		}
	})
}

// changeOrder is what the node of a running instance is told of a volume; nil when there is nothing to tell, now or for good.
func (r *reconciler) changeOrder(view store.Reader, v cluster.Volume) (change *payload.VolumeChange, node string) {
	i, err := instances.Get(view, v.Instance)
	switch {
	case err != nil: // it has just gone, and its volumes are left behind
		return nil, ""
	case ended(i.State):
		r.settleVolume(v.ID)
		return nil, ""
	case !runs(i) || i.Node != v.Node && !v.Shared(): // it is looked at again when that changes
		return nil, ""
	}
	return &payload.VolumeChange{Instance: i.ID, Generation: i.Generation, Revision: v.Revision, Detach: v.State == cluster.VolumeDetaching}, i.Node
}

// settleVolume ends the change of a volume whose instance does not run any more: that has it from its next start on, or has it no more.
func (r *reconciler) settleVolume(id string) {
	r.edits = append(r.edits, edit{cost: 3, apply: func(tx store.Tx) (func(), error) {
		before, err := volumes.Get(tx, id)
		if err != nil || !before.State.Changing() {
			return nil, nil
		}
		i, err := instances.Get(tx, before.Instance)
		if err != nil || !ended(i.State) {
			return nil, nil
		}
		after := before
		if after.State == cluster.VolumeDetaching {
			detach(&after)
		} else {
			after.State = cluster.VolumeAttached
		}
		after.Reason = ""
		return nil, putChange(tx, before, after)
	}})
}

// recordChange applies a node's report to a volume that changes hands. It is pure. What is about another change changes nothing.
func recordChange(v cluster.Volume, report payload.VolumeReport) (cluster.Volume, verdict) {
	if report.Revision != v.Revision {
		return v, nothing
	}
	attaching := v.State == cluster.VolumeAttaching
	switch {
	case attaching && report.State == cluster.VolumeAttached:
		v.State, v.Reason, v.Made = cluster.VolumeAttached, "", true
	case attaching && report.State == cluster.VolumeFailed:
		detach(&v)
		v.Reason = clip(report.Reason)
	case !attaching && report.State == cluster.VolumeAvailable:
		detach(&v)
		v.Reason = ""
	case !attaching && report.State == cluster.VolumeFailed:
		v.State, v.Reason = cluster.VolumeAttached, clip(report.Reason)
	default:
		return v, nothing
	}
	return v, changed
}

// putChange stores a volume that has changed hands, or could not, and tells so.
func putChange(tx store.Tx, before, after cluster.Volume) error {
	if i, err := instances.Get(tx, before.Instance); err == nil {
		if err := putEvent(tx, changeOf(after, i, endOf(before, after))); err != nil {
			return err
		}
	}
	return volumes.Put(tx, after)
}

// handover is how a volume's change of hands has ended.
type handover int

const (
	wasAttached handover = iota
	wasDetached
	notAttached
	notDetached
)

func endOf(before, after cluster.Volume) handover {
	attaching, has := before.State == cluster.VolumeAttaching, after.State == cluster.VolumeAttached
	switch {
	case attaching && has:
		return wasAttached
	case attaching:
		return notAttached
	case has:
		return notDetached
	}
	return wasDetached
}

// changeOf is the event of how a change has ended.
func changeOf(v cluster.Volume, i cluster.Instance, end handover) cluster.Event {
	name := label(v)
	switch end {
	case wasAttached:
		return instanceEvent(i, cluster.Info, "VolumeAttached", fmt.Sprintf("Volume %s was attached to instance %s.", name, i.Name))
	case notAttached:
		return instanceEvent(i, cluster.Warning, "VolumeNotAttached", clip(fmt.Sprintf("Volume %s was not attached to instance %s: %s", name, i.Name, v.Reason)))
	case notDetached:
		return instanceEvent(i, cluster.Warning, "VolumeNotDetached", clip(fmt.Sprintf("Volume %s was not detached from instance %s: %s", name, i.Name, v.Reason)))
	}
	return instanceEvent(i, cluster.Info, "VolumeDetached", fmt.Sprintf("Volume %s was detached from instance %s.", name, i.Name))
}
