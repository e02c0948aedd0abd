package payload

import (
	"net/netip"

	"github.com/ciaocloud/ciao/cluster"
)

// Place asks the scheduler for a node for each request (controller → scheduler). The answers come as Placed and
// PlacementFailure; nothing is started by it.
type Place struct {
	Requests []PlacementRequest `cbor:"1,keyasint"`
}

// PlacementRequest is one instance that needs a node.
type PlacementRequest struct {
	Instance   string            `cbor:"1,keyasint"`
	Generation uint64            `cbor:"2,keyasint"`
	Tenant     string            `cbor:"3,keyasint"`
	Kind       cluster.Kind      `cbor:"4,keyasint"`
	Role       cluster.NodeRole  `cbor:"5,keyasint"`
	Resources  cluster.Resources `cbor:"6,keyasint"`
	Node       string            `cbor:"7,keyasint,omitempty"`  // the only node id that will do
	Hostname   string            `cbor:"8,keyasint,omitempty"`  // the only host name that will do
	Avoid      []string          `cbor:"9,keyasint,omitempty"`  // nodes that have just refused it
	Labels     map[string]string `cbor:"10,keyasint,omitempty"` // only nodes that have all of them will do
	Together   string            `cbor:"12,keyasint,omitempty"` // the tenant's group whose instances are all on one node
	Beside     string            `cbor:"13,keyasint,omitempty"` // the node that others of that group have: the only one that will do
	Others     cluster.Resources `cbor:"14,keyasint"`           // without Beside: what the others of that group that want a node ask for
	Spread     string            `cbor:"11,keyasint,omitempty"` // the tenant's group that no other instance on its node may be of
}

// Start wants an instance active on the receiving node (controller → agent, netagent).
type Start struct {
	Instance   string               `cbor:"1,keyasint"`
	Generation uint64               `cbor:"2,keyasint"`
	Name       string               `cbor:"3,keyasint"`
	Tenant     string               `cbor:"4,keyasint"`
	Kind       cluster.Kind         `cbor:"5,keyasint"`
	Spec       cluster.WorkloadSpec `cbor:"6,keyasint"`
	Network    Attachment           `cbor:"7,keyasint"`
	Privileged bool                 `cbor:"8,keyasint,omitempty"` // the controller checked the tenant's permission
	Volumes    []Volume             `cbor:"10,keyasint,omitempty"`
	Image      *Image               `cbor:"9,keyasint,omitempty"` // the uploaded image that it starts from; nil is one that the node finds by its name
}

// Image is the content of an uploaded image, and where the node reads it.
type Image struct {
	Content    cluster.ImageContent `cbor:"1,keyasint"`
	Controller string               `cbor:"2,keyasint"` // host:port
}

// Volume is a volume as its node needs to know it.
type Volume struct {
	ID       string                `cbor:"1,keyasint"`
	Name     string                `cbor:"2,keyasint"` // for messages
	Content  cluster.VolumeContent `cbor:"3,keyasint"`
	SizeMiB  int64                 `cbor:"4,keyasint"`
	Image    *Image                `cbor:"5,keyasint,omitempty"` // that it begins as a copy of
	Source   string                `cbor:"6,keyasint,omitempty"` // volume that it begins as a copy of
	Made     bool                  `cbor:"7,keyasint,omitempty"` // it must be there: nobody may make it anew
	Target   string                `cbor:"8,keyasint,omitempty"`
	ReadOnly bool                  `cbor:"9,keyasint,omitempty"`
	Storage  cluster.Storage       `cbor:"20,keyasint,omitempty"` // empty is the node's own
	Token    uint64                `cbor:"21,keyasint,omitempty"` // with which a shared one is taken over
}

// VolumeOrder wants a volume made, gone from the node, or given to or taken from an instance that runs (controller → agent). The answer is
// a VolumeReport. A stray is only deleted if no instance on the node has it, and if it is not there, there is no answer.
type VolumeOrder struct {
	Volume Volume        `cbor:"1,keyasint"`
	Delete bool          `cbor:"2,keyasint,omitempty"`
	Change *VolumeChange `cbor:"3,keyasint,omitempty"`
	Stray  bool          `cbor:"4,keyasint,omitempty"` // of Delete: the controller does not know the volume
}

// VolumeChange wants a running instance to have a volume, or to have it no more. One that does not run in that generation is left alone,
// without an answer; so is a change that is older than one that was made.
type VolumeChange struct {
	Instance   string `cbor:"1,keyasint"`
	Generation uint64 `cbor:"2,keyasint"`
	Revision   uint64 `cbor:"3,keyasint"` // of the volume; the report has it, too
	Detach     bool   `cbor:"4,keyasint,omitempty"`
}

// Attachment is an instance's place in its tenant's network.
type Attachment struct {
	Subnet    SubnetPaths  `cbor:"1,keyasint"`
	MAC       string       `cbor:"2,keyasint"`
	Addresses []netip.Addr `cbor:"3,keyasint"`
}

// Stop wants an instance stopped, its disk and addresses kept (controller → agent, netagent).
type Stop struct {
	Instance   string           `cbor:"1,keyasint"`
	Generation uint64           `cbor:"2,keyasint"`
	Grace      cluster.Duration `cbor:"3,keyasint"`
}

