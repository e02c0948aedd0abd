package network

import (
	"maps"
	"net/netip"
	"slices"
)

// Image is what one namespace holds of ours, or should hold. It is plain data: the kernel adapter reads one from the kernel, the
// plan compares two, and a test prints one. The link to the underlay, its address and its routes are not in it: they follow the
// lease of the underlay's DHCP server.
type Image struct {
	Settings  map[string]string // kernel settings: path below /proc/sys, value
	Links     map[string]Link   // by name
	Addresses map[Address]bool
	Forwards  map[Forward]bool
	Tables    map[TableID]Table
}

// LinkKind is the kernel's word for a kind of link.
type LinkKind string

// Kinds of links in an image.
const (
	LinkBridge LinkKind = "bridge"
	LinkVXLAN  LinkKind = "vxlan"
	LinkVeth   LinkKind = "veth"
	LinkTap    LinkKind = "tuntap"
)

// Link is one link.
type Link struct {
	Name   string
	Kind   LinkKind
	Alias  string
	MAC    string // of bridges; the kernel chooses the others
	MTU    int
	Master string
	Up     bool

	Key   uint32     // of a VXLAN device
	Local netip.Addr // of a VXLAN device: where its frames come from

	Peer Peer // of a veth, when it is made; what is there is not read back, for the other end may be anywhere by then
}

// Peer is the other end of a veth.
type Peer struct {
	Name string
	MAC  string
}

// remake reports whether want cannot be reached from l by setting attributes.
func (l Link) remake(want Link) bool {
	return l.Kind != want.Kind || l.Key != want.Key || l.Local != want.Local
}

// Address is an address of a link.
type Address struct {
	Link   string
	Prefix netip.Prefix // the address with the length of its subnet
}

// Forward is a unicast forwarding entry of a VXLAN device: frames for MAC go to a peer on the underlay. With the zero MAC
// it is for all frames that have no entry of their own, each of which goes to every such peer.
type Forward struct {
	Link string
	MAC  string
	To   netip.Addr
}

// FloodMAC is the MAC of the entries for frames without an entry of their own.
const FloodMAC = "00:00:00:00:00:00"

// TableID names an nftables table.
type TableID struct {
	Family string // bridge or ip
	Name   string
}

// TableName is the name of our tables, in namespaces of ours.
const TableName = "ciao"

// Table is an nftables table.
type Table struct {
	ID     TableID
	Sets   []Set
	Chains []Chain
}

// Set is a named set of an nftables table.
type Set struct {
	Name     string
	Type     string // as nft writes it, such as ifname . ether_addr
	Noted    bool   // rules add its elements, which are no part of an image
	Elements map[string]bool
}

// Chain is a base chain of an nftables table.
type Chain struct {
	Name     string
	Type     string // filter or nat
	Hook     string
	Priority int
	Policy   string // accept or drop
	Rules    []Rule
}

// Rule is a rule as nft writes it, with a name under which its counter is found.
type Rule struct {
	Name string
	Text string
}

// NewImage is empty.
func NewImage() Image {
	return Image{
		Settings:  map[string]string{},
		Links:     map[string]Link{},
		Addresses: map[Address]bool{},
		Forwards:  map[Forward]bool{},
		Tables:    map[TableID]Table{},
	}
}

// Clone shares nothing that changes with i.
func (i Image) Clone() Image {
	clone := Image{
		Settings:  maps.Clone(i.Settings),
		Links:     maps.Clone(i.Links),
		Addresses: maps.Clone(i.Addresses),
		Forwards:  maps.Clone(i.Forwards),
		Tables:    make(map[TableID]Table, len(i.Tables)),
	}
	for id, table := range i.Tables {
		clone.Tables[id] = table.clone()
	}
	return clone
}

func (t Table) clone() Table {
	sets := make([]Set, len(t.Sets))
	for i, set := range t.Sets {
		set.Elements = maps.Clone(set.Elements)
		sets[i] = set
	}
	t.Sets = sets
	return t
}

// SettingNames are the kernel settings that an image may have.
func SettingNames() []string {
	image := NewImage()
	image.settle()
	return slices.Sorted(maps.Keys(image.Settings))
}
