package controller

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/payload"
)

// network is the reconciler's picture of one subnet and its CNCI.
type network struct {
	subnet cluster.Subnet
	cnci   cluster.Instance // zero before there is one
	hosts  map[string]payload.Host
	at     map[string]string // instance → node, empty before it has one
	nodes  map[string]int    // node → instances; key empty: those without a node
	paths  paths

	external map[netip.Addr]cluster.ExternalIP

	due       bool                  // to be tended
	changed   time.Time             // since when the wanted state may differ from what was sent; zero: it does not
	flight    *wanted               // sent, not yet applied
	applied   *wanted               // applied by the CNCI, as far as known
	newest    uint64                // revision that the CNCI reported last
	heard     bool                  // its agent has reported since this controller leads
	problem   string                // its agent's
	unclaimed map[netip.Addr]string // of the applied external addresses, those that the CNCI could not take, and why
	idle      time.Time             // since when nobody has an address; zero: somebody has
}

// wanted is a wanted state of a CNCI on its way.
type wanted struct {
	body  payload.Concentrator
	hosts map[string]netip.Addr // where each is; invalid while that is not known
	nodes map[netip.Addr]bool
	sent  time.Time
	tries int
}

func newNetwork() *network {
	n := &network{}
	n.clear()
	return n
}

// clear forgets what follows from the store.
func (n *network) clear() {
	n.hosts, n.at, n.nodes = map[string]payload.Host{}, map[string]string{}, map[string]int{}
	n.external = map[netip.Addr]cluster.ExternalIP{}
	n.cnci = cluster.Instance{}
	n.touch()
}

// touch notes that the wanted state may have changed.
func (n *network) touch() {
	n.due = true
	n.paths.stale = true
	if n.changed.IsZero() {
		n.changed = time.Now()
	}
}

// join takes an instance in, or notes that it has another node or other ports.
func (n *network) join(i cluster.Instance) {
	node, known := n.at[i.ID]
	ports := hostPorts(i, n.subnet.Prefix)
	if known && node == i.Node && slices.Equal(ports, n.hosts[i.ID].Ports) {
		return
	}
	if known {
		n.depart(node)
	}
	n.at[i.ID] = i.Node
	n.nodes[i.Node]++
	n.hosts[i.ID] = payload.Host{Instance: i.ID, Name: i.Name, MAC: i.MAC, Addresses: i.Addresses, LoginPort: loginPort(i, n.subnet.Prefix), Ports: ports}
	n.touch()
}

func (n *network) leave(id string) {
	node, known := n.at[id]
	if !known {
		return
	}
	n.depart(node)
	delete(n.at, id)
	delete(n.hosts, id)
	n.touch()
}

func (n *network) depart(node string) {
	if n.nodes[node]--; n.nodes[node] <= 0 {
		delete(n.nodes, node)
	}
}

// observeCNCI takes in the CNCI's row.
func (n *network) observeCNCI(i cluster.Instance) {
	if n.cnci.ID != i.ID {
		n.flight, n.applied, n.heard, n.newest, n.problem, n.unclaimed = nil, nil, false, 0, "", nil
	}
	n.cnci = i
	n.touch()
}

// serves says whether the CNCI is known to serve an instance on a node with the given addresses.
func (n *network) serves(instance string, underlay []netip.Addr) bool {
	if n.applied == nil || !n.cnci.Underlay.IsValid() {
		return false
	}
	if _, known := n.applied.hosts[instance]; !known {
		return false
	}
	for _, address := range underlay {
		if !n.applied.nodes[address] {
			return false
		}
	}
	return true
}

// trouble says, for the user, why the network is not ready.
func (n *network) trouble() string {
	switch {
	case n.cnci.ID == "":
		return "it has no CNCI yet"
	case n.cnci.Reason != "":
		return "its CNCI is " + string(n.cnci.State) + ": " + n.cnci.Reason
	case n.cnci.State != cluster.Active:
		return "its CNCI is " + string(n.cnci.State)
	case n.problem != "":
		return "its CNCI reports: " + n.problem
	case !n.heard:
		return "the agent of its CNCI has not reported"
	}
	return "its CNCI has not yet applied the instance's entry"
}

// revision is the newest that this controller has sent.
func (n *network) revision() uint64 {
	switch {
	case n.flight != nil:
		return n.flight.body.Revision
	case n.applied != nil:
		return n.applied.body.Revision
	}
	return 0
}

// build makes the wanted state.
func (n *network) build(revision uint64, domain string, lent []netip.Prefix, underlay func(node string) []netip.Addr) *wanted {
	w := &wanted{hosts: map[string]netip.Addr{}, nodes: map[netip.Addr]bool{}}
	w.body = payload.Concentrator{
		Revision: max(revision, n.newest+1), Subnet: n.subnet.ID, Tenant: n.subnet.Tenant, Key: n.subnet.Key,
		Prefix: n.subnet.Prefix, Gateway: n.subnet.Gateway,
		Prefix6: n.subnet.Prefix6, Gateway6: n.subnet.Gateway6, Domain: domain,
		Mappings: n.mappings(), Lent: lent,
	}
	for _, id := range slices.Sorted(maps.Keys(n.hosts)) {
		host := n.hosts[id]
		host.Node = tunnelEnd(underlay(n.at[id]))
		w.hosts[id] = host.Node
		w.body.Hosts = append(w.body.Hosts, host)
	}
	for node := range n.nodes {
		for _, address := range underlay(node) {
			w.nodes[address] = true
		}
	}
	w.body.Nodes = slices.SortedFunc(maps.Keys(w.nodes), netip.Addr.Compare)
	return w
}

// equal says that two wanted states are the same but for their revisions. A host never changes what it is, but may have
// another node, and ports that its predecessor had.
func (w *wanted) equal(o *wanted) bool {
	return o != nil && w.body.Prefix6 == o.body.Prefix6 && maps.Equal(w.hosts, o.hosts) && maps.Equal(w.nodes, o.nodes) &&
		slices.Equal(w.body.Mappings, o.body.Mappings) && slices.Equal(w.body.Lent, o.body.Lent) &&
		slices.EqualFunc(w.body.Hosts, o.body.Hosts, func(a, b payload.Host) bool { return slices.Equal(a.Ports, b.Ports) })
}
