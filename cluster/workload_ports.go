package cluster

import (
	"cmp"
	"fmt"
	"slices"
)

// Protocol is what is spoken on a published port.
type Protocol string

// Protocols of published ports.
const (
	TCP Protocol = "tcp" // the default
	UDP Protocol = "udp"
)

// PortAddress says of which address a published port is.
type PortAddress string

// Addresses of published ports.
const (
	AtCNCI       PortAddress = "cnci"        // the underlay's address of the CNCI of the instance's subnet; the default
	AtExternalIP PortAddress = "external-ip" // each external IP of the instance
)

// PortSpec publishes a port of each instance of a workload: it is reached from outside its tenant's network.
type PortSpec struct {
	Port      int         `json:"port"` // that the instance listens on
	Protocol  Protocol    `json:"protocol,omitempty"`
	Address   PortAddress `json:"address,omitempty"`
	Published int         `json:"published,omitempty"` // of that address; zero of the CNCI's: one is chosen for each instance; of external IPs Port is the default
}

// Bounds of published ports. The numbers of a CNCI's address are in three parts, so that no two of them meet: those that workloads name, those that are
// chosen for instances, and those that lead to SSH servers.
const (
	MaxPorts        = 8     // of a workload
	MaxChosenPorts  = 4     // of them, those whose number is chosen
	FirstChosenPort = 16000 // numbers below may be named
	maxPort         = 1<<16 - 1
	dhcpClientPort  = 68   // the CNCI hears of its own lease there
	vxlanPort       = 4789 // and gets the subnet's frames there
)

// portsWithDefaults does not change the list, which is the caller's.
func portsWithDefaults(ports []PortSpec) []PortSpec {
	ports = slices.Clone(ports)
	for i := range ports {
		p := &ports[i]
		p.Protocol, p.Address = cmp.Or(p.Protocol, TCP), cmp.Or(p.Address, AtCNCI)
		if p.Address == AtExternalIP {
			p.Published = cmp.Or(p.Published, p.Port)
		}
	}
	return ports
}

// Chosen says whether the number on the CNCI's address is chosen for each instance.
func (p PortSpec) Chosen() bool { return p.Address == AtCNCI && p.Published == 0 }

// Named says whether the number on the CNCI's address is the workload's: it leads to one instance of the subnet.
func (p PortSpec) Named() bool { return p.Address == AtCNCI && p.Published != 0 }

func (s WorkloadSpec) validatePorts(problems *Problems) {
	if len(s.Ports) > MaxPorts {
		problems.Add("ports", "must be at most %d", MaxPorts)
	}
	chosen := 0
	for i, p := range s.Ports {
		at := fmt.Sprintf("ports[%d].", i)
		p.validate(at, problems)
		if slices.ContainsFunc(s.Ports[:i], p.collides) {
			problems.Add(at+"published", "this port is published already, further up; leave one of the two out")
		}
		if p.Chosen() {
			chosen++
		}
	}
	if chosen > MaxChosenPorts {
		problems.Add("ports", "at most %d on the CNCI can do without published; name the others' numbers, from 1 to %d", MaxChosenPorts, FirstChosenPort-1)
	}
}

// collides says that two leave the same number to be reached, or ask for two numbers where one would do.
func (p PortSpec) collides(o PortSpec) bool {
	return p.Protocol == o.Protocol && p.Address == o.Address && p.Published == o.Published && (p.Published != 0 || p.Port == o.Port)
}

func (p PortSpec) validate(at string, problems *Problems) {
	if p.Port < 1 || p.Port > maxPort {
		problems.Add(at+"port", "must be from 1 to %d: the port that the instance listens on", maxPort)
	}
	if p.Protocol != TCP && p.Protocol != UDP {
		problems.Add(at+"protocol", "%q is not a protocol of published ports; use tcp or udp", p.Protocol)
	}
	switch {
	case p.Address != AtCNCI && p.Address != AtExternalIP:
		problems.Add(at+"address", "%q has no published ports; use cnci or external-ip", p.Address)
	case p.Address == AtExternalIP && (p.Published < 0 || p.Published > maxPort):
		problems.Add(at+"published", "must be from 1 to %d", maxPort)
	case p.Address == AtCNCI && (p.Published < 0 || p.Published >= FirstChosenPort):
		problems.Add(at+"published", "must be from 1 to %d on the CNCI; without it a number is chosen for each instance", FirstChosenPort-1)
	case p.Named() && p.Protocol == UDP && (p.Published == dhcpClientPort || p.Published == vxlanPort):
		problems.Add(at+"published", "%d/%s is the CNCI's own; choose another", p.Published, p.Protocol)
	}
}
