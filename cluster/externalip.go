package cluster

import (
	"iter"
	"net/netip"
	"time"
)

// Pool is a set of addresses of the underlay, all of one family, that an operator lends to tenants' instances. No address is in two pools.
type Pool struct {
	ID       string         `json:"id"`
	Name     string         `json:"name"`
	Prefixes []netip.Prefix `json:"prefixes"` // in order, none overlapping another; a single address has the full length
	Lent     int            `json:"lent"`     // how many of its addresses tenants have
	Created  time.Time      `json:"created"`
}

// Addresses yields what the pool has to lend, in order. The first and the last address of a range are not lent: where the range is a
// network of its own they have a meaning in it (RFC 1122, section 3.2.1.3; RFC 4291, section 2.6.1, for the first). Of two addresses or one all are
// (RFC 3021, RFC 6164).
func (p Pool) Addresses() iter.Seq[netip.Addr] {
	return func(yield func(netip.Addr) bool) {
		for _, prefix := range p.Prefixes {
			first, last := lendable(prefix)
			for host := first; host <= last; host++ {
				if !yield(HostAddress(prefix, host)) {
					return
				}
			}
		}
	}
}

// Size is how many addresses the pool has to lend.
func (p Pool) Size() (n int) {
	for _, prefix := range p.Prefixes {
		first, last := lendable(prefix)
		n += int(last-first) + 1
	}
	return n
}

// lendable are the host numbers of a prefix that are lent.
func lendable(prefix netip.Prefix) (first, last uint32) {
	hosts := prefix.Addr().BitLen() - prefix.Bits()
	last = uint32(1)<<hosts - 1
	if hosts <= 1 {
		return 0, last
	}
	return 1, last - 1
}

// ExternalIPState is where an external IP is between its pool and an instance.
type ExternalIPState string

// States of an external IP.
const (
	ExternalReserved  ExternalIPState = "reserved"  // its tenant's, and attached to nothing
	ExternalMapping   ExternalIPState = "mapping"   // attached; the CNCI has not confirmed it yet
	ExternalMapped    ExternalIPState = "mapped"    // it reaches its instance
	ExternalFailed    ExternalIPState = "failed"    // attached, and does not reach its instance; that is tried again
	ExternalUnmapping ExternalIPState = "unmapping" // detached; the CNCI has not confirmed yet that it has let it go
)

// MaxExternalIPsPerInstance bounds what goes with an instance in one transaction.
const MaxExternalIPsPerInstance = 32

// ExternalIP is an address of a pool that a tenant has. The address is its name.
type ExternalIP struct {
	Address  netip.Addr      `json:"address"`
	Pool     string          `json:"pool"` // id
	Tenant   string          `json:"tenant"`
	Instance string          `json:"instance,omitempty"` // id; of what it is attached to or being detached from
	Subnet   string          `json:"subnet,omitempty"`   // that instance's
	State    ExternalIPState `json:"state"`
	Reason   string          `json:"reason,omitempty"` // why it is in its state, for the user to read
	Created  time.Time       `json:"created"`
}

// Attached says whether it should reach an instance.
func (e ExternalIP) Attached() bool {
	return e.State == ExternalMapping || e.State == ExternalMapped || e.State == ExternalFailed
}

// PrefixText writes a range of addresses; a single address without its length.
func PrefixText(prefix netip.Prefix) string {
	if prefix.IsSingleIP() {
		return prefix.Addr().String()
	}
	return prefix.String()
}
