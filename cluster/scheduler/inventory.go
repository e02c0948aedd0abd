package scheduler

import (
	"github.com/ciaocloud/ciao/cluster/payload"
	"github.com/ciaocloud/ciao/ssntp"
)

// inventory collects the parts of a long inventory; a node sends them in order, with nothing in between.
type inventory struct {
	parts   int
	next    int
	reports []payload.InstanceReport
}

// maxInventoryParts bounds what a node can make the scheduler hold.
const maxInventoryParts = 1024

func (s *Scheduler) inventory(node ssntp.ID, part payload.Inventory) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if part.Parts <= 1 {
		delete(s.inventories, node)
		s.cluster.Inventory(node.String(), part.State, part.Node, part.Instances)
		return
	}
	collected := s.inventories[node]
	if part.Part == 0 && part.Parts <= maxInventoryParts {
		collected = &inventory{parts: part.Parts}
		s.inventories[node] = collected
	}
	if collected == nil || part.Part != collected.next || part.Parts != collected.parts {
		delete(s.inventories, node) // the end of one whose beginning was lost: the node stays without instances until the next
		return
	}
	collected.next++
	collected.reports = append(collected.reports, part.Instances...)
	if collected.next == collected.parts {
		delete(s.inventories, node)
		s.cluster.Inventory(node.String(), part.State, part.Node, collected.reports)
	}
}