// Delete wants an instance gone from the node with all it owns (controller → agent, netagent). A node that does not have it
// answers Gone all the same.
type Delete struct {
	Instance   string `cbor:"1,keyasint"`
	Generation uint64 `cbor:"2,keyasint"`
}

// Configure is the wanted state of the receiver's networks: of the one subnet of a CNCI (controller → cnciagent), or the paths of
// subnets that a node already has (controller → agent, netagent).
type Configure struct {
	Concentrator *Concentrator `cbor:"1,keyasint,omitempty"`
	Subnets      []SubnetPaths `cbor:"2,keyasint,omitempty"`
}

// Concentrator is the wanted state of one CNCI. A revision that is not newer than the applied one changes nothing and is
// answered with ConcentratorState all the same.
type Concentrator struct {
	Revision uint64       `cbor:"1,keyasint"`
	Subnet   string       `cbor:"2,keyasint"`
	Tenant   string       `cbor:"3,keyasint"`
	Key      uint32       `cbor:"4,keyasint"`
	Prefix   netip.Prefix `cbor:"5,keyasint"`
	Gateway  netip.Addr   `cbor:"6,keyasint"`
	Domain   string       `cbor:"7,keyasint"`
	Hosts    []Host       `cbor:"8,keyasint"`
	Nodes    []netip.Addr `cbor:"9,keyasint"` // nodes on the underlay that have the subnet
	Prefix6  netip.Prefix `cbor:"10,keyasint,omitzero"`
	Gateway6 netip.Addr   `cbor:"11,keyasint,omitempty"`
	// External addresses of hosts, and the ranges of the underlay that all external addresses are of.
	Mappings []Mapping      `cbor:"20,keyasint,omitempty"`
	Lent     []netip.Prefix `cbor:"21,keyasint,omitempty"`
}

// Mapping gives a host an external address.
type Mapping struct {
	External netip.Addr `cbor:"1,keyasint"`
	Internal netip.Addr `cbor:"2,keyasint"`
}

// Host is an instance that the CNCI serves by DHCP and DNS.
type Host struct {
	Instance  string       `cbor:"1,keyasint"`
	Name      string       `cbor:"2,keyasint"`
	MAC       string       `cbor:"3,keyasint"`
	Addresses []netip.Addr `cbor:"4,keyasint"`
	Node      netip.Addr   `cbor:"5,keyasint,omitempty"` // its node on the underlay; invalid while it has none
	LoginPort uint16       `cbor:"6,keyasint,omitempty"` // of the CNCI's address on the underlay, that leads to its port 22; zero: none does
	Ports     []HostPort   `cbor:"7,keyasint,omitempty"` // beside it, that lead to ports of the host
}

// HostPort is a port of the CNCI's address on the underlay, or of each external address of a host, that leads to a port of the host.
type HostPort struct {
	Published uint16 `cbor:"1,keyasint"`
	Port      uint16 `cbor:"2,keyasint"`
	UDP       bool   `cbor:"3,keyasint,omitempty"` // else it is of TCP
	External  bool   `cbor:"4,keyasint,omitempty"` // it is of the external addresses
}

// Certificate answers a CertificateRequest (controller → netagent).
type Certificate struct {
	Instance string `cbor:"1,keyasint"`
	Chain    []byte `cbor:"2,keyasint"` // PEM, leaf first
	Refused  string `cbor:"3,keyasint,omitempty"`
}

// Revoke brings the authority's newest list of revoked certificates (controller → scheduler, agent, netagent). It proves itself by the
// authority's signature, and an older one than the receiver's changes nothing.
type Revoke struct {
	List []byte `cbor:"1,keyasint"` // DER (RFC 5280)
}

// OpenStream has the node dial the controller's API and join a stream with an instance (controller → agent, netagent). Exactly one of
// Logs and Exec is there. A node that cannot do it joins all the same and says why.
type OpenStream struct {
	Stream     string   `cbor:"1,keyasint"` // id
	Secret     string   `cbor:"2,keyasint"` // proves, once, that the node was told to join
	Controller string   `cbor:"3,keyasint"` // host:port
	Instance   string   `cbor:"4,keyasint"`
	Logs       *Logs    `cbor:"5,keyasint,omitempty"`
	Exec       *Exec    `cbor:"6,keyasint,omitempty"`
	Console    *Console `cbor:"7,keyasint,omitempty"`
}

// Logs reads what an instance printed.
type Logs struct {
	Lines  int  `cbor:"1,keyasint"` // the last so many; negative is all
	Follow bool `cbor:"2,keyasint"` // go on until the instance ends
}

// Exec executes a command in an instance.
type Exec struct {
	Command []string `cbor:"1,keyasint"`
	Input   bool     `cbor:"2,keyasint,omitempty"` // there may be input
	TTY     bool     `cbor:"3,keyasint,omitempty"`
	Width   int      `cbor:"4,keyasint,omitempty"` // of the terminal, in characters; 0 is not known
	Height  int      `cbor:"5,keyasint,omitempty"`
}

// Console joins the console of an instance.
type Console struct {
	Takeover bool `cbor:"1,keyasint,omitempty"` // end who is there
}
