package placement

// Policy chooses among the nodes that can take a request. It keeps no state of its own.
type Policy interface {
	// Choose returns the position of a node of which Feasible said yes, or -1 after it has asked all of them.
	Choose(nodes *Nodes) int
}

// Nodes is what a Policy sees; it is valid during the call only.
type Nodes struct {
	cluster   *Cluster
	candidate candidate
	home      int // position of the node that already holds the instance, or -1
	refused   refusals
	asked     int
}

// Len is the number of nodes; positions are from 0 to Len()-1 and stay the same as long as the scheduler lives.
func (n *Nodes) Len() int { return len(n.cluster.nodes) }

// Last is the position of the most recently used node.
func (n *Nodes) Last() int { return n.cluster.last }

// Feasible says whether the node can take the request, and notes the filter that refused it. It must be asked once for each node.
func (n *Nodes) Feasible(position int) bool {
	c := &n.candidate
	c.node, c.own, c.has = n.cluster.nodes[position], none, position == n.home
	if c.has {
		c.own = c.holds[c.request.Instance].counts()
	}
	n.asked++
	if refusedBy := c.test(); refusedBy >= 0 {
		n.refused[refusedBy]++
		return false
	}
	return true
}

// FirstFit takes the first node that can take the request, from the most recently used one on. It fills node after node and
// is the cheapest of all policies: while nothing changes it looks at one node.
type FirstFit struct{}

// Choose implements Policy.
func (FirstFit) Choose(nodes *Nodes) int {
	count, start := nodes.Len(), nodes.Last()
	for i := range count {
		position := start + i
		if position >= count {
			position -= count
		}
		if nodes.Feasible(position) {
			return position
		}
	}
	return -1
}

var _ Policy = FirstFit{}
