package cluster

import (
	"net/netip"
	"time"
)

// NodeRole is what a node offers.
type NodeRole string

// Roles of a node; it may have both.
const (
	Compute NodeRole = "compute" // runs tenants' instances
	Network NodeRole = "network" // runs CNCIs
)

// NodeState is whether a node can take instances.
type NodeState string

// States of a node.
const (
	NodeReady       NodeState = "ready"
	NodeFull        NodeState = "full"        // takes nothing new until it has room, or what is broken works again
	NodeMaintenance NodeState = "maintenance" // takes nothing new by an operator's wish
	NodeMissing     NodeState = "missing"     // not connected
)

// Node is a machine with a launcher, as the cluster last heard of it.
type Node struct {
	ID        string            `json:"id"`
	Hostname  string            `json:"hostname"`
	Roles     []NodeRole        `json:"roles"`
	State     NodeState         `json:"state"`
	Reason    string            `json:"reason,omitempty"`   // why it takes nothing new: a sentence for the operator
	Impaired  bool              `json:"impaired,omitempty"` // it is full because a part of it does not work, and not for want of room
	Kinds     []Kind            `json:"kinds"`              // kinds of instances that it can run
	Capacity  Resources         `json:"capacity"`
	Limit     Resources         `json:"limit,omitzero"` // what may be promised to instances: the capacity with the cluster's overcommit
	Allocated Resources         `json:"allocated"`      // sum of what its instances asked for
	Underlay  []netip.Addr      `json:"underlay,omitempty"`
	Version   string            `json:"version,omitempty"`
	Labels    map[string]string `json:"labels,omitempty"`    // that its operator gave it
	Evacuated bool              `json:"evacuated,omitempty"` // an operator wants it empty: what it has goes elsewhere, and nothing new comes
	Instances int               `json:"instances"`           // all that are placed on it, without CNCIs
	Running   int               `json:"running"`             // those that are active
	Staying   []Stay            `json:"staying,omitempty"`   // what cannot leave although it is evacuated
	Seen      time.Time         `json:"seen"`
}

// Stay is an instance that stays on an evacuated node, because no other node will do for it.
type Stay struct {
	Instance string `json:"instance"` // id
	Name     string `json:"name"`
	Tenant   string `json:"tenant"`
	Reason   string `json:"reason"`
}
