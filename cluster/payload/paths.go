package payload

import (
	"cmp"
	"net/netip"
	"slices"
)

// SubnetPaths tells a node how frames reach a subnet's CNCI and its instances, the node's own included: what is said of a subnet is the
// same for all nodes that have it. A controller gives each state of a subnet another version, which it shares with no other
// controller's, so that equal versions mean equal paths. A node that has the last version is told of what changed since, and any other
// asks for all by RequestPaths.
type SubnetPaths struct {
	ID           string       `cbor:"1,keyasint"`
	Tenant       string       `cbor:"2,keyasint"`
	Key          uint32       `cbor:"3,keyasint"`
	Prefix       netip.Prefix `cbor:"4,keyasint"`
	Gateway      netip.Addr   `cbor:"5,keyasint"`
	Concentrator netip.Addr   `cbor:"6,keyasint,omitempty"` // the CNCI on the underlay; invalid while it has none
	Domain       string       `cbor:"8,keyasint"`           // DNS domain of the tenant's instances
	Neighbours   Neighbours   `cbor:"11,keyasint"`          // in the order of their MACs: all, or those that came or moved after Since
	Version      uint64       `cbor:"12,keyasint,omitempty"`
	Since        uint64       `cbor:"13,keyasint,omitempty"` // the version that this is news to; 0: it is all there is
	Gone         []string     `cbor:"14,keyasint,omitempty"` // MACs of neighbours that left after Since
	Prefix6      netip.Prefix `cbor:"15,keyasint,omitzero"`
	Gateway6     netip.Addr   `cbor:"16,keyasint,omitempty"`
}

// RequestPaths asks for all paths of subnets of which the node has missed something (agent, netagent → controller). The answer is a
// Configure; starts that were dropped for want of the paths are sent again.
type RequestPaths struct {
	Subnets []string `cbor:"1,keyasint"`
}

// Head is everything but the neighbours: news for whoever has this version already.
func (p SubnetPaths) Head() SubnetPaths {
	p.Since, p.Neighbours, p.Gone = p.Version, nil, nil
	return p
}

// NewsTo is what tells a node that has an earlier state of the subnet of this one: what changed, or all if that is no longer.
func (p SubnetPaths) NewsTo(earlier SubnetPaths) SubnetPaths {
	news := p.Head()
	news.Since = earlier.Version
	places := earlier.places()
	for _, neighbour := range p.Neighbours {
		if place, known := places[neighbour.MAC]; !known || place != neighbour.Node {
			news.Neighbours = append(news.Neighbours, neighbour)
		}
		delete(places, neighbour.MAC)
	}
	for mac := range places {
		news.Gone = append(news.Gone, mac)
	}
	slices.Sort(news.Gone)
	if len(news.Neighbours)+len(news.Gone) >= max(1, len(p.Neighbours)) {
		return p
	}
	return news
}

// Follow is the state after the news; false says that they are of changes to another version than p, and that all must be asked for.
func (p SubnetPaths) Follow(news SubnetPaths) (SubnetPaths, bool) {
	switch {
	case news.Since == 0:
		return news, true
	case p.Version == news.Version:
		return p, true
	case p.Version != news.Since:
		return p, false
	}
	places := p.places()
	for _, mac := range news.Gone {
		delete(places, mac)
	}
	for _, neighbour := range news.Neighbours {
		places[neighbour.MAC] = neighbour.Node
	}
	news.Since, news.Gone, news.Neighbours = 0, nil, make(Neighbours, 0, len(places))
	for mac, node := range places {
		news.Neighbours = append(news.Neighbours, Neighbour{mac, node})
	}
	slices.SortFunc(news.Neighbours, func(a, b Neighbour) int { return cmp.Compare(a.MAC, b.MAC) })
	return news, true
}

// Same says whether both are one state, whatever their versions.
func (p SubnetPaths) Same(o SubnetPaths) bool {
	return p.ID == o.ID && p.Tenant == o.Tenant && p.Key == o.Key && p.Prefix == o.Prefix && p.Gateway == o.Gateway &&
		p.Prefix6 == o.Prefix6 && p.Gateway6 == o.Gateway6 &&
		p.Concentrator == o.Concentrator && p.Domain == o.Domain && slices.Equal(p.Neighbours, o.Neighbours)
}

func (p SubnetPaths) places() map[string]netip.Addr {
	places := make(map[string]netip.Addr, len(p.Neighbours))
	for _, neighbour := range p.Neighbours {
		places[neighbour.MAC] = neighbour.Node
	}
	return places
}
