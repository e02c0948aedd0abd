package controller

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/payload"
	"github.com/ciaocloud/ciao/cluster/store"
	"github.com/ciaocloud/ciao/ssntp"
)

// decideDirty decides each instance that something has happened to.
func (r *reconciler) decideDirty(view store.Reader, now time.Time) {
	var requests []payload.PlacementRequest
	for id := range r.dirty {
		i, err := instances.Get(view, id)
		if err != nil {
			continue
		}
		m := r.memory(id)
		s := r.surroundings(view, i)
		m.note(i, s, now)
		d := decide(i, *m, s, r.timing, now)
		r.deadlines.set(subject{ofInstance, id}, d.wake)
		if d.action == place {
			requests = append(requests, request(i, m, s.company, volumesNode(view, id)))
		}
		r.perform(view, i, m, d, now)
	}
	clear(r.dirty)
	r.orderPlaces(requests)
}

// note remembers since when an instance has been waiting. Until the others of its group have left their node, it is not for room.
func (m *memory) note(i cluster.Instance, s surroundings, now time.Time) {
	m.stays = s.stays
	m.awaits = s.company.awaits != ""
	if i.State == cluster.Pending && (m.waiting.IsZero() || s.company.leaving) {
		m.waiting = now
	}
	if i.State != cluster.Scheduled {
		m.isolated = noTime
	} else if m.isolated.IsZero() {
		m.isolated = now
	}
}

// request asks for a node: that with the instance's volumes, if they are on one.
func request(i cluster.Instance, m *memory, c company, volumes string) payload.PlacementRequest {
	needs := i.Spec.Requirements
	return payload.PlacementRequest{
		Instance: i.ID, Generation: i.Generation, Tenant: i.Tenant, Kind: i.Kind, Role: roleOf(i), Resources: needs.Resources(),
		Node: cmp.Or(volumes, needs.Node), Hostname: needs.Hostname, Labels: needs.Labels,
		Together: needs.Together, Beside: c.beside, Others: c.others, Spread: needs.Spread,
		Avoid: slices.Clone(m.avoid),
	}
}

func (r *reconciler) surroundings(view store.Reader, i cluster.Instance) surroundings {
	s := surroundings{linked: r.linked, behind: r.behind, settling: r.placeable()}
	s.lost, s.deaf = r.silence(i.Node)
	if p := r.peers[i.Node]; p != nil {
		s.asked, s.asks = p.asked, p.asks
	}
	s.next = r.successionOf(view, i)
	s.company = r.companyOf(view, i)
	s.leaving = i.Node != "" && r.peer(i.Node).leaving()
	if s.leaving {
		s.stays = r.c.stays(view, i) != ""
	}
	if i.State == cluster.Scheduled {
		s.ready, s.obstacle = r.readiness(view, i)
	}
	return s
}

// perform carries a decision out and sees to it that the instance is looked at again.
func (r *reconciler) perform(view store.Reader, i cluster.Instance, m *memory, d decision, now time.Time) {
	switch d.action {
	case rest:
		return
	case mark:
		r.markInstance(i, d, now)
		return
	case revive:
		m.revivals++
		r.reviveInstance(i, now)
		return
	case replace:
		r.replaceInstance(i)
		return
	case retire:
		r.retireInstance(i)
		return
	case dismiss:
		r.dismissInstance(i)
		return
	case forget:
		r.forget(i.ID)
		return
	case start:
		r.order(ssntp.Start, i.Node, r.startOf(view, i))
	case stop:
		r.order(ssntp.Stop, i.Node, payload.Stop{Instance: i.ID, Generation: i.Generation, Grace: i.Spec.StopGrace})
	case withdraw:
		r.order(ssntp.Delete, i.Node, payload.Delete{Instance: i.ID, Generation: i.Generation})
	case inquire:
		r.order(ssntp.RequestInventory, i.Node, nil)
	case question:
		r.question(i.Node, now)
	}
	if d.action != question {
		m.sent(r, d.action, i, now)
	}
	again := decide(i, *m, r.surroundings(view, i), r.timing, now)
	r.deadlines.set(subject{ofInstance, i.ID}, again.wake)
}

// sent notes a command.
func (m *memory) sent(r *reconciler, a action, i cluster.Instance, now time.Time) {
	tries := 1
	if l := m.last; l.action == a && l.generation == i.Generation && l.node == i.Node {
		tries += l.tries
		r.c.counters.repeated(a)
	}
	m.last = command{action: a, generation: i.Generation, node: i.Node, sent: now, tries: tries}
}

// unchanged says that a decision made on then still holds for now.
func unchanged(then, now cluster.Instance) bool {
	return then.State == now.State && then.Desired == now.Desired && then.Generation == now.Generation && then.Node == now.Node
}

func (r *reconciler) markInstance(then cluster.Instance, d decision, now time.Time) {
	r.editInstance(then.ID, func(i *cluster.Instance) bool {
		if !unchanged(then, *i) || !i.State.May(d.state) {
			return false
		}
		enter(i, d.state, d.reason, now.UTC())
		return true
	})
}

func (r *reconciler) reviveInstance(then cluster.Instance, now time.Time) {
	r.editInstance(then.ID, func(i *cluster.Instance) bool {
		if !unchanged(then, *i) {
			return false
		}
		restart(i, now.UTC())
		return true
	})
}

// forget removes an instance that wants to be deleted and that no node holds.
func (r *reconciler) forget(id string) {
	r.edits = append(r.edits, edit{cost: removeCost, apply: func(tx store.Tx) (func(), error) {
		i, err := instances.Get(tx, id)
		if err != nil || i.State != cluster.Deleting || i.Node != "" {
			return nil, nil
		}
		return nil, removeInstance(tx, i)
	}})
}

func (r *reconciler) startOf(view store.Reader, i cluster.Instance) payload.Start {
	body := payload.Start{
		Instance: i.ID, Generation: i.Generation, Name: i.Name, Tenant: i.Tenant, Kind: i.Kind, Spec: i.Spec,
		Network:    payload.Attachment{MAC: i.MAC, Addresses: i.Addresses},
		Privileged: i.Spec.Privileged && privileged(view, i.Tenant),
	}
	body.Volumes = r.volumesOn(view, i.ID)
	if i.Image != nil {
		body.Image = &payload.Image{Content: *i.Image, Controller: r.c.address}
	}
	if n := r.networks[i.Subnet]; n != nil {
		if i.Host() {
			body.Network.Subnet = r.pathsOf(view, n).present.Head()
		} else {
			body.Network.Subnet = r.attach(view, n, i.Node)
		}
	}
	return body
}

func privileged(view store.Reader, tenant string) bool {
	t, err := tenants.Get(view, tenant)
	return err == nil && t.Permissions.PrivilegedContainers
}

// readiness says whether an instance's network is there for it, or why not.
func (r *reconciler) readiness(view store.Reader, i cluster.Instance) (ready bool, obstacle string) {
	n := r.networks[i.Subnet]
	if i.Host() || i.Subnet == "" {
		return true, ""
	}
	if n == nil {
		return false, "its subnet has no CNCI yet"
	}
	if n.serves(i.ID, r.underlayOf(view, i.Node)) {
		return true, ""
	}
	return false, fmt.Sprintf("the network of its subnet %s did not become ready: %s", n.subnet.Prefix, n.trouble())
}

// roleOf is the role of the node that an instance needs.
func roleOf(i cluster.Instance) cluster.NodeRole {
	if i.Host() {
		return cluster.Network
	}
	return cluster.Compute
}
