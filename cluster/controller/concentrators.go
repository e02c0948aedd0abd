package controller

import (
	"errors"
	"net/netip"
	"time"

	"github.com/google/uuid"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/payload"
	"github.com/ciaocloud/ciao/cluster/store"
	"github.com/ciaocloud/ciao/ssntp"
)

// cnciSpec is what a CNCI takes of its node.
func cnciSpec() cluster.WorkloadSpec {
	return cluster.WorkloadSpec{
		Kind:         cluster.KindCNCI,
		Description:  "network service of a subnet",
		Requirements: cluster.Requirements{VCPUs: cluster.VCPU / 4, MemoryMiB: 64},
	}.WithDefaults()
}

func (r *reconciler) observeSubnet(s cluster.Subnet) {
	n := r.networks[s.ID]
	if n == nil {
		n = newNetwork()
		r.networks[s.ID] = n
	}
	if n.subnet.Prefix6 != s.Prefix6 {
		n.touch()
	}
	n.subnet = s
	n.due = true
}

func (r *reconciler) dropNetwork(subnet string) {
	delete(r.networks, subnet)
	r.deadlines.set(subject{ofSubnet, subnet}, noTime)
	for _, p := range r.peers {
		delete(p.told, subnet)
	}
}

// tendTenant has a removed tenant's networks removed without waiting.
func (r *reconciler) tendTenant(tenant string) {
	for _, n := range r.networks {
		if n.subnet.Tenant == tenant {
			n.due = true
		}
	}
}

// tendNetworks does what the networks that were touched need next.
func (r *reconciler) tendNetworks(view store.Reader, now time.Time) {
	news := map[string][]payload.SubnetPaths{}
	for id, n := range r.networks {
		if !n.due {
			continue
		}
		n.due = false
		r.deadlines.set(subject{ofSubnet, id}, noTime)
		used := len(n.subnet.Allocated) > 0
		if used {
			n.idle = noTime
		} else if n.idle.IsZero() {
			n.idle = now
		}
		switch {
		case n.subnet.CNCI == "" && used:
			r.createCNCI(n)
		case !used:
			r.retire(view, n, now)
		}
		r.configure(view, n, now)
		r.tendExternalIPs(n)
		r.newPaths(view, n, news)
	}
	if r.linked {
		clear(r.doubted)
	}
	r.tellPaths(news)
}

// createCNCI gives a subnet its CNCI, an instance like any other.
func (r *reconciler) createCNCI(n *network) {
	id := n.subnet.ID
	r.edits = append(r.edits, edit{cost: 4, apply: func(tx store.Tx) (func(), error) {
		subnet, err := subnets.Get(tx, id)
		if err != nil || subnet.CNCI != "" || len(subnet.Allocated) == 0 {
			return nil, nil
		}
		now := time.Now().UTC()
		spec := cnciSpec()
		cnci := cluster.Instance{
			ID: uuid.NewString(), Name: "cnci-" + id[:8], Tenant: subnet.Tenant, Kind: spec.Kind, Spec: spec, Subnet: id,
			Desired: cluster.WantActive, State: cluster.Pending, Generation: 1, Created: now, Changed: now,
		}
		subnet.CNCI = cnci.ID
		return nil, errors.Join(instances.Create(tx, cnci), subnets.Put(tx, subnet))
	}})
}

// retire removes a subnet that nobody has used for the idle time, its CNCI first.
func (r *reconciler) retire(view store.Reader, n *network, now time.Time) {
	until := n.idle.Add(r.timing.CNCIIdle)
	if tenants.Has(view, n.subnet.Tenant) && now.Before(until) {
		r.deadlines.set(subject{ofSubnet, n.subnet.ID}, until)
		return
	}
	id := n.subnet.ID
	r.edits = append(r.edits, edit{cost: 4, apply: func(tx store.Tx) (func(), error) {
		subnet, err := subnets.Get(tx, id)
		if err != nil || len(subnet.Allocated) > 0 {
			return nil, nil
		}
		if subnet.CNCI == "" {
			return nil, removeSubnet(tx, subnet)
		}
		cnci, err := instances.Get(tx, subnet.CNCI)
		if err != nil || cnci.Desired == cluster.WantDeleted {
			return nil, nil
		}
		if err := wantDeleted(&cnci, time.Now().UTC()); err != nil {
			return nil, err
		}
		return nil, instances.Put(tx, cnci)
	}})
}

