package placement

import (
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/payload"
)

var none cluster.Resources

// Config says how a Cluster decides.
type Config struct {
	Overcommit cluster.Overcommit
	Policy     Policy // nil is FirstFit
	// Reservation is how long a decision counts before a node has reported the instance.
	Reservation time.Duration
	// Settled is when every node that runs can be expected to have connected; before, no refusal is called permanent.
	Settled time.Time
}

// Cluster is the nodes as the scheduler knows them.
type Cluster struct {
	config   Config
	nodes    []*node
	position map[string]int // of nodes, by id
	home     map[string]int // instance → position of the node that has its newest generation
	last     int            // most recently used
	expiring []reservation  // oldest first; those that ended early are skipped
	nodeView Nodes          // reused from request to request
}

type reservation struct {
	position int
	instance string
	until    time.Time
}

// New returns a Cluster without nodes.
func New(config Config) *Cluster {
	if config.Policy == nil {
		config.Policy = FirstFit{}
	}
	return &Cluster{config: config, position: map[string]int{}, home: map[string]int{}}
}

// Connected notes that a node has a new session, and the roles that its certificate allows: it gets nothing before its inventory is
// complete.
func (c *Cluster) Connected(id string, allowed []cluster.NodeRole) {
	n := c.node(id)
	n.state, n.known, n.allowed = cluster.NodeFull, false, bits(allowed, roleBit)
}

// Disconnected notes that a node's session has ended.
func (c *Cluster) Disconnected(id string) {
	n := c.node(id)
	n.state, n.known = cluster.NodeMissing, false
}

// Inventory replaces everything that the node reported before by what it has. Reservations that it does not name stay.
func (c *Cluster) Inventory(id string, state cluster.NodeState, status payload.NodeStatus, reports []payload.InstanceReport) {
	n := c.node(id)
	for instance, h := range n.holds {
		if h.reported {
			h.reported, h.resources, h.current = false, none, 0
			c.set(n, instance, h)
		}
	}
	for _, report := range reports {
		c.Report(id, report)
	}
	n.known = true
	c.Status(id, state, status)
}

// Status notes a Ready, Full or Maintenance.
func (c *Cluster) Status(id string, state cluster.NodeState, status payload.NodeStatus) {
	n := c.node(id)
	n.state, n.hostname, n.labels = state, status.Hostname, status.Labels
	n.roles = bits(status.Roles, roleBit) & n.allowed
	n.kinds = bits(status.Kinds, kindBit)
	n.limit = c.config.Overcommit.Of(status.Capacity)
}

// Report notes a node's word on one instance. It ends the reservation that it answers.
func (c *Cluster) Report(id string, report payload.InstanceReport) {
	n := c.node(id)
	h := n.holds[report.Instance]
	h.reported = report.State != cluster.Gone && report.State != cluster.Failed
	h.resources, h.current = nonNegative(report.Resources), report.Generation
	if report.Spread != "" { // a word on its end does not name the group that a newer generation's reservation is of
		h.group = group{report.Tenant, report.Spread}
	}
	if !h.until.IsZero() && report.Generation >= h.requested {
		h.until, h.reserved, h.requested = time.Time{}, none, 0
	}
	c.set(n, report.Instance, h)
}

// Expire ends the reservations whose deadline has passed. Place does it by itself.
func (c *Cluster) Expire(now time.Time) {
	done := 0
	for ; done < len(c.expiring) && !c.expiring[done].until.After(now); done++ {
		r := c.expiring[done]
		n := c.nodes[r.position]
		if h, held := n.holds[r.instance]; held && h.until.Equal(r.until) {
			h.until, h.reserved, h.requested = time.Time{}, none, 0
			c.set(n, r.instance, h)
		}
	}
	c.expiring = c.expiring[done:]
}

// node finds a node, or adds it.
func (c *Cluster) node(id string) *node {
	position, found := c.position[id]
	if !found {
		position = len(c.nodes)
		c.position[id] = position
		c.nodes = append(c.nodes, &node{id: id, state: cluster.NodeMissing, holds: map[string]hold{}, members: map[group]int{}})
	}
	return c.nodes[position]
}

// set changes a hold and keeps home on the node with the instance's newest generation.
func (c *Cluster) set(n *node, instance string, h hold) {
	n.set(instance, h)
	position := c.position[n.id]
	home, found := c.home[instance]
	switch {
	case h.empty() && found && home == position:
		delete(c.home, instance)
	case !h.empty() && (!found || c.nodes[home].holds[instance].newest() <= h.newest()):
		c.home[instance] = position
	}
}

func nonNegative(r cluster.Resources) cluster.Resources {
	return cluster.Resources{CPU: max(0, r.CPU), MemoryMiB: max(0, r.MemoryMiB), DiskMiB: max(0, r.DiskMiB)}
}
