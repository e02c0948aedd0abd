package controller

import (
	"fmt"
	"slices"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/payload"
	"github.com/ciaocloud/ciao/cluster/store"
	"github.com/ciaocloud/ciao/ssntp"
)

// A volume needs something of its node while it is being made as a copy, or deleted, or changes hands while its instance runs. The node is
// told until it answers; everything else that happens to a volume happens with its instance.

// observeVolumes notes which volumes may need something.
func (r *reconciler) observeVolumes(batch store.Batch) {
	for row := range volumes.Changes(batch) {
		if row.Deleted || row.Old.State != row.New.State {
			delete(r.ordered, row.Key) // what it was told was about something else
			r.deadlines.set(subject{ofVolume, row.Key}, noTime)
		}
		if !row.Deleted && unfinished(row.New) {
			r.chores[row.Key] = true
		}
	}
}

func unfinished(v cluster.Volume) bool {
	return v.State == cluster.VolumeCreating || v.State == cluster.VolumeDeleting || v.State.Changing()
}

// resumeVolumes takes up what a volume's node may not have heard, or not have answered: of one node, or of all.
func (r *reconciler) resumeVolumes(view store.Reader, node string) {
	for _, state := range []cluster.VolumeState{cluster.VolumeCreating, cluster.VolumeAttaching, cluster.VolumeDetaching, cluster.VolumeDeleting} {
		for v := range volumes.By(view, byState, string(state)) {
			if node == "" || node == v.Node || v.Shared() {
				delete(r.ordered, v.ID)
				r.chores[v.ID] = true
			}
		}
	}
}

// tendVolumes does what is due for volumes.
func (r *reconciler) tendVolumes(view store.Reader, now time.Time) {
	for id := range r.chores {
		v, err := volumes.Get(view, id)
		if err != nil || !unfinished(v) {
			continue
		}
		order := payload.VolumeOrder{Volume: r.volumeOf(v), Delete: v.State == cluster.VolumeDeleting}
		node := v.Node
		switch {
		case v.State.Changing():
			if order.Change, node = r.changeOrder(view, v); order.Change == nil {
				continue
			}
		case v.Shared():
			node = r.errandNode(view, id)
		}
		_, deaf := r.silence(node)
		deaf = deaf || v.Shared() && node == ""
		switch due := r.ordered[id].Add(r.timing.Answer); {
		case v.State == cluster.VolumeDeleting && !v.Shared() && (v.Node == "" || lostForGood(view, v.Node)):
			r.removeVolume(id)
		case !r.linked || deaf:
			r.explainWaiting(v, node)
		case now.Before(due):
			r.deadlines.set(subject{ofVolume, id}, due)
		default:
			r.ordered[id] = now
			r.order(ssntp.Volume, node, order)
			r.deadlines.set(subject{ofVolume, id}, now.Add(r.timing.Answer))
		}
	}
	clear(r.chores)
}

// lostForGood says that an operator has given a node up, or forgotten it.
func lostForGood(view store.Reader, node string) bool {
	n, err := nodes.Get(view, node)
	return err != nil || n.Evacuated && n.State == cluster.NodeMissing
}

// explainWaiting tells why nothing happens.
func (r *reconciler) explainWaiting(v cluster.Volume, node string) {
	reason := fmt.Sprintf("node %s is not connected; this goes on when it is back", node)
	if node == "" {
		reason = "no node is connected that could do it; this goes on when one is"
	}
	if v.Reason != reason {
		r.editVolume(v.ID, func(_ store.Tx, now *cluster.Volume) (bool, error) {
			now.Reason = reason
			return unfinished(*now), nil
		})
	}
}

// editVolume changes one volume; change returns false to leave it.
func (r *reconciler) editVolume(id string, change func(store.Tx, *cluster.Volume) (bool, error)) {
	r.edits = append(r.edits, edit{cost: 2, apply: func(tx store.Tx) (func(), error) {
		v, err := volumes.Get(tx, id)
		if err != nil {
			return nil, nil
		}
		changed, err := change(tx, &v)
		if err != nil || !changed {
			return nil, err
		}
		return nil, volumes.Put(tx, v)
	}})
}

func (r *reconciler) removeVolume(id string) {
	r.edits = append(r.edits, edit{cost: 3, apply: func(tx store.Tx) (func(), error) {
		v, err := volumes.Get(tx, id)
		if err != nil || v.State != cluster.VolumeDeleting {
			return nil, nil
		}
		return nil, removeVolume(tx, v)
	}})
}

// volumeReport records a node's word on one volume.
func (r *reconciler) volumeReport(node string, report payload.VolumeReport) {
	if report.Stray {
		r.strayReport(node, report)
		return
	}
	r.edits = append(r.edits, edit{cost: 3, apply: func(tx store.Tx) (func(), error) {
		before, err := volumes.Get(tx, report.Volume)
		if err != nil {
			return nil, nil
		}
		if before.State.Changing() && !isOn(tx, before.Instance, node) {
			return nil, nil
		}
		after, what := recordVolume(before, node, report)
		switch {
		case what == removed:
			return nil, removeVolume(tx, before)
		case what == changed && before.State.Changing():
			return nil, putChange(tx, before, after)
		case what == changed:
			return nil, putVolume(tx, after)
		}
		return nil, nil
	}})
}