// removeCNCI removes a CNCI that is gone, with its subnet unless that is used again: then the subnet gets another one.
func removeCNCI(tx store.Tx, cnci cluster.Instance) error {
	if err := instances.Delete(tx, cnci.ID); err != nil {
		return err
	}
	subnet, err := subnets.Get(tx, cnci.Subnet)
	if err != nil || subnet.CNCI != cnci.ID {
		return nil
	}
	if len(subnet.Allocated) == 0 {
		return removeSubnet(tx, subnet)
	}
	subnet.CNCI = ""
	return subnets.Put(tx, subnet)
}

// patience is after how many attempts an unanswered wanted state is replaced by the newest one.
const patience = 4

// configure sends a CNCI its wanted state: at most one at a time, and the newest. Until it is reported as applied it is sent again.
func (r *reconciler) configure(view store.Reader, n *network, now time.Time) {
	reachable := n.heard || n.cnci.State == cluster.Active || n.cnci.Underlay.IsValid()
	if n.cnci.ID == "" || n.cnci.Desired != cluster.WantActive || !r.linked || !reachable {
		return
	}
	if n.flight != nil {
		due := n.flight.sent.Add(r.timing.Answer * time.Duration(min(n.flight.tries, patience)))
		switch {
		case now.Before(due):
			r.deadlines.set(subject{ofSubnet, n.subnet.ID}, due)
			return
		case n.flight.tries < patience || n.changed.IsZero():
			r.sendConfiguration(n, n.flight, now)
			return
		}
		n.flight = nil
	}
	if n.changed.IsZero() && n.applied != nil {
		return
	}
	if until := n.changed.Add(r.timing.Settle); n.nodes[""] > 0 && now.Before(until) {
		r.deadlines.set(subject{ofSubnet, n.subnet.ID}, until)
		return
	}
	n.changed = noTime
	next := n.build(uint64(r.revision), r.c.domain, r.lent, func(node string) []netip.Addr { return r.underlayOf(view, node) })
	if next.equal(n.applied) {
		return
	}
	r.sendConfiguration(n, next, now)
}

func (r *reconciler) sendConfiguration(n *network, w *wanted, now time.Time) {
	w.sent = now
	w.tries++
	n.flight = w
	r.order(ssntp.Configure, n.cnci.ID, payload.Configure{Concentrator: &w.body})
	r.deadlines.set(subject{ofSubnet, n.subnet.ID}, now.Add(r.timing.Answer*time.Duration(min(w.tries, patience))))
}

// concentratorState takes in a CNCI's report.
func (r *reconciler) concentratorState(source string, body payload.ConcentratorState) {
	n := r.networks[r.cncis[source]]
	if n == nil || n.cnci.ID != source || body.Concentrator != source {
		return
	}
	n.heard, n.newest, n.problem, n.due = true, body.Revision, clip(body.Problem), true
	n.unclaimed = map[netip.Addr]string{}
	for _, u := range body.Unclaimed {
		n.unclaimed[u.External] = clip(u.Problem)
	}
	if body.Underlay.IsValid() && body.Underlay != n.cnci.Underlay {
		r.editInstance(source, func(i *cluster.Instance) bool {
			i.Underlay = body.Underlay
			return true
		})
	}
	switch {
	case n.flight != nil && body.Revision == n.flight.body.Revision:
		n.applied, n.flight = n.flight, nil
		r.wakeHosts(n)
	case body.Revision > n.revision(): // it has a newer one than this controller knows of
		n.flight, n.applied = nil, nil
		n.touch()
	case n.applied != nil && body.Revision < n.applied.body.Revision: // it has begun anew
		n.applied = nil
		if n.flight != nil {
			n.flight.sent = noTime
		}
		n.touch()
	case n.flight != nil && body.Problem == "" && body.Revision == 0: // it has just come up: it may have missed what was sent
		n.flight.sent = noTime
	case n.applied == nil && n.flight == nil:
		n.touch()
	}
}

// wakeHosts has the instances of a subnet decided that wait for its CNCI.
func (r *reconciler) wakeHosts(n *network) {
	r.peek(func(view store.Reader) {
		for id := range n.hosts {
			if i, err := instances.Get(view, id); err == nil && i.State == cluster.Scheduled {
				r.dirty[id] = true
			}
		}
	})
}
