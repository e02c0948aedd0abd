package controller

import (
	"fmt"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/store"
)

// Groups are instances of one tenant that must share a node (requirements.together) or must not (requirements.spread). A node is recorded
// only if it breaks no group, whatever the scheduler thinks of it: misplaced. A group that is together gets its node with its first member;
// the others wait for that, and follow.

func togetherKey(tenant, group string) string { return "together/" + tenant + "/" + group }
func spreadKey(tenant, group string) string   { return "spread/" + tenant + "/" + group }

// groupsOf indexes an instance by the groups that it is in.
func groupsOf(i cluster.Instance) (keys []string) {
	if group := i.Spec.Requirements.Together; group != "" {
		keys = append(keys, togetherKey(i.Tenant, group))
	}
	if group := i.Spec.Requirements.Spread; group != "" {
		keys = append(keys, spreadKey(i.Tenant, group))
	}
	return keys
}

// company is what the place of an instance that wants a node depends on of the others that must be with it.
type company struct {
	beside  string            // the node that they have
	others  cluster.Resources // without one: what the others ask for that want a node, too
	awaits  string            // why the instance does not ask for a node yet, for the user to read; empty: it does
	leaving bool              // because they have yet to leave their node
}

// companyOf looks at the others of the group that an instance without a node must be with.
func (r *reconciler) companyOf(view store.Reader, i cluster.Instance) (c company) {
	group := i.Spec.Requirements.Together
	if group == "" || i.State != cluster.Pending || i.Node != "" {
		return company{}
	}
	first := i
	for other := range instances.By(view, byGroup, togetherKey(i.Tenant, group)) {
		switch {
		case other.ID == i.ID || other.Desired == cluster.WantDeleted:
		case other.Node != "":
			c = company{beside: other.Node}
			if r.peer(other.Node).leaving() {
				c.awaits, c.leaving = fmt.Sprintf("waits until the rest of group %q has left node %s", group, other.Node), true
			}
			return c
		case other.State == cluster.Pending && other.Desired == cluster.WantActive:
			c.others = c.others.Add(other.Spec.Requirements.Resources())
			if other.Created.Before(first.Created) || other.Created.Equal(first.Created) && other.ID < first.ID {
				first = other
			}
		}
	}
	c.others = c.others.Add(foldedOf(view, i.Tenant, group))
	if first.ID != i.ID {
		c.awaits = fmt.Sprintf("waits for a node that has room for all of group %q", group)
		if first.Reason != "" {
			c.awaits += ": " + first.Reason
		}
	}
	return c
}

// foldedOf is what the members of a group ask for that are still in batches.
func foldedOf(view store.Reader, tenant, group string) (sum cluster.Resources) {
	for batch := range batches.By(view, byTenant, tenant) {
		if needs := batch.Template.Spec.Requirements; needs.Together == group {
			sum = sum.Add(needs.Resources().Times(batch.Count - batch.Unfolded))
		}
	}
	return sum
}

// misplaced says whether an instance on that node would break a group.
func misplaced(tx store.Tx, i cluster.Instance, node string) bool {
	needs := i.Spec.Requirements
	if needs.Together == "" {
		return crowded(tx, i, node)
	}
	for other := range instances.By(tx, byGroup, togetherKey(i.Tenant, needs.Together)) {
		if other.ID == i.ID || other.Node == "" || other.Desired == cluster.WantDeleted {
			continue
		}
		current, err := instances.Get(tx, other.ID) // protects it: a lost node is taken from its instances by any controller
		return err == nil && current.Node != node   // those that have a node have the same
	}
	return crowded(tx, i, node)
}

// queueGroup puts the transactions that give members of a tenant's groups a node one after the other. Two that give two members a node
// at once write different rows, and each would find the group as the other left it; a member without a node yet has nothing to protect.
func queueGroup(tx store.Tx, i cluster.Instance) error {
	if len(groupsOf(i)) == 0 {
		return nil
	}
	return queueTenant(tx, i.Tenant)
}

// queueTenant writes the tenant's usage row as it is, which only one of two transactions at once can do.
func queueTenant(tx store.Tx, tenant string) error {
	usage, err := usages.Get(tx, tenant)
	if err != nil {
		return noSuch("tenant", tenant)
	}
	return usages.Put(tx, usage)
}

// occupies says whether a member of a group keeps the others of it from a node: one that failed does not until it is started again, when
// its node has a say in it.
func occupies(member cluster.Instance, node string) bool {
	return member.Node == node && member.State != cluster.Failed
}

// wakeGroup has those decided that wait for the others of a changed instance's group.
func (r *reconciler) wakeGroup(before, i cluster.Instance) {
	group := i.Spec.Requirements.Together
	self := r.memories[i.ID]
	said := before.Reason != i.Reason && (self == nil || !self.awaits)
	if group == "" || before.Node == i.Node && before.State == i.State && !said {
		return
	}
	r.peek(func(view store.Reader) {
		for other := range instances.By(view, byGroup, togetherKey(i.Tenant, group)) {
			if m := r.memories[other.ID]; m != nil && m.awaits && other.ID != i.ID {
				r.dirty[other.ID] = true
			}
		}
	})
}
