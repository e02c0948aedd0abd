package placement

import (
	"fmt"
	"strings"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/payload"
)

// Place finds a node for a request and reserves its room. The failure is nil if and only if there is a decision.
func (c *Cluster) Place(request payload.PlacementRequest, now time.Time) (payload.Decision, *payload.PlacementFailure) {
	c.Expire(now)
	if request.Resources != nonNegative(request.Resources) || request.Others != nonNegative(request.Others) {
		return payload.Decision{}, c.invalid(request)
	}
	if position, same := c.repeated(&request); same {
		return c.decision(&request, position, "as decided before"), nil
	}
	view := c.view(&request)
	position := c.config.Policy.Choose(view)
	if position < 0 {
		return payload.Decision{}, c.failure(&request, view.refused, now)
	}
	c.reserve(&request, position, now)
	c.last = position
	return c.decision(&request, position, c.config.Policy.Explain(view)), nil
}

// repeated finds the node of an earlier decision, or report, for the same generation of the instance. A reservation on a node that
// cannot take it any more is given up.
func (c *Cluster) repeated(request *payload.PlacementRequest) (int, bool) {
	position, found := c.home[request.Instance]
	if !found {
		return 0, false
	}
	n := c.nodes[position]
	h := n.holds[request.Instance]
	if h.reported && h.current == request.Generation {
		return position, true
	}
	if h.until.IsZero() || h.requested != request.Generation {
		return 0, false
	}
	if view := c.view(request); view.Feasible(position) && request.Resources == h.reserved {
		return position, true
	}
	h.until, h.reserved, h.requested = time.Time{}, none, 0
	c.set(n, request.Instance, h)
	return 0, false
}

// view prepares the nodes as a policy sees them for one request.
func (c *Cluster) view(request *payload.PlacementRequest) *Nodes {
	home, found := c.home[request.Instance]
	if !found {
		home = -1
	}
	c.nodeView = Nodes{cluster: c, home: home, candidate: candidate{
		request: request,
		wanted:  request.Resources.Add(request.Others),
		role:    roleBit(request.Role),
		kind:    kindBit(request.Kind),
	}}
	return &c.nodeView
}

func (c *Cluster) reserve(request *payload.PlacementRequest, position int, now time.Time) {
	n := c.nodes[position]
	h := n.holds[request.Instance]
	h.until, h.reserved, h.requested = now.Add(c.config.Reservation), request.Resources, request.Generation
	h.group = group{request.Tenant, request.Spread}
	c.set(n, request.Instance, h)
	c.expiring = append(c.expiring, reservation{position: position, instance: request.Instance, until: h.until})
	if request.Together != "" {
		c.keep(request, position, now)
	}
}

// kept is under what a node holds the room that is kept for the members of a group that are placed after the first.
func kept(request *payload.PlacementRequest) string {
	return "together/" + request.Tenant + "/" + request.Together
}

// keep reserves room for the others of a group when its first member is placed, and takes from that what each of them gets.
func (c *Cluster) keep(request *payload.PlacementRequest, position int, now time.Time) {
	n, name := c.nodes[position], kept(request)
	h := n.holds[name]
	if request.Beside == "" {
		h = hold{until: now.Add(c.config.Reservation), reserved: request.Others}
		c.expiring = append(c.expiring, reservation{position: position, instance: name, until: h.until})
	} else {
		h.reserved = nonNegative(h.reserved.Sub(request.Resources))
	}
	if h.reserved == none {
		h.until = time.Time{}
	}
	n.set(name, h)
}

func (c *Cluster) decision(request *payload.PlacementRequest, position int, why string) payload.Decision {
	n := c.nodes[position]
	return payload.Decision{
		Instance:    request.Instance,
		Generation:  request.Generation,
		Node:        n.id,
		Explanation: why,
	}
}

// String lists what was refused, such as "2 without enough free memory, 1 not connected".
func (r refusals) String() string {
	var parts []string
	for i, count := range r {
		if count > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", count, filters[i].words))
		}
	}
	return strings.Join(parts, ", ")
}

func (c *Cluster) failure(request *payload.PlacementRequest, refused refusals, now time.Time) *payload.PlacementFailure {
	failure := &payload.PlacementFailure{
		Instance:   request.Instance,
		Generation: request.Generation,
		Nodes:      len(c.nodes),
		Permanent:  !now.Before(c.config.Settled) && c.tooLarge(request),
		Reason:     "no node can take it now: " + refused.String(),
	}
	for i, count := range refused {
		if count > 0 {
			failure.Refusals = append(failure.Refusals, payload.Refusal{Filter: filters[i].name, Nodes: count})
		}
	}
	switch {
	case len(c.nodes) == 0:
		failure.Reason = "no node is connected; start a launcher"
	case failure.Permanent:
		failure.Reason = fmt.Sprintf("no node could take %s even if it were empty: %s", amounts(request.Resources), refused)
	}
	return failure
}

// tooLarge says whether nodes of the wanted sort are known and none of them, however empty, could ever take the request.
func (c *Cluster) tooLarge(request *payload.PlacementRequest) bool {
	view := c.view(request)
	known := false
	for _, n := range c.nodes {
		view.candidate.node = n
		if view.candidate.suits() {
			known = true
			if request.Resources.Fits(n.limit) {
				return false
			}
		}
	}
	return known
}

func (c *Cluster) invalid(request payload.PlacementRequest) *payload.PlacementFailure {
	return &payload.PlacementFailure{
		Instance:   request.Instance,
		Generation: request.Generation,
		Nodes:      len(c.nodes),
		Reason:     "the request asks for less than nothing",
		Permanent:  true,
	}
}

func amounts(r cluster.Resources) string {
	text := fmt.Sprintf("%s vCPUs, %d MiB of memory", r.CPU, r.MemoryMiB)
	if r.DiskMiB > 0 {
		text += fmt.Sprintf(", %d MiB of disk", r.DiskMiB)
	}
	return text
}
