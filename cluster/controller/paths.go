package controller

import (
	"net/netip"
	"slices"

	"github.com/ciaocloud/ciao/cluster/payload"
	"github.com/ciaocloud/ciao/cluster/store"
	"github.com/ciaocloud/ciao/ssntp"
)

// underlayOf are a node's addresses on the underlay.
func (r *reconciler) underlayOf(view store.Reader, node string) []netip.Addr {
	if node == "" {
		return nil
	}
	row, err := nodes.Get(view, node)
	if err != nil {
		return nil
	}
	return row.Underlay
}

// paths is what a node must know of a subnet.
func (r *reconciler) paths(view store.Reader, n *network, node string) payload.SubnetPaths {
	p := payload.SubnetPaths{
		ID: n.subnet.ID, Tenant: n.subnet.Tenant, Key: n.subnet.Key, Prefix: n.subnet.Prefix, Gateway: n.subnet.Gateway,
		Concentrator: n.cnci.Underlay, Domain: r.c.domain,
	}
	for other := range n.nodes {
		if other != node {
			p.Peers = append(p.Peers, r.underlayOf(view, other)...)
		}
	}
	slices.SortFunc(p.Peers, netip.Addr.Compare)
	return p
}

// told notes what a node knows of a subnet.
func (r *reconciler) told(node string, p payload.SubnetPaths) { r.peer(node).paths[p.ID] = p }

// tellPaths tells the nodes that have a subnet how its paths have changed.
func (r *reconciler) tellPaths(view store.Reader, n *network) {
	if !r.linked || !n.cnci.Underlay.IsValid() {
		return
	}
	for node := range n.nodes {
		if _, deaf := r.silence(node); node == "" || deaf {
			continue
		}
		p := r.paths(view, n, node)
		if samePaths(r.peer(node).paths[p.ID], p) {
			continue
		}
		r.told(node, p)
		r.order(ssntp.Configure, node, payload.Configure{Subnets: []payload.SubnetPaths{p}})
	}
}

func samePaths(a, b payload.SubnetPaths) bool {
	return a.Key == b.Key && a.Concentrator == b.Concentrator && slices.Equal(a.Peers, b.Peers)
}
