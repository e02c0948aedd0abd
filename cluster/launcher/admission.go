package launcher

import (
	"fmt"
	"slices"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/payload"
)

// refusal says why a start cannot even begin.
type refusal struct {
	reason string
	retry  bool // another node may do
}

// admit checks a Start against what the node is and has. The instance's own present part does not count against it. l.mu is held.
func (l *Launcher) admit(s *payload.Start) *refusal {
	if l.drivers[s.Kind] == nil || !slices.Contains(l.roles, roleFor(s.Kind)) {
		return &refusal{fmt.Sprintf("this node does not run instances of kind %q", s.Kind), true}
	}
	if s.Kind != cluster.KindCNCI {
		if problem := checkAttachment(&s.Network); problem != "" {
			return &refusal{problem, false}
		}
	}
	if l.grouped(s) {
		return &refusal{fmt.Sprintf("the node has another instance of group %q", bounded(s.Spec.Requirements.Spread)), true}
	}
	free := l.config.Overcommit.Of(l.config.Capacity).Sub(l.allocated)
	if own := l.owners[s.Instance]; own != nil {
		free = free.Add(own.reported.Resources)
	}
	if wanted := s.Spec.Requirements.Resources(); !wanted.Fits(free) {
		return &refusal{fmt.Sprintf("the node has %s vCPUs, %d MiB of memory and %d MiB of disk left; the instance asks for %s, %d MiB and %d MiB",
			max(0, free.CPU), max(0, free.MemoryMiB), max(0, free.DiskMiB), wanted.CPU, wanted.MemoryMiB, wanted.DiskMiB), true}
	}
	return nil
}

// grouped says whether another instance of the start's group takes room on the node: a failed one takes none, and may be wanted again
// when the scheduler has long given the node to another, without being asked. l.mu is held.
func (l *Launcher) grouped(s *payload.Start) bool {
	wanted := s.Spec.Requirements.Spread
	if wanted == "" {
		return false
	}
	for id, o := range l.owners {
		if id != s.Instance && o.reported.Spread == wanted && o.reported.Tenant == s.Tenant {
			return true
		}
	}
	return false
}

// checkAttachment refuses a place in a network that could not be made, so that it does not spoil the whole node's wanted state.
func checkAttachment(a *payload.Attachment) string {
	subnet := a.Subnet
	switch {
	case !cluster.ValidID(subnet.ID):
		return fmt.Sprintf("the start names no subnet: %q", subnet.ID)
	case subnet.Key == 0 || subnet.Key >= 1<<24:
		return fmt.Sprintf("subnet %s has key %d, which is no VXLAN network identifier", subnet.ID, subnet.Key)
	case !subnet.Prefix.IsValid() || !subnet.Prefix.Contains(subnet.Gateway):
		return fmt.Sprintf("subnet %s has no gateway within its prefix", subnet.ID)
	case subnet.Prefix6.IsValid() && !subnet.Prefix6.Contains(subnet.Gateway6):
		return fmt.Sprintf("subnet %s has no gateway within its IPv6 prefix", subnet.ID)
	case !validMAC(a.MAC):
		return fmt.Sprintf("%q is not a MAC address", a.MAC)
	case len(a.Addresses) == 0:
		return "the start gives the instance no address"
	}
	for _, address := range a.Addresses {
		if !subnet.Prefix.Contains(address) && !subnet.Prefix6.Contains(address) {
			return fmt.Sprintf("address %s is not in subnet %s", address, subnet.ID)
		}
	}
	return ""
}
