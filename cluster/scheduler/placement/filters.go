package placement

import (
	"slices"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/payload"
)

// candidate is one node under test for one request.
type candidate struct {
	*node
	request *payload.PlacementRequest
	role    set
	kind    set
	wanted  cluster.Resources // by the instance and those that must be with it
	own     cluster.Resources // what the node already counts for them
	has     bool              // the instance is on the node or reserved there
}

// filter is one reason for which a node may be refused.
type filter struct {
	name string
	// what is said of the nodes that it refused, after their number
	words string
	// passes says whether the candidate may stay
	passes func(c *candidate) bool
	// lasting filters look only at what does not change while a node lives
	lasting bool
}

// filters in the order in which they are asked: the request's own wishes first, so that a named node's refusal shows why that node
// refused.
var filters = [...]filter{
	{name: "node", words: "not the wanted node", lasting: true, passes: func(c *candidate) bool {
		return c.request.Node == "" || c.request.Node == c.id
	}},
	{name: "hostname", words: "without the wanted host name", lasting: true, passes: func(c *candidate) bool {
		return c.request.Hostname == "" || c.request.Hostname == c.hostname
	}},
	{name: "labels", words: "without the wanted labels", lasting: true, passes: func(c *candidate) bool {
		return len(c.request.Labels) == 0 || cluster.Labelled(c.labels, c.request.Labels)
	}},
	{name: "connected", words: "not connected", passes: func(c *candidate) bool {
		return c.state != cluster.NodeMissing
	}},
	{name: "inventory", words: "yet to report what they run", passes: func(c *candidate) bool {
		return c.known
	}},
	{name: "role", words: "without the role", lasting: true, passes: func(c *candidate) bool {
		return c.roles&c.role != 0
	}},
	{name: "kind", words: "unable to run its kind", lasting: true, passes: func(c *candidate) bool {
		return c.kinds&c.kind != 0
	}},
	{name: "ready", words: "full or in maintenance", passes: func(c *candidate) bool {
		return c.state == cluster.NodeReady || c.state == cluster.NodeFull && c.has
	}},
	{name: "avoid", words: "having just refused it", passes: func(c *candidate) bool {
		return len(c.request.Avoid) == 0 || !slices.Contains(c.request.Avoid, c.id)
	}},
	{name: "together", words: "without the others of its group", passes: func(c *candidate) bool {
		return c.request.Beside == "" || c.request.Beside == c.id
	}},
	{name: "spread", words: "with another instance of its group", passes: func(c *candidate) bool {
		return c.request.Spread == "" || c.alone()
	}},
	{name: "memory", words: "without enough free memory", passes: func(c *candidate) bool {
		return c.wanted.MemoryMiB <= c.limit.MemoryMiB-c.taken.MemoryMiB+c.own.MemoryMiB
	}},
	{name: "cpu", words: "without enough free vCPUs", passes: func(c *candidate) bool {
		return c.wanted.CPU <= c.limit.CPU-c.taken.CPU+c.own.CPU
	}},
	{name: "disk", words: "without enough free disk", passes: func(c *candidate) bool {
		return c.wanted.DiskMiB == 0 || c.wanted.DiskMiB <= c.limit.DiskMiB-c.taken.DiskMiB+c.own.DiskMiB
	}},
}

// refusals counts refused nodes by filter.
type refusals [len(filters)]int

// test returns the position of the first filter that refuses the candidate, or -1.
func (c *candidate) test() int {
	for i := range filters {
		if !filters[i].passes(c) {
			return i
		}
	}
	return -1
}

// alone says whether the node holds no other instance of the request's group.
func (c *candidate) alone() bool {
	wanted := group{c.request.Tenant, c.request.Spread}
	others := c.members[wanted]
	if c.holds[c.request.Instance].group == wanted {
		others--
	}
	return others == 0
}

// suits says whether the node is of the wanted sort, whatever it does at present.
func (c *candidate) suits() bool {
	for i := range filters {
		if filters[i].lasting && !filters[i].passes(c) {
			return false
		}
	}
	return true
}
