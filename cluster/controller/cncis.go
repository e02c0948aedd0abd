package controller

import (
	"context"
	"iter"
	"slices"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/ipam"
	"github.com/ciaocloud/ciao/cluster/store"
)

// CNCIs lists the CNCIs of a scope's subnets, in order of ids.
func (c *Controller) CNCIs(ctx context.Context, scope string) (list []CNCI, err error) {
	err = c.view(ctx, func(r store.Reader) error {
		for subnet := range scopedSubnets(r, scope) {
			if cnci, ok := cnciOf(r, subnet); ok {
				list = append(list, cnci)
			}
		}
		return nil
	})
	slices.SortFunc(list, func(a, b CNCI) int { return compareText(a.ID, b.ID) })
	return list, err
}

// CNCI looks a CNCI up by id.
func (c *Controller) CNCI(ctx context.Context, scope, id string) (CNCI, error) {
	list, err := c.CNCIs(ctx, scope)
	if err != nil {
		return CNCI{}, err
	}
	for _, cnci := range list {
		if cnci.ID == id {
			return cnci, nil
		}
	}
	return CNCI{}, noSuch("CNCI", id)
}

func scopedSubnets(r store.Reader, scope string) iter.Seq[cluster.Subnet] {
	if scope == Operator {
		return subnets.All(r)
	}
	return subnets.By(r, byTenant, scope)
}

// cnciOf describes a subnet's CNCI; false while it has none.
func cnciOf(r store.Reader, subnet cluster.Subnet) (CNCI, bool) {
	instance, err := instances.Get(r, subnet.CNCI)
	if subnet.CNCI == "" || err != nil {
		return CNCI{}, false
	}
	return CNCI{
		ID: instance.ID, Tenant: subnet.Tenant, Subnet: subnet.ID, Prefix: subnet.Prefix, Prefix6: subnet.Prefix6, Gateway: subnet.Gateway,
		State: instance.State, Node: instance.Node, Underlay: instance.Underlay, Reason: instance.Reason,
		Instances: ipam.Used(subnet.Allocated), Created: instance.Created,
	}, true
}
