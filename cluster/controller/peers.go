package controller

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/payload"
	"github.com/ciaocloud/ciao/cluster/store"
	"github.com/ciaocloud/ciao/ssntp"
)

var noTime time.Time

// peer is what the reconciler remembers of a node beside its row.
type peer struct {
	heard    bool      // it has been heard of since this controller leads, and is connected
	lost     time.Time // since when it is known not to be connected; zero: it is, or nothing is known
	missing  bool      // the grace time has passed
	spoken   bool      // it has said all that it has, since a restored store is led
	parts    map[int][]payload.InstanceReport
	asked    time.Time         // when it was last asked what became of commands; zero: it was not, since it is connected
	asks     int               // how often without an answer
	told     map[string]uint64 // by subnet, the version of its paths that it was told last
	underlay []netip.Addr
	strays   map[string]bool // volumes that nobody knows: those of which it was told last

	evacuated bool              // by its row: an operator wants it empty
	state     cluster.NodeState // by its row
}

// leaving says that what the node has is to leave it. Only a node that takes nothing new is left, or what leaves could come back.
func (p *peer) leaving() bool { return p.evacuated && p.state == cluster.NodeMaintenance }

func (r *reconciler) peer(node string) *peer {
	p := r.peers[node]
	if p == nil {
		p = &peer{told: map[string]uint64{}}
		r.peers[node] = p
	}
	return p
}

// silence says since when a node has not been heard of (zero: it is connected), and whether it is known that nothing reaches it. A
// node of which nothing is known is silent since this controller began to lead.
func (r *reconciler) silence(node string) (since time.Time, deaf bool) {
	if node == "" {
		return noTime, false
	}
	p := r.peer(node)
	switch {
	case !p.lost.IsZero():
		return p.lost, true
	case p.heard:
		return noTime, false
	}
	return r.since, false
}

// hear notes a sign of life of a node.
func (r *reconciler) hear(node string) {
	p := r.peer(node)
	if p.heard && p.lost.IsZero() {
		return
	}
	p.heard, p.lost, p.missing = true, noTime, false
	r.deadlines.set(subject{ofNode, node}, noTime)
	r.wakeNode(node, true)
	r.doubt(node)
	r.order(ssntp.RequestInventory, node, nil) // its own may have been lost
	r.tendNode(node)
}

// question asks a node what it has, because it has not said what became of a command.
func (r *reconciler) question(node string, now time.Time) {
	p := r.peer(node)
	p.asked = now
	p.asks++
	r.c.counters.count(func(n *Counters) { n.Questions++ })
	r.order(ssntp.RequestInventory, node, nil)
}

// answers takes a node's inventory for the answer to a question: the commands that were sent before it, and had not reached the node by its answer,
// were lost. It could be one that was on its way before; then some are sent once more than necessary.
func (r *reconciler) answers(node string, reports map[string]payload.InstanceReport) {
	p := r.peer(node)
	p.asks = 0
	r.peek(func(view store.Reader) {
		for i := range instances.By(view, byNode, node) {
			m := r.memories[i.ID]
			if m == nil || m.last.node != node || m.last.sent.IsZero() || !p.asked.After(m.last.sent) {
				continue
			}
			if report, found := reports[i.ID]; !found || !m.last.reached(report) {
				m.last.lost = true
			}
		}
	})
}

// lose notes that a node is not connected.
func (r *reconciler) lose(node string, now time.Time) {
	p := r.peer(node)
	p.heard, p.asked, p.asks = false, noTime, 0
	if !p.lost.IsZero() {
		return
	}
	p.lost = now
	r.deadlines.set(subject{ofNode, node}, now.Add(r.timing.NodeGrace))
	r.wakeNode(node, false)
}

// wakeNode has all instances of a node decided; anew: commands to it are repeated at once.
func (r *reconciler) wakeNode(node string, anew bool) {
	r.peek(func(view store.Reader) {
		for i := range instances.By(view, byNode, node) {
			r.dirty[i.ID] = true
			if m := r.memories[i.ID]; m != nil && anew {
				m.last.sent = noTime
			}
		}
	})
}

// watchSilence sets when the grace time of each node that has not been heard of passes.
func (r *reconciler) watchSilence() {
	for node := range r.peers {
		if since, _ := r.silence(node); !since.IsZero() {
			r.deadlines.set(subject{ofNode, node}, since.Add(r.timing.NodeGrace))
		}
	}
}

// expireNode records that a silent node's grace time has passed. Its instances find out by themselves.
func (r *reconciler) expireNode(node string) {
	p := r.peer(node)
	if p.heard || p.missing || !r.linked {
		return
	}
	p.missing = true
	r.editNode(node, func(n *cluster.Node) (cluster.Event, bool) {
		n.State, n.Reason, n.Impaired = cluster.NodeMissing, "", false
		event := newEvent(cluster.Warning, "NodeMissing", "Node "+nodeName(*n)+" has not been heard of for the grace time; its instances are missing.")
		event.Node = node
		return event, true
	})
}

