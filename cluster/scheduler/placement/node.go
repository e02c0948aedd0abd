package placement

import (
	"time"

	"github.com/ciaocloud/ciao/cluster"
)

// node is what is known of one node.
type node struct {
	id       string
	hostname string
	labels   map[string]string
	state    cluster.NodeState
	known    bool // its inventory is complete since it connected
	allowed  set  // roles that its certificate allows
	roles    set  // roles that it offers, of those
	kinds    set
	limit    cluster.Resources // what may be promised of it
	taken    cluster.Resources // sum of what its holds count
	holds    map[string]hold   // by instance
	members  map[group]int     // holds of each group
}

// group is instances of one tenant that must not share a node; without a name it is none.
type group struct{ tenant, name string }

// hold is one instance's part of a node: what the node reported of it, and what is reserved for it until it does.
type hold struct {
	group     group
	reported  bool
	resources cluster.Resources // as reported
	current   uint64            // generation as reported

	until     time.Time // end of the reservation; zero is none
	reserved  cluster.Resources
	requested uint64 // generation that the reservation is for
}

// counts is what the hold takes of the node: an instance that is there and is to be started again is counted once.
func (h hold) counts() cluster.Resources {
	var counted cluster.Resources
	if h.reported {
		counted = h.resources
	}
	if !h.until.IsZero() {
		counted.CPU = max(counted.CPU, h.reserved.CPU)
		counted.MemoryMiB = max(counted.MemoryMiB, h.reserved.MemoryMiB)
		counted.DiskMiB = max(counted.DiskMiB, h.reserved.DiskMiB)
	}
	return counted
}

func (h hold) empty() bool { return !h.reported && h.until.IsZero() }

// newest is the highest generation of the instance that the hold knows of.
func (h hold) newest() uint64 {
	if h.until.IsZero() {
		return h.current
	}
	return max(h.current, h.requested)
}

// set replaces what the node holds of an instance.
func (n *node) set(instance string, h hold) {
	before := n.holds[instance]
	n.taken = n.taken.Sub(before.counts()).Add(h.counts())
	n.count(before.group, -1)
	if h.empty() {
		delete(n.holds, instance)
		return
	}
	n.count(h.group, 1)
	n.holds[instance] = h
}

func (n *node) count(g group, change int) {
	if g.name == "" {
		return
	}
	if n.members[g] += change; n.members[g] == 0 {
		delete(n.members, g)
	}
}

// set is a small set of roles or kinds, one bit each.
type set uint8

func roleBit(role cluster.NodeRole) set {
	switch role {
	case cluster.Compute:
		return 1 << 0
	case cluster.Network:
		return 1 << 1
	}
	return 0
}

func kindBit(kind cluster.Kind) set {
	switch kind {
	case cluster.KindVM:
		return 1 << 0
	case cluster.KindContainer:
		return 1 << 1
	case cluster.KindProcess:
		return 1 << 2
	case cluster.KindCNCI:
		return 1 << 3
	}
	return 0
}

func bits[T any](values []T, bit func(T) set) set {
	var all set
	for _, value := range values {
		all |= bit(value)
	}
	return all
}
