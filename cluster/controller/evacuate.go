package controller

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/store"
)

// EvacuateNode wants a node empty and keeps it so until RestoreNode: it takes nothing new, what runs there is stopped and started on
// other nodes, what has ended there is released. The call records that and returns; what leaves keeps its id, name and addresses, and
// loses what it wrote. What no other node will do for, by its requirements, stays as it is until one does: Node.Staying lists it. The call is
// refused (cluster.ErrConflict) when no other node is ready to take over.
//
// lost says that the node will not come back with what it had: its instances are started elsewhere although it cannot say that they
// do not run. It is refused for a node that is connected. Should the node come back, it is told to delete what it still has.
func (c *Controller) EvacuateNode(ctx context.Context, ref string, lost bool) (node cluster.Node, err error) {
	node, err = c.changeNode(ctx, ref, func(tx store.Tx, n *cluster.Node) (event cluster.Event, err error) {
		switch {
		case lost && n.State != cluster.NodeMissing:
			return event, fmt.Errorf("%w: it is connected; evacuate it without --lost, so that its instances are stopped there first", cluster.ErrConflict)
		case !lost && n.State == cluster.NodeMissing:
			return event, fmt.Errorf("%w: it is not connected, so nobody can stop its instances; if it is gone for good, evacuate it with --lost", cluster.ErrConflict)
		case !lost && occupied(tx, n.ID) && !substitute(tx, *n):
			return event, fmt.Errorf("%w: no other node is ready to take its instances; add or restore one first", cluster.ErrConflict)
		case n.Evacuated:
			return event, nil
		}
		n.Evacuated = true
		message := "Node " + nodeName(*n) + " is being evacuated."
		if stay := c.staying(tx, *n); len(stay) > 0 && !lost {
			message += fmt.Sprintf(" No other node will do for %d of its instances: they stay.", len(stay))
		}
		return newEvent(cluster.Info, "NodeEvacuated", message), nil
	})
	if err == nil && lost {
		err = c.abandon(ctx, node.ID)
	}
	return node, err
}

// RestoreNode lets an evacuated node take instances again. Nothing moves back by itself.
func (c *Controller) RestoreNode(ctx context.Context, ref string) (cluster.Node, error) {
	return c.changeNode(ctx, ref, func(_ store.Tx, n *cluster.Node) (event cluster.Event, err error) {
		if !n.Evacuated {
			return event, nil
		}
		n.Evacuated = false
		return newEvent(cluster.Info, "NodeRestored", "Node "+nodeName(*n)+" takes instances again."), nil
	})
}

// DeleteNode forgets a node that is not connected and has nothing. A node that connects again is there again.
func (c *Controller) DeleteNode(ctx context.Context, ref string) error {
	_, err := c.update(ctx, func(tx store.Tx) error {
		n, err := findNode(tx, ref)
		switch {
		case err != nil:
			return err
		case n.State != cluster.NodeMissing:
			return fmt.Errorf("node %q: %w: it is connected; evacuate it and end its launcher first", ref, cluster.ErrConflict)
		case occupied(tx, n.ID):
			return fmt.Errorf("node %q: %w: instances or CNCIs are recorded on it; `ciao evacuate --lost %s` takes them from it", ref, cluster.ErrConflict, ref)
		}
		event := newEvent(cluster.Info, "NodeDeleted", "Node "+nodeName(n)+" was deleted.")
		event.Node = n.ID
		if err := putEvent(tx, event); err != nil {
			return err
		}
		return nodes.Delete(tx, n.ID)
	})
	return err
}

// changeNode changes a node's row by an operator's wish, and notes the event unless it is empty.
func (c *Controller) changeNode(ctx context.Context, ref string, change func(store.Tx, *cluster.Node) (cluster.Event, error)) (changed cluster.Node, err error) {
	_, err = c.update(ctx, func(tx store.Tx) error {
		found, err := findNode(tx, ref)
		if err != nil {
			return err
		}
		n, err := nodes.Get(tx, found.ID) // protects it
		if err != nil {
			return noSuch("node", ref)
		}
		event, err := change(tx, &n)
		if err != nil {
			return fmt.Errorf("node %q: %w", ref, err)
		}
		changed = c.counted(tx, n)
		if event.Reason == "" {
			return nil
		}
		event.Node = n.ID
		if err := putEvent(tx, event); err != nil {
			return err
		}
		return nodes.Put(tx, n)
	})
	return changed, err
}

// occupied says whether anything is recorded on a node.
func occupied(r store.Reader, node string) bool {
	for range instances.By(r, byNode, node) {
		return true
	}
	return false
}

// substitute says whether another node offers what this one does.
func substitute(r store.Reader, leaving cluster.Node) bool {
	for n := range nodes.All(r) {
		if n.ID == leaving.ID || n.Evacuated || n.State != cluster.NodeReady {
			continue
		}
		if !slices.ContainsFunc(leaving.Roles, func(role cluster.NodeRole) bool { return !slices.Contains(n.Roles, role) }) {
			return true
		}
	}
	return false
}

// abandonsPerTransaction keeps each transaction within the store's limits; an instance's row has several indexes.
const abandonsPerTransaction = 50

// abandon takes all instances from a lost node, a number at a time, for as long as the node stays away: one that comes back in the middle has
// said what it has, and would not be told that what is taken from it after that is not its own any more.
func (c *Controller) abandon(ctx context.Context, node string) error {
	for more := true; more; {
		_, err := c.update(ctx, func(tx store.Tx) error {
			more = false
			if n, err := nodes.Get(tx, node); err == nil && n.State != cluster.NodeMissing {
				return fmt.Errorf("node %q: %w: it has come back meanwhile; evacuate it without --lost, so that what it still has is stopped there first",
					node, cluster.ErrConflict)
			}
			var chosen []cluster.Instance
			for i := range instances.By(tx, byNode, node) {
				if len(chosen) == abandonsPerTransaction {
					more = true
					break
				}
				chosen = append(chosen, i)
			}
			for _, i := range chosen {
				if err := abandonInstance(tx, i, time.Now().UTC()); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// abandonInstance takes an instance from a lost node. A new generation makes everything that the node may still say of it old. Subnets
// get new CNCIs: the agent of a lost one may still run, and two of them must not share an identity.
func abandonInstance(tx store.Tx, i cluster.Instance, now time.Time) error {
	if i.Host() {
		return removeCNCI(tx, i)
	}
	node := i.Node
	release(&i)
	switch {
	case ended(i.State) || i.State == cluster.Deleting:
	case i.Desired == cluster.WantActive && madeVolume(tx, i.ID) != "":
		enter(&i, cluster.Failed, "node "+node+" was lost, and volume "+madeVolume(tx, i.ID)+" with it", now)
	case i.Desired == cluster.WantActive:
		i.Generation++
		enter(&i, cluster.Pending, "node "+node+" was lost", now)
	default:
		enter(&i, cluster.Stopped, "node "+node+" was lost", now)
	}
	return instances.Put(tx, i)
}

// madeVolume names a volume of an instance that has been made, and is on its node for good; empty when there is none.
func madeVolume(r store.Reader, instance string) string {
	for v := range volumes.By(r, byInstance, instance) {
		if v.Stays() {
			return label(v)
		}
	}
	return ""
}