// isOn says whether an instance is placed on a node: what another says of its volumes is late.
func isOn(r store.Reader, instance, node string) bool {
	i, err := instances.Get(r, instance)
	return err == nil && i.Node == node
}

// recordVolume applies a node's report to a volume. It is pure. What is not of the volume's node changes nothing, unless all reach it.
func recordVolume(v cluster.Volume, node string, report payload.VolumeReport) (cluster.Volume, verdict) {
	if v.Node != node && !v.Shared() {
		return v, nothing
	}
	if v.State.Changing() {
		return recordChange(v, report)
	}
	switch {
	case v.State == cluster.VolumeDeleting && report.State == cluster.VolumeGone:
		return v, removed
	case v.State == cluster.VolumeCreating && report.State == cluster.VolumeAvailable:
		v.State, v.Reason, v.Made = cluster.VolumeAvailable, "", true
	case v.State == cluster.VolumeCreating && report.State == cluster.VolumeFailed:
		v.State, v.Reason = cluster.VolumeFailed, clip(report.Reason)
	case v.State == cluster.VolumeDeleting && report.State == cluster.VolumeFailed && v.Reason != clip(report.Reason):
		v.Reason = clip(report.Reason) // it is tried again
	default:
		return v, nothing
	}
	return v, changed
}

// putVolume stores a changed volume, and tells of one that could not be made.
func putVolume(tx store.Tx, v cluster.Volume) error {
	if v.State == cluster.VolumeFailed {
		event := newEvent(cluster.Error, "VolumeFailed", clip("Volume "+label(v)+" could not be made: "+v.Reason))
		event.Tenant, event.Node = v.Tenant, v.Node
		if err := putEvent(tx, event); err != nil {
			return err
		}
	}
	return volumes.Put(tx, v)
}

// followInstance keeps the volumes of an instance with it: those that have been used are where they are for good, those that have not
// are nowhere when it leaves its node, and where it is when it is found somewhere.
func followInstance(tx store.Tx, before, after cluster.Instance) error {
	ran := after.State != before.State && (after.State == cluster.Active || after.State == cluster.Exited)
	left := before.Node != "" && after.Node == ""
	found := after.Node != "" && after.Node != before.Node // after the store was restored
	if !ran && !left && !found {
		return nil
	}
	for _, v := range slices.Collect(volumes.By(tx, byInstance, after.ID)) {
		if v.Made {
			continue
		}
		v.Made = ran
		switch {
		case found && !v.Shared():
			v.Node = after.Node
		case left && !v.Stays():
			v.Node = ""
		}
		if err := volumes.Put(tx, v); err != nil {
			return err
		}
	}
	return nil
}

// bindVolumes puts the volumes of an instance on the node that it is placed on; false when one is on another. Those that are shared stay
// where they are, and the node gets a token to take them over with.
func bindVolumes(tx store.Tx, instance, node string) (bool, error) {
	own := slices.Collect(volumes.By(tx, byInstance, instance))
	for _, v := range own {
		if v.Node != "" && v.Node != node {
			return false, nil
		}
	}
	for _, v := range own {
		switch {
		case v.Shared():
			v.Token = nextToken(v)
		case v.Node == node:
			continue
		default:
			v.Node = node
		}
		if err := volumes.Put(tx, v); err != nil {
			return false, err
		}
	}
	return true, nil
}

// volumesNode is the node that the volumes of an instance are on; empty when they can be anywhere.
func volumesNode(view store.Reader, instance string) string {
	for v := range volumes.By(view, byInstance, instance) {
		if v.Node != "" {
			return v.Node
		}
	}
	return ""
}

// volumesOn are the volumes of an instance as its node needs to know them for a start, in their order: without one that is being detached.
func (r *reconciler) volumesOn(view store.Reader, instance string) (all []payload.Volume) {
	own := slices.SortedFunc(volumes.By(view, byInstance, instance), func(a, b cluster.Volume) int { return a.Place.Number - b.Place.Number })
	for _, v := range own {
		if v.State != cluster.VolumeDetaching {
			all = append(all, r.volumeOf(v))
		}
	}
	return all
}

func (r *reconciler) volumeOf(v cluster.Volume) payload.Volume {
	body := payload.Volume{
		ID: v.ID, Name: label(v), Storage: v.Storage, Token: v.Token, Content: v.Content, SizeMiB: v.SizeMiB, Source: v.Source, Made: v.Made, Target: v.Place.Target, ReadOnly: v.Place.ReadOnly,
	}
	if v.Image != nil && !v.Made {
		body.Image = &payload.Image{Content: *v.Image, Controller: r.c.address}
	}
	return body
}
