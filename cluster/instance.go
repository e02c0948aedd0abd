package cluster

import (
	"net/netip"
	"time"
)

// Instance is one running, stopped or wanted copy of a workload.
type Instance struct {
	ID          string            `json:"id"`
	Name        string            `json:"name"` // unique among the tenant's instances; its host and DNS name
	Tenant      string            `json:"tenant"`
	Workload    string            `json:"workload"` // id; the recipe itself is frozen in Spec
	Kind        Kind              `json:"kind"`
	Spec        WorkloadSpec      `json:"spec"`
	Image       *ImageContent     `json:"image,omitempty"` // what it starts from, if that was uploaded; Spec has the name
	Labels      map[string]string `json:"labels,omitempty"`
	Desired     Desired           `json:"desired"`
	State       State             `json:"state"`
	Generation  uint64            `json:"generation"` // counts its starts: commands and reports carry it, so that late ones are known
	Node        string            `json:"node,omitempty"`
	Bound       bool              `json:"bound,omitempty"`       // it has run on Node: restart policy on-node keeps it there
	Replaces    string            `json:"replaces,omitempty"`    // id of the one that it is to take over from
	Replacement string            `json:"replacement,omitempty"` // id of the one that takes over from it
	Retired     bool              `json:"retired,omitempty"`     // its replacement has taken over: it is deleted when it has stopped
	Subnet      string            `json:"subnet,omitempty"`
	MAC         string            `json:"mac,omitempty"`
	Addresses   []netip.Addr      `json:"addresses,omitempty"` // IPv4, then IPv6
	Reason      string            `json:"reason,omitempty"`    // why it is in its state, for the user to read
	Refusals    []Refusal         `json:"refusals,omitempty"`  // of nodes that could not start it since it was last asked to start, the last ones
	ExitCode    *int              `json:"exit_code,omitempty"`
	Explanation string            `json:"explanation,omitempty"` // why it was placed on its node
	Created     time.Time         `json:"created"`
	Changed     time.Time         `json:"changed"`           // of State
	Underlay    netip.Addr        `json:"underlay,omitzero"` // cnci: its address on the underlay, as its agent reported it
}

// Refusal is what a node said that could not start an instance, which was then tried elsewhere.
type Refusal struct {
	Node   string `json:"node" doc:"id of the node"`
	Reason string `json:"reason" doc:"what it said, for people"`
}

// Host reports whether the instance belongs to the cluster and not to its tenant: tenants neither see nor pay for it.
func (i Instance) Host() bool { return i.Kind == KindCNCI }

// TerminalSize is the size of a terminal, in characters; zero is not known.
type TerminalSize struct{ Width, Height int }
