package payload

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/google/uuid"

	"github.com/ciaocloud/ciao/cluster"
)

// Placed carries the scheduler's decisions (scheduler → controller).
type Placed struct {
	Decisions []Decision `cbor:"1,keyasint"`
}

// Decision is the node chosen for one request.
type Decision struct {
	Instance    string `cbor:"1,keyasint"`
	Generation  uint64 `cbor:"2,keyasint"`
	Node        string `cbor:"3,keyasint"`
	Explanation string `cbor:"4,keyasint"`
}

// PlacementFailure says why no node will do (scheduler → controller).
type PlacementFailure struct {
	Instance   string    `cbor:"1,keyasint"`
	Generation uint64    `cbor:"2,keyasint"`
	Nodes      int       `cbor:"3,keyasint"` // nodes that were looked at
	Refusals   []Refusal `cbor:"4,keyasint"`
	Reason     string    `cbor:"5,keyasint"` // one sentence for the user
	Permanent  bool      `cbor:"6,keyasint"` // no node of this cluster could ever take it, however empty
}

// Refusal counts the nodes that one filter refused.
type Refusal struct {
	Filter string `cbor:"1,keyasint"`
	Nodes  int    `cbor:"2,keyasint"`
}

// NodeStatus is the body of Ready, Full and Maintenance (agent, netagent → scheduler, controllers), and part of Inventory.
type NodeStatus struct {
	Hostname  string             `cbor:"1,keyasint"`
	Roles     []cluster.NodeRole `cbor:"2,keyasint"`
	Kinds     []cluster.Kind     `cbor:"3,keyasint"`
	Capacity  cluster.Resources  `cbor:"4,keyasint"`
	Allocated cluster.Resources  `cbor:"5,keyasint"`
	Underlay  []netip.Addr       `cbor:"6,keyasint"`
	Version   string             `cbor:"7,keyasint"`
	Labels    map[string]string  `cbor:"8,keyasint,omitempty"`
	Reason    string             `cbor:"9,keyasint,omitempty"`  // of Full: one sentence for the operator
	Impaired  bool               `cbor:"10,keyasint,omitempty"` // Full because a part of the node does not work, and not for want of room
}

// Inventory is all that a node has (agent, netagent → scheduler, controllers): sent at every connect and on request. An instance
// that is not in it is not on the node.
type Inventory struct {
	State     cluster.NodeState `cbor:"1,keyasint"`
	Node      NodeStatus        `cbor:"2,keyasint"`
	Instances []InstanceReport  `cbor:"3,keyasint"`
	Part      int               `cbor:"4,keyasint,omitempty"` // a long inventory comes in parts 0 to Parts-1
	Parts     int               `cbor:"5,keyasint,omitempty"`
	Volumes   []string          `cbor:"6,keyasint,omitempty"` // ids of volumes that the node keeps; each part has some
}

// InstanceReport is a node's word on one instance; it is the body of InstanceState (agent, netagent → controllers).
type InstanceReport struct {
	Instance   string            `cbor:"1,keyasint"`
	Generation uint64            `cbor:"2,keyasint"`
	Tenant     string            `cbor:"3,keyasint"`
	Kind       cluster.Kind      `cbor:"4,keyasint"`
	State      cluster.State     `cbor:"5,keyasint"`
	Reason     string            `cbor:"6,keyasint,omitempty"`
	ExitCode   *int              `cbor:"7,keyasint,omitempty"`
	Resources  cluster.Resources `cbor:"8,keyasint"`
	Retry      bool              `cbor:"9,keyasint,omitempty"`  // failed for want of room: another node may do
	Spread     string            `cbor:"10,keyasint,omitempty"` // of one that takes room: the tenant's group that no other on its node may be of
}

