package controller

import (
	"context"
	"slices"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/store"
)

// Nodes lists all nodes that ever joined, also those that are missing, in order of ids.
func (c *Controller) Nodes(ctx context.Context) (list []cluster.Node, err error) {
	err = c.view(ctx, func(r store.Reader) error {
		for node := range nodes.All(r) {
			list = append(list, c.counted(r, node))
		}
		return nil
	})
	return list, err
}

// Node looks a node up by id or host name.
func (c *Controller) Node(ctx context.Context, ref string) (node cluster.Node, err error) {
	err = c.view(ctx, func(r store.Reader) error {
		node, err = findNode(r, ref)
		node = c.counted(r, node)
		return err
	})
	return node, err
}

func findNode(r store.Reader, ref string) (cluster.Node, error) {
	if node, err := nodes.Get(r, ref); err == nil {
		return node, nil
	}
	if found := slices.Collect(nodes.By(r, byName, ref)); len(found) == 1 {
		return found[0], nil
	}
	return cluster.Node{}, noSuch("node", ref)
}

// counted fills in what is not stored: the counts, and when this controller last heard of the node.
func (c *Controller) counted(r store.Reader, node cluster.Node) cluster.Node {
	node.Instances, node.Running, node.Allocated = 0, 0, cluster.Resources{}
	for instance := range instances.By(r, byNode, node.ID) {
		node.Allocated = node.Allocated.Add(instance.Spec.Requirements.Resources())
		if instance.Host() {
			continue
		}
		node.Instances++
		if instance.State == cluster.Active {
			node.Running++
		}
	}
	node.Staying, node.Limit = c.staying(r, node), c.overcommit.Of(node.Capacity)
	if seen := c.samples.seen(node.ID); seen.After(node.Seen) {
		node.Seen = seen
	}
	return node
}

// NodeStatistics is the latest sample of a node; false when there is none.
func (c *Controller) NodeStatistics(node string) (cluster.NodeStatistics, bool) {
	return c.samples.node(node)
}
