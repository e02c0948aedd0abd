// Package kernel is the network of nodes and concentrators on Linux: netlink, namespaces, nftables.
package kernel

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/network"
)

// NodeConfig is what a node's network is made from.
type NodeConfig struct {
	Cluster string
	Node    string // id of the node
	Parent  string // link to the underlay in the host's namespace: a bridge such as ciao_br, or a physical NIC

	Address netip.Prefix // the node's address on the underlay; zero asks the underlay's DHCP server
	Router  netip.Addr   // default route of a static address; zero has none

	Host   string // path of the namespace that has Parent; empty is the process's own
	Engine string // path of the namespace in which the engine looks for its ends of ports; empty is the process's own

	Log *slog.Logger
}

// Node is the network of one node: a namespace with a macvlan on the underlay, bridges, VXLAN devices and ports.
type Node struct{ config NodeConfig }

// NewNode makes the network of a node; the kernel is first touched by Apply or Remove. Run must run beside it.
func NewNode(config NodeConfig) *Node { return &Node{config} }

// Apply implements network.NodeNetwork.
func (n *Node) Apply(context.Context, network.Node) (network.NodeFacts, error) {
	return network.NodeFacts{}, fmt.Errorf("not wired yet: %w", cluster.ErrUnavailable)
}

// Run renews the lease of the underlay address and repairs what was changed behind our back, until ctx ends.
func (n *Node) Run(ctx context.Context) error { <-ctx.Done(); return nil }

// Remove implements network.NodeNetwork.
func (n *Node) Remove(context.Context) error { return nil }

var _ network.NodeNetwork = (*Node)(nil)