// VolumeReport is a node's word on one volume; it is the body of VolumeState (agent → controllers).
type VolumeReport struct {
	Volume string `cbor:"1,keyasint"`
	// State is available: it is there; failed: it could not be made; gone. Of a VolumeChange it is attached; available: the instance has it no
	// more; failed: all is as it was before. Of a stray it is gone; attached: an instance on the node has it; failed: it could not be deleted.
	State    cluster.VolumeState `cbor:"2,keyasint"`
	Reason   string              `cbor:"3,keyasint,omitempty"`
	Revision uint64              `cbor:"4,keyasint,omitempty"` // of a VolumeChange
	Stray    bool                `cbor:"5,keyasint,omitempty"` // the answer to an order about a stray
}

// Progress tells how far a start has come (agent, netagent → controllers).
type Progress struct {
	Instance   string `cbor:"1,keyasint"`
	Generation uint64 `cbor:"2,keyasint"`
	Step       string `cbor:"3,keyasint"`           // pull, network, create, start
	Percent    int    `cbor:"4,keyasint,omitempty"` // -1 is unknown
	Message    string `cbor:"5,keyasint,omitempty"`
}

// MaxTraceHops is how many daemons a trace names at most.
const MaxTraceHops = 8

// TraceReport tells the ways of commands that have reached a node (agent, netagent → controllers).
type TraceReport struct {
	Traces []Trace `cbor:"1,keyasint"`
}

// Trace is the way of one command to an instance.
type Trace struct {
	Operand  uint16   `cbor:"1,keyasint"`
	TraceID  [16]byte `cbor:"2,keyasint"` // the instance's id
	ParentID [8]byte  `cbor:"3,keyasint"` // its generation, big endian
	Hops     []Hop    `cbor:"4,keyasint"` // at most MaxTraceHops, the node's own last
}

// Hop is a daemon that a frame passed; times are nanoseconds since 1970 UTC, 0 for none.
type Hop struct {
	ID       [16]byte `cbor:"1,keyasint"`
	Received int64    `cbor:"2,keyasint"`
	Sent     int64    `cbor:"3,keyasint,omitempty"`
}

// Instance is the id of the command's instance.
func (t Trace) Instance() string { return uuid.UUID(t.TraceID).String() }

// Generation is the instance's that the command was for.
func (t Trace) Generation() uint64 { return binary.BigEndian.Uint64(t.ParentID[:]) }

// ConcentratorState is a CNCI's report (cnciagent → controllers): at every connect and after each applied revision.
type ConcentratorState struct {
	Concentrator string     `cbor:"1,keyasint"`
	Revision     uint64     `cbor:"2,keyasint"` // the newest that is applied
	Underlay     netip.Addr `cbor:"3,keyasint"`
	Problem      string     `cbor:"4,keyasint,omitempty"`
	// Unclaimed are the external addresses of the applied revision that are not mapped.
	Unclaimed []Unclaimed `cbor:"5,keyasint,omitempty"`
}

// Unclaimed is an external address that a CNCI could not take, and why.
type Unclaimed struct {
	External netip.Addr `cbor:"1,keyasint"`
	Problem  string     `cbor:"2,keyasint"`
}

// CertificateRequest asks for a certificate for a CNCI's agent; its key stays on the node (netagent → controllers).
type CertificateRequest struct {
	Instance string `cbor:"1,keyasint"`
	CSR      []byte `cbor:"2,keyasint"` // PKCS #10, DER (RFC 2986)
}

// NodeConnected and NodeDisconnected come from the scheduler (scheduler → controllers); the node is the frame's body, for the
// frame's source is the scheduler.
type NodeConnected struct {
	Node  string             `cbor:"1,keyasint"`
	Roles []cluster.NodeRole `cbor:"2,keyasint"`
	Time  time.Time          `cbor:"3,keyasint"`
}

// NodeDisconnected says that a node's connection ended.
type NodeDisconnected struct {
	Node string    `cbor:"1,keyasint"`
	Time time.Time `cbor:"2,keyasint"`
}

// Statistics is a sample of a node (agent, netagent → scheduler, controllers); a later one replaces an earlier one.
type Statistics struct {
	Sample cluster.NodeStatistics `cbor:"1,keyasint"`
}
