package simulation

import (
	"context"
	"net/netip"
	"sync/atomic"

	"github.com/ciaocloud/ciao/cluster/network"
)

// addresses hands out addresses of an underlay that is not there.
type addresses struct{ last atomic.Uint32 }

func (a *addresses) next() netip.Addr {
	n := a.last.Add(1)
	return netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)})
}

// mtu of a tenant's port on an Ethernet underlay.
const mtu = 1500 - network.Overhead

// nodeNetwork is a node's network that takes everything and applies nothing.
type nodeNetwork struct{ underlay netip.Addr }

// Apply implements network.NodeNetwork.
func (n *nodeNetwork) Apply(context.Context, network.Node) (network.NodeFacts, error) {
	return network.NodeFacts{Underlay: n.underlay, MTU: mtu}, nil
}

// Remove implements network.NodeNetwork.
func (n *nodeNetwork) Remove(context.Context) error { return nil }

// concentratorNetwork is a CNCI's, alike.
type concentratorNetwork struct{ facts network.ConcentratorFacts }

// Apply implements network.ConcentratorNetwork.
func (n concentratorNetwork) Apply(context.Context, network.Concentrator) (network.ConcentratorFacts, error) {
	return n.facts, nil
}

// Remove implements network.ConcentratorNetwork.
func (n concentratorNetwork) Remove(context.Context) error { return nil }
