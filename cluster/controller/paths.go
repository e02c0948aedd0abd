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

// keptVersions is how many versions of a subnet's paths are kept beside the present one. A node that has one of them is told of the
// changes alone, any other of everything.
const keptVersions = 16

// paths are what the nodes that have a subnet are to know of it, the same for all. They are made once for each change, and so is what
// differs from each earlier version: a subnet of many instances is told to as many nodes.
type paths struct {
	stale   bool
	present payload.SubnetPaths // of version 0 before the first
	earlier []payload.SubnetPaths
	news    map[uint64]payload.SubnetPaths // by the version that a node has
}

// to is what tells a node that has a version of the present one; false when it is the same.
func (p *paths) to(version uint64) (payload.SubnetPaths, bool) {
	if version == p.present.Version {
		return p.present.Head(), false
	}
	if news, made := p.news[version]; made {
		return news, true
	}
	i := slices.IndexFunc(p.earlier, func(earlier payload.SubnetPaths) bool { return earlier.Version == version })
	if i < 0 {
		return p.present, true
	}
	news := p.present.NewsTo(p.earlier[i])
	p.news[version] = news
	return news, true
}

// advance takes another state, if it is one.
func (p *paths) advance(next payload.SubnetPaths) {
	p.stale = false
	if p.present.Version != 0 {
		if p.present.Same(next) {
			return
		}
		p.earlier = append(p.earlier, p.present)
		p.earlier = p.earlier[max(0, len(p.earlier)-keptVersions):]
	}
	p.present, p.news = next, map[uint64]payload.SubnetPaths{}
}

// pathsOf are a subnet's paths as they are now.
func (r *reconciler) pathsOf(view store.Reader, n *network) *paths {
	if !n.paths.stale {
		return &n.paths
	}
	r.version++
	next := payload.SubnetPaths{
		ID: n.subnet.ID, Tenant: n.subnet.Tenant, Key: n.subnet.Key, Prefix: n.subnet.Prefix, Gateway: n.subnet.Gateway,
		Prefix6: n.subnet.Prefix6, Gateway6: n.subnet.Gateway6, Concentrator: n.cnci.Underlay, Domain: r.c.domain, Version: r.version,
	}
	ends := map[string]netip.Addr{}
	for node := range n.nodes {
		ends[node] = tunnelEnd(r.underlayOf(view, node))
	}
	for id, node := range n.at {
		if end := ends[node]; end.IsValid() {
			next.Neighbours = append(next.Neighbours, payload.Neighbour{MAC: n.hosts[id].MAC, Node: end})
		}
	}
	slices.SortFunc(next.Neighbours, func(a, b payload.Neighbour) int { return cmp.Compare(a.MAC, b.MAC) })
	n.paths.advance(next)
	return &n.paths
}

// attach is what a start says of its subnet: what the node does not know yet, or that there is nothing more to know.
func (r *reconciler) attach(view store.Reader, n *network, node string) payload.SubnetPaths {
	all, told := r.pathsOf(view, n), r.peer(node).told
	news, _ := all.to(told[n.subnet.ID])
	told[n.subnet.ID] = all.present.Version
	return news
}

// newPaths adds to news, by node, how the paths of a subnet have changed for the nodes that have it. A node of which it is not certain
// that it got what it was told is told its version, and asks if it has another.
func (r *reconciler) newPaths(view store.Reader, n *network, news map[string][]payload.SubnetPaths) {
	if !r.linked || !n.cnci.Underlay.IsValid() {
		return
	}
	all := r.pathsOf(view, n)
	for node := range n.nodes {
		if _, deaf := r.silence(node); node == "" || deaf {
			continue
		}
		told := r.peer(node).told
		if p, differs := all.to(told[n.subnet.ID]); differs || r.doubted[node] {
			told[n.subnet.ID] = all.present.Version
			news[node] = append(news[node], p)
		}
	}
}

// doubt has a node told the versions of its subnets' paths: what it was told before may have been lost.
func (r *reconciler) doubt(node string) {
	r.doubted[node] = true
	for _, n := range r.networks {
		n.due = n.due || n.nodes[node] > 0
	}
}

// pathsRequested has a node told all of subnets of which it has missed something, and started again what it could not start without.
func (r *reconciler) pathsRequested(node string, body payload.RequestPaths) {
	for _, id := range body.Subnets {
		n := r.networks[id]
		if n == nil || n.nodes[node] == 0 {
			continue
		}
		delete(r.peer(node).told, id)
		n.due = true
		for instance, at := range n.at {
			if m := r.memories[instance]; at == node && m != nil && m.last.action == start {
				m.last.sent = noTime
				r.dirty[instance] = true
			}
		}
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
			size := locationsPerSubnet + len(p.Gone) + len(p.Neighbours)
			if locations += size; locations > maxLocationsPerConfigure && i > first {
				r.order(ssntp.Configure, node, payload.Configure{Subnets: all[first:i]})
				first, locations = i, size
			}
		}
		r.order(ssntp.Configure, node, payload.Configure{Subnets: all[first:]})
	}
}
