package controller

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/store"
)

// staying lists what stays on an evacuated node because no other node will do for it, in order of ids. It leaves as soon as one does.
func (c *Controller) staying(r store.Reader, n cluster.Node) (list []cluster.Stay) {
	if !n.Evacuated {
		return nil
	}
	for i := range instances.By(r, byNode, n.ID) {
		if i.Desired == cluster.WantDeleted {
			continue
		}
		reason := c.stays(r, i)
		if next, err := instances.Get(r, i.Replacement); reason == "" && err == nil && next.State == cluster.Failed && next.Replaces == i.ID {
			reason = fmt.Sprintf("its replacement %s failed: %s; delete that for another attempt", next.Name, next.Reason)
		}
		if reason != "" {
			list = append(list, cluster.Stay{Instance: i.ID, Name: i.Name, Tenant: i.Tenant, Reason: reason})
		}
	}
	slices.SortFunc(list, func(a, b cluster.Stay) int { return compareText(a.Instance, b.Instance) })
	return list
}

// stays says why no other node than its own will do for an instance and those that it must share a node with; empty when one will. It looks
// at what a node is, and not at what is free on it: for that an instance may wait.
func (c *Controller) stays(r store.Reader, i cluster.Instance) string {
	movers := moversWith(r, i)
	refused, order := map[string]int{}, []string(nil)
	for n := range nodes.All(r) {
		if n.ID == i.Node {
			continue
		}
		why := c.unsuitable(r, n, movers)
		if why == "" {
			return ""
		}
		if refused[why]++; refused[why] == 1 {
			order = append(order, why)
		}
	}
	if order == nil {
		return "there is no other node"
	}
	for k, why := range order {
		order[k] = fmt.Sprintf("%d %s", refused[why], why)
	}
	return "no other node will do: " + strings.Join(order, ", ")
}

// moversWith is an instance and the others that it must share a node with.
func moversWith(r store.Reader, i cluster.Instance) []cluster.Instance {
	movers := []cluster.Instance{i}
	for other := range instances.By(r, byGroup, togetherKey(i.Tenant, i.Spec.Requirements.Together)) {
		if other.ID != i.ID && other.Desired != cluster.WantDeleted {
			movers = append(movers, other)
		}
	}
	return movers
}

// unsuitable says in a few words why a node will not do for all of the movers; empty when it will.
func (c *Controller) unsuitable(r store.Reader, n cluster.Node, movers []cluster.Instance) string {
	if n.Evacuated || n.State != cluster.NodeReady && n.State != cluster.NodeFull {
		return "not ready"
	}
	var sum cluster.Resources
	for _, i := range movers {
		needs := i.Spec.Requirements
		switch {
		case needs.Node != "" && needs.Node != n.ID:
			return "not the wanted node"
		case needs.Hostname != "" && needs.Hostname != n.Hostname:
			return "without the wanted host name"
		case !cluster.Labelled(n.Labels, needs.Labels):
			return "without the wanted labels"
		case !slices.Contains(n.Roles, roleOf(i)):
			return "without the role"
		case !slices.Contains(n.Kinds, i.Kind):
			return "unable to run its kind"
		case madeVolume(r, i.ID) != "":
			return "without its volume " + madeVolume(r, i.ID)
		case crowded(r, i, n.ID):
			return "with another instance of its group"
		}
		sum = sum.Add(needs.Resources())
	}
	if !sum.Fits(c.overcommit.Of(n.Capacity)) {
		return "too small"
	}
	return ""
}

// crowded says whether a node has an instance that must not share a node with this one.
func crowded(r store.Reader, i cluster.Instance, node string) bool {
	if i.Spec.Requirements.Spread == "" {
		return false // without a look: it costs a transaction that has written already
	}
	for other := range instances.By(r, byGroup, spreadKey(i.Tenant, i.Spec.Requirements.Spread)) {
		if other.ID != i.ID && occupies(other, node) {
			return true
		}
	}
	return false
}
