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
	Labels      map[string]string `json:"labels,omitempty"`
	Desired     Desired           `json:"desired"`
	State       State             `json:"state"`
	Generation  uint64            `json:"generation"` // counts its starts: commands and reports carry it, so that late ones are known
	Node        string            `json:"node,omitempty"`
	Subnet      string            `json:"subnet,omitempty"`
	MAC         string            `json:"mac,omitempty"`
	Addresses   []netip.Addr      `json:"addresses,omitempty"`
	Reason      string            `json:"reason,omitempty"` // why it is in its state, for the user to read
	ExitCode    *int              `json:"exit_code,omitempty"`
	Explanation string            `json:"explanation,omitempty"` // why it was placed on its node
	Created     time.Time         `json:"created"`
	Changed     time.Time         `json:"changed"`           // of State
	Underlay    netip.Addr        `json:"underlay,omitzero"` // cnci: its address on the underlay, as its agent reported it
}

// Host reports whether the instance belongs to the cluster and not to its tenant: tenants neither see nor pay for it.
func (i Instance) Host() bool { return i.Kind == KindCNCI }

// Batch is a create of many instances as one record, unfolded in bounded transactions. Its reservations (quota, names,
// addresses) are made with it.
type Batch struct {
	ID       string         `json:"id"`
	Template Instance       `json:"template"` // everything that its instances share; Name is the common stem
	Count    int            `json:"count"`
	Unfolded int            `json:"unfolded"` // instances 0 to Unfolded-1 are in the store
	Segments []BatchSegment `json:"segments"` // where the addresses come from, in order
}

// BatchSegment is a run of reserved host numbers of one subnet.
type BatchSegment struct {
	Subnet string       `json:"subnet"`
	Prefix netip.Prefix `json:"prefix"`
	Range  AddressRange `json:"range"`
}

// MaxBatch is the most instances of one request.
const MaxBatch = 10_000
