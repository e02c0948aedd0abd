package controller

import (
	"context"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/store"
)

// observe takes in one transaction of the store, whoever made it.
func (r *reconciler) observe(ctx context.Context, batch store.Batch) {
	if batch.Resync {
		if r.look(ctx, r.resync) == nil && ctx.Err() == nil {
			r.begun = true
		}
		return
	}
	if batch.Revision <= r.revision {
		return // the resync had it
	}
	r.revision = batch.Revision
	for row := range batches.Changes(batch) {
		if row.Deleted {
			delete(r.folded, row.Key)
		} else {
			r.folded[row.Key] = true
		}
	}
	for row := range subnets.Changes(batch) {
		if row.Deleted {
			r.dropNetwork(row.Key)
		} else {
			r.observeSubnet(row.New)
		}
	}
	for row := range instances.Changes(batch) {
		r.observeInstance(row.Old, row.New, row.Deleted)
		r.wakeVolumes(row.Old, row.New)
	}
	for row := range nodes.Changes(batch) {
		if row.Deleted {
			delete(r.peers, row.Key)
			r.deadlines.set(subject{ofNode, row.Key}, noTime)
			r.deadlines.set(subject{ofStrays, row.Key}, noTime)
		} else {
			r.observeNode(row.New)
		}
	}
	for row := range tenants.Changes(batch) {
		if row.Deleted {
			r.tendTenant(row.Key)
		}
	}
	r.observeVolumes(batch)
	for row := range externalIPs.Changes(batch) {
		r.observeExternalIP(row.Old, row.New, row.Deleted)
	}
	for range pools.Changes(batch) {
		r.peek(r.observePools)
		break
	}
	r.observeRestorations(batch)
}

// resync builds what follows from the store anew; what was learnt from messages stays.
func (r *reconciler) resync(view store.Reader) {
	r.revision = view.Revision()
	r.folded = map[string]bool{}
	for batch := range batches.All(view) {
		r.folded[batch.ID] = true
	}
	for _, n := range r.networks {
		n.clear()
	}
	known := map[string]bool{}
	for subnet := range subnets.All(view) {
		known[subnet.ID] = true
		r.observeSubnet(subnet)
	}
	for id := range r.networks {
		if !known[id] {
			r.dropNetwork(id)
		}
	}
	for node := range nodes.All(view) {
		r.observeNode(node)
	}
	for instance := range instances.All(view) {
		r.observeInstance(cluster.Instance{}, instance, false)
	}
	r.resumeVolumes(view, "")
	for e := range externalIPs.All(view) {
		r.observeExternalIP(cluster.ExternalIP{}, e, false)
	}
	r.observePools(view)
	if !r.begun {
		r.beginRestored(view)
		r.refresh()
		r.watchSilence()
	}
}

// observeInstance notes that an instance may need something, and keeps the picture of its subnet.
func (r *reconciler) observeInstance(before, i cluster.Instance, deleted bool) {
	if deleted {
		delete(r.memories, before.ID)
		r.deadlines.set(subject{ofInstance, before.ID}, noTime)
		delete(r.cncis, before.ID)
		if n := r.networks[before.Subnet]; n != nil && !before.Host() {
			n.leave(before.ID)
		}
		r.roomier = true
		r.wakeGroup(cluster.Instance{}, before)
		r.wakePair(before)
		return
	}
	r.dirty[i.ID] = true
	r.wakeGroup(before, i)
	r.wakePair(i)
	if m := r.memories[i.ID]; m != nil {
		m.settle(i)
	}
	n := r.networks[i.Subnet]
	switch {
	case n == nil:
	case i.Host():
		r.cncis[i.ID] = i.Subnet
		n.observeCNCI(i)
		r.wakeHosts(n)
	default:
		n.join(i)
	}
}

// wakePair has the other decided of a pair of which one takes over from the other.
func (r *reconciler) wakePair(i cluster.Instance) {
	for _, other := range []string{i.Replaces, i.Replacement} {
		if other != "" {
			r.dirty[other] = true
		}
	}
}

// settle forgets what belonged to a start that is over.
func (m *memory) settle(i cluster.Instance) {
	if !i.State.Settled() || i.State == cluster.Missing {
		return
	}
	revivals := m.revivals
	if i.State == cluster.Active {
		revivals = 0
	}
	*m = memory{last: m.last, revivals: revivals}
}

// retryRefused asks again for those that found no room, and for those that no other node would do for: some may have come free.
func (r *reconciler) retryRefused() {
	for id, m := range r.memories {
		if m.refusal != "" && !m.permanent {
			m.refusedAt = noTime
			r.dirty[id] = true
		}
		if m.stays {
			r.dirty[id] = true
		}
	}
}
