// Package network is the contract between services and the kernel's network: the wanted state of a node or of a concentrator, and
// the pure plan that leads from what is there to what is wanted.
//
// A caller hands over the whole wanted state, as often as it likes; Apply compares it with what the kernel has and converges. Every
// link, namespace, table and process that is made carries the mark of its cluster and node, so that Remove, and the collection
// after a crash, find exactly what is ours and touch nothing else.
//
// What is guaranteed when Apply returns without an error: every wanted port exists and is enslaved, and its frames are filtered
// before the first of them can pass; no port passes a frame whose MAC or IP address is not its own; no frame of one
// subnet reaches a port of another; what is no longer wanted is gone. After an error the next Apply goes on from what is there.
package network

import (
	"context"
	"net/netip"
	"slices"
)

// Node is the wanted network of one node.
type Node struct {
	// Revision orders states that are handed over from several goroutines: one that is lower than an earlier one's is not applied,
	// and its caller waits for the later state instead. Of equal revisions (zero for a caller with one goroutine) the last call wins.
	Revision uint64
	Subnets  []Subnet
	Ports    []Port
}

// Subnet is a tenant's subnet on a node: one bridge and one VXLAN device (RFC 7348). What it says of the node itself is left out.
type Subnet struct {
	ID           string
	Tenant       string
	Key          uint32 // VXLAN network identifier
	Prefix       netip.Prefix
	Gateway      netip.Addr
	Prefix6      netip.Prefix // beside Prefix; it and Gateway6 are invalid where the subnet has no IPv6
	Gateway6     netip.Addr
	Concentrator netip.Addr   // the CNCI on the underlay; invalid while it has none
	Peers        []netip.Addr // nodes on the underlay that have the subnet
	Neighbours   []Neighbour  // instances on those nodes; frames for any other MAC but the gateway's go to all of Peers
}

// Neighbour is an instance on another node: frames for it go straight there.
type Neighbour struct {
	MAC  string
	Node netip.Addr // on the underlay
}

// PortKind says what takes the port.
type PortKind string

// Kinds of ports.
const (
	Veth PortKind = "veth" // containers and processes: one end in the node's namespace, the other where its carrier looks for it
	Tap  PortKind = "tap"  // virtual machines
)

// Port is an instance's place on a bridge.
type Port struct {
	Instance  string
	Subnet    string
	Kind      PortKind
	MAC       string
	Addresses []netip.Addr
}

// NodeFacts is what a node's network turned out to be.
type NodeFacts struct {
	Underlay netip.Addr // the node's own address on the underlay
	MTU      int        // of the tenants' ports
}

// NodeNetwork keeps one node's network as wanted. Apply may be called from many goroutines; calls are combined: each returns
// after a pass that included its state or a later one.
type NodeNetwork interface {
	// Apply converges on wanted. The first call waits for an address on the underlay. Errors are of class cluster.ErrInvalid (the
	// wanted state contradicts itself), cluster.ErrUnavailable (the underlay or the kernel does not let us; trying again may help)
	// or cluster.ErrConflict (something that is not ours is in the way).
	Apply(ctx context.Context, wanted Node) (NodeFacts, error)
	// Remove removes everything of this node, known or left behind.
	Remove(ctx context.Context) error
}

// Listener is a NodeNetwork that hears its guests.
type Listener interface {
	// Heard returns the virtual machines whose guests have asked for their address, or used it, since the last call. Errors are of class
	// cluster.ErrUnavailable.
	Heard(ctx context.Context) (instances []string, err error)
}

// Concentrator is the wanted network of one CNCI.
type Concentrator struct {
	Subnet Subnet // Peers are the nodes that have the subnet; Concentrator is not used
	Domain string // DNS domain of the hosts
	Hosts  []Host
	// Blocked are destinations that tenants must not reach, beside the underlay's own range and what is never routed (loopback,
	// link-local, multicast), which are always blocked.
	Blocked []netip.Prefix
	// Mappings give hosts external addresses.
	Mappings []Mapping
	// Lent are ranges of the underlay whose addresses are external addresses of instances: tenants may reach them.
	Lent []netip.Prefix
}

// Mapping makes a host reachable by an address of the underlay, and lets it speak with that address. Of several external addresses of
// one host it speaks with the lowest.
type Mapping struct {
	External netip.Addr
	Internal netip.Addr
}

// Host is an instance that gets its address by DHCP and its name by DNS.
type Host struct {
	Name      string
	MAC       string
	Addresses []netip.Addr
	LoginPort uint16 // of the CNCI's own address on the underlay, that leads to the host's port 22; zero: none does
	Ports     []HostPort
}

// HostPort is a port of the CNCI's own address on the underlay, or of each external address of a host, that leads to a port of the host. No two
// hosts share one of the CNCI's; of an external address they go before its mapping.
type HostPort struct {
	Published uint16
	Port      uint16
	UDP       bool // else it is of TCP
	External  bool // it is of the external addresses
}

// ConcentratorFacts is what a CNCI's network turned out to be.
type ConcentratorFacts struct {
	Underlay  netip.Addr
	Unclaimed []Unclaimed // wanted external addresses that could not be taken, in order; the mappings of all others work
}

// Equal compares all of them.
func (f ConcentratorFacts) Equal(o ConcentratorFacts) bool {
	return f.Underlay == o.Underlay && slices.Equal(f.Unclaimed, o.Unclaimed)
}

// Unclaimed is an external address that is not mapped, and why.
type Unclaimed struct {
	External netip.Addr
	Problem  string
}

// ConcentratorNetwork keeps one CNCI's network as wanted, from inside its namespace.
type ConcentratorNetwork interface {
	// Apply converges on wanted; calls are made one at a time. Errors are classed as NodeNetwork's.
	Apply(ctx context.Context, wanted Concentrator) (ConcentratorFacts, error)
	// Remove removes what Apply made, the namespace's link to the underlay excepted: that is its maker's.
	Remove(ctx context.Context) error
}