// observeNode keeps what readiness and paths need of a node's row.
func (r *reconciler) observeNode(n cluster.Node) {
	p := r.peer(n.ID)
	before := p.leaving()
	p.evacuated, p.state = n.Evacuated, n.State
	r.tendNode(n.ID)
	if p.leaving() != before {
		r.wakeNode(n.ID, false)
	}
	r.roomier = true // it may do now for what waits
	if slices.Equal(p.underlay, n.Underlay) {
		return
	}
	p.underlay = n.Underlay
	for _, network := range r.networks {
		if network.nodes[n.ID] > 0 {
			network.touch()
			r.wakeHosts(network)
		}
	}
}

// tendNode tells a node whether it may take something new, until it says so itself.
func (r *reconciler) tendNode(node string) {
	p := r.peer(node)
	switch {
	case !p.heard || !r.linked:
	case p.evacuated && p.state != cluster.NodeMaintenance:
		r.order(ssntp.Evacuate, node, nil)
	case !p.evacuated && p.state == cluster.NodeMaintenance:
		r.order(ssntp.Restore, node, nil)
	}
}

func nodeName(n cluster.Node) string {
	if n.Hostname == "" {
		return n.ID
	}
	return n.Hostname
}

// editNode changes a node's row, which is made when it is not there; change also returns an event (none: without a reason).
func (r *reconciler) editNode(id string, change func(*cluster.Node) (cluster.Event, bool)) {
	r.edits = append(r.edits, edit{cost: 2, apply: func(tx store.Tx) (func(), error) {
		n, err := nodes.Get(tx, id)
		if err != nil {
			n = cluster.Node{ID: id, State: cluster.NodeMissing}
		}
		event, ok := change(&n)
		if !ok {
			return nil, nil
		}
		n.Seen = time.Now().UTC()
		if event.Reason != "" {
			if err := putEvent(tx, event); err != nil {
				return nil, err
			}
		}
		return nil, nodes.Put(tx, n)
	}})
}

// nodeArrived records that a node is connected; without a state only its roles are known.
func (r *reconciler) nodeArrived(id string, state cluster.NodeState, status payload.NodeStatus) {
	r.editNode(id, func(n *cluster.Node) (event cluster.Event, ok bool) {
		before := *n
		if n.State == cluster.NodeMissing {
			n.State = cluster.NodeReady
		}
		if state != "" {
			n.State = state
		}
		if state == "" { // it has said nothing of itself yet
			n.Roles = status.Roles
		} else {
			n.Hostname, n.Version = clip(status.Hostname), clip(status.Version)
			n.Roles, n.Kinds, n.Capacity, n.Underlay = status.Roles, status.Kinds, status.Capacity, status.Underlay
			n.Labels = cluster.BoundedLabels(status.Labels)
			n.Reason, n.Impaired = clip(status.Reason), status.Impaired
		}
		event = arrivalEvent(before, *n)
		return event, !sameNode(before, *n)
	})
}

// arrivalEvent tells what is new of a node that is connected. That it has no room, or has some again, is not worth an event: a busy node says so
// all the time.
func arrivalEvent(before, n cluster.Node) (event cluster.Event) {
	switch {
	case n.Impaired && (!before.Impaired || n.Reason != before.Reason):
		event = newEvent(cluster.Warning, "NodeImpaired", clip("Node "+nodeName(n)+" takes nothing new: "+n.Reason))
	case before.State == cluster.NodeMissing:
		event = newEvent(cluster.Info, "NodeConnected", "Node "+nodeName(n)+" is connected.")
	case before.Impaired && !n.Impaired:
		event = newEvent(cluster.Info, "NodeRecovered", "Everything on node "+nodeName(n)+" works again.")
	}
	event.Node = n.ID
	return event
}

func sameNode(a, b cluster.Node) bool {
	return a.State == b.State && a.Reason == b.Reason && a.Impaired == b.Impaired && a.Hostname == b.Hostname && a.Version == b.Version && a.Capacity == b.Capacity &&
		slices.Equal(a.Roles, b.Roles) && slices.Equal(a.Kinds, b.Kinds) && slices.Equal(a.Underlay, b.Underlay) && maps.Equal(a.Labels, b.Labels)
}

// nodeLeft records that a node's connection ended.
func (r *reconciler) nodeLeft(id string) {
	r.editNode(id, func(n *cluster.Node) (cluster.Event, bool) {
		if n.State == cluster.NodeMissing {
			return cluster.Event{}, false
		}
		n.State, n.Reason, n.Impaired = cluster.NodeMissing, "", false
		event := newEvent(cluster.Warning, "NodeDisconnected", "Node "+nodeName(*n)+" is not connected any more.")
		event.Node = id
		return event, true
	})
}

// refresh asks every node for its inventory and tells it the versions of its subnets' paths: what a lost message has left wrong is put
// right.
func (r *reconciler) refresh() {
	if !r.linked {
		return
	}
	r.revoked = nil // to be told again
	for node := range r.peers {
		r.order(ssntp.RequestInventory, node, nil)
		r.tendNode(node)
		r.doubted[node] = true
	}
	for _, n := range r.networks {
		n.due = true
	}
}
