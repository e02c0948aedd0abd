package controller

import (
	"cmp"
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

// tunnelEnd is the address of a node to which frames for its instances go; invalid without one.
func tunnelEnd(underlay []netip.Addr) netip.Addr {
	if i := slices.IndexFunc(underlay, netip.Addr.Is4); i >= 0 {
		return underlay[i]
	}
	return netip.Addr{}
}

// locations is where the parts of a subnet are, for all of its nodes: each is told what is on the others.
type locations struct {
	peers      []location // of nodes
	neighbours []location // of instances
}

// location is an address of a node on the underlay, for an instance with the MAC of that instance.
type location struct {
	node    string
	mac     string
	address netip.Addr
}

// locationsOf puts the locations of a subnet in order, once for each change.
func (r *reconciler) locationsOf(view store.Reader, n *network) *locations {
	if n.locations != nil {
		return n.locations
	}
	made, ends := &locations{}, map[string]netip.Addr{}
	for node := range n.nodes {
		underlay := r.underlayOf(view, node)
		ends[node] = tunnelEnd(underlay)
		for _, address := range underlay {
			made.peers = append(made.peers, location{node: node, address: address})
		}
	}
	for id, node := range n.at {
		if end := ends[node]; end.IsValid() {
			made.neighbours = append(made.neighbours, location{node, n.hosts[id].MAC, end})
		}
	}
	slices.SortFunc(made.peers, func(a, b location) int { return a.address.Compare(b.address) })
	slices.SortFunc(made.neighbours, func(a, b location) int { return cmp.Compare(a.mac, b.mac) })
	n.locations = made
	return made
}

// paths is what a node must know of a subnet.
func (r *reconciler) paths(view store.Reader, n *network, node string) payload.SubnetPaths {
	p := payload.SubnetPaths{
		ID: n.subnet.ID, Tenant: n.subnet.Tenant, Key: n.subnet.Key, Prefix: n.subnet.Prefix, Gateway: n.subnet.Gateway,
		Concentrator: n.cnci.Underlay, Domain: r.c.domain,
	}
	all := r.locationsOf(view, n)
	for _, peer := range all.peers {
		if peer.node != node {
			p.Peers = append(p.Peers, peer.address)
		}
	}
	for _, neighbour := range all.neighbours {
		if neighbour.node != node {
			p.Neighbours = append(p.Neighbours, payload.Neighbour{MAC: neighbour.mac, Node: neighbour.address})
		}
	}
	return p
}

// told notes what a node knows of a subnet.
func (r *reconciler) told(node string, p payload.SubnetPaths) { r.peer(node).paths[p.ID] = p }

// newPaths adds to news, by node, how the paths of a subnet have changed for the nodes that have it.
func (r *reconciler) newPaths(view store.Reader, n *network, news map[string][]payload.SubnetPaths) {
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
		news[node] = append(news[node], p)
	}
}

// maxLocationsPerConfigure keeps a Configure well within a frame: a location is at most 30 bytes, and the rest of a subnet is below 300.
const (
	maxLocationsPerConfigure = 16384
	locationsPerSubnet       = 10
)

// tellPaths sends each node all that is new for it, in as few messages as it fits into.
func (r *reconciler) tellPaths(news map[string][]payload.SubnetPaths) {
	for node, all := range news {
		first, locations := 0, 0
		for i, p := range all {
			size := locationsPerSubnet + len(p.Peers) + len(p.Neighbours)
			if locations += size; locations > maxLocationsPerConfigure && i > first {
				r.order(ssntp.Configure, node, payload.Configure{Subnets: all[first:i]})
				first, locations = i, size
			}
		}
		r.order(ssntp.Configure, node, payload.Configure{Subnets: all[first:]})
	}
}

func samePaths(a, b payload.SubnetPaths) bool {
	return a.Key == b.Key && a.Concentrator == b.Concentrator && slices.Equal(a.Peers, b.Peers) && slices.Equal(a.Neighbours, b.Neighbours)
}
