package placement

import "fmt"

// Policy chooses among the nodes that can take a request. It keeps no state of its own.
type Policy interface {
	// Choose returns the position of a node of which Feasible said yes, or -1 after it has asked all of them.
	Choose(nodes *Nodes) int
	// Explain says for people why it was the node that Choose has just returned.
	Explain(nodes *Nodes) string
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
	if c.request.Together != "" {
		c.own = c.own.Add(c.holds[kept(c.request)].counts())
	}
	n.asked++
	if refusedBy := c.test(); refusedBy >= 0 {
		n.refused[refusedBy]++
		return false
	}
	return true
}

// Share is how much of the node that Feasible last said yes of is taken once it has the request: of its memory, its vCPUs or its disk,
// whichever is scarcest. 1 is all that may be promised.
func (n *Nodes) Share() float64 {
	c := &n.candidate
	taken := c.taken.Sub(c.own).Add(c.request.Resources)
	return max(part(taken.MemoryMiB, c.limit.MemoryMiB), part(taken.CPU, c.limit.CPU), part(taken.DiskMiB, c.limit.DiskMiB))
}

func part[T ~int64](taken, limit T) float64 {
	if limit <= 0 {
		return 0
	}
	return float64(taken) / float64(limit)
}

// fitting is how many of the nodes that were asked can take the request.
func (n *Nodes) fitting() int {
	count := n.asked
	for _, refused := range n.refused {
		count -= refused
	}
	return count
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

// Explain implements Policy.
func (FirstFit) Explain(nodes *Nodes) string {
	if nodes.asked == 1 {
		return "the most recently used node has room"
	}
	return "the first node with room from the most recently used one on; passed over: " + nodes.refused.String()
}

// Spread takes the least used node, by Nodes.Share, of the next 16 that can take the request; equal ones take turns. So in a cluster
// of up to 16 nodes it is the least used of all. In a larger one the search goes on behind the node that was chosen last: nodes are
// compared with each other in turn, and the least used of all has a new instance after at most as many decisions as there are nodes.
// It keeps the loss of one node small, and costs a look at 16 nodes, and at those that refuse, for each decision.
type Spread struct{}

// compared is how many nodes that can take a request Spread compares: the more, the more even and the slower.
const compared = 16

// Choose implements Policy.
func (Spread) Choose(nodes *Nodes) int {
	chosen, least, fitting := -1, 0.0, 0
	for i := range nodes.Len() {
		position := (nodes.Last() + 1 + i) % nodes.Len()
		if !nodes.Feasible(position) {
			continue
		}
		if share := nodes.Share(); chosen < 0 || share < least {
			chosen, least = position, share
		}
		if fitting++; fitting == compared {
			break
		}
	}
	return chosen
}

// Explain implements Policy.
func (Spread) Explain(nodes *Nodes) string {
	why := "the only node with room"
	if fitting := nodes.fitting(); fitting > 1 {
		why = fmt.Sprintf("the least used of %d nodes with room", fitting)
	}
	if refused := nodes.refused.String(); refused != "" {
		why += "; passed over: " + refused
	}
	return why
}

var (
	_ Policy = FirstFit{}
	_ Policy = Spread{}
)
