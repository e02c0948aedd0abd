package controller

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/payload"
	"github.com/ciaocloud/ciao/cluster/store"
	"github.com/ciaocloud/ciao/ssntp"
)

// restoration is the row that a store has from when it was restored from a backup until an operator calls it settled. Until then nodes
// may have what the store does not know, because it is younger than the backup: it is stopped and kept, not deleted, and
// nothing is placed or started again before the nodes have had time to say what they have.
type restoration struct {
	Key  string    `json:"key"` // always lastRestoration
	Time time.Time `json:"time"`
	Of   time.Time `json:"of"` // when the backup was made
}

const lastRestoration = "last"

var restorations = store.NewTable("restorations", func(r restoration) string { return r.Key })

// MarkRestored adds to the rows of a backup, made at a time, that a store of them is restored now. They stay in order of their paths.
func MarkRestored(rows iter.Seq2[store.RawRow, error], now, of time.Time) iter.Seq2[store.RawRow, error] {
	value, err := json.Marshal(restoration{lastRestoration, now.UTC(), of.UTC()})
	mark := store.RawRow{Path: restorations.Name() + "/" + lastRestoration, Value: value}
	return func(yield func(store.RawRow, error) bool) {
		marked := false
		for r, rowErr := range rows {
			if rowErr == nil && !marked && r.Path >= mark.Path {
				marked = true
				if !yield(mark, err) {
					return
				}
			}
			if r.Path != mark.Path && !yield(r, rowErr) {
				return
			}
		}
		if !marked {
			yield(mark, err)
		}
	}
}

// aftermath is what the reconciler remembers of nodes' words while the store is a restored one that is not settled.
type aftermath struct {
	held      map[string]map[string]time.Time // by node: instances that the store does not know and the node keeps → when their stop was last sent
	announced map[string]store.Tx             // of them, those of which a transaction that is not committed yet tells
	absent    map[string]bool                 // instances that their nodes say they have not
	claimants map[string]bool                 // nodes that say they have what others may have
	keepers   map[string]bool                 // nodes of which it was told that they keep volumes that the store does not know
}

func newAftermath() aftermath {
	return aftermath{map[string]map[string]time.Time{}, map[string]store.Tx{}, map[string]bool{}, map[string]bool{}, map[string]bool{}}
}

// SettleStore ends the care that a restored store needs: from now on nodes delete what it does not know. It fails with
// cluster.ErrConflict when the store is not a restored one.
func (c *Controller) SettleStore(ctx context.Context) error {
	_, err := c.update(ctx, func(tx store.Tx) error {
		if !restorations.Has(tx, lastRestoration) {
			return fmt.Errorf("%w: the store has not been restored since it was last settled", cluster.ErrConflict)
		}
		return errors.Join(
			restorations.Delete(tx, lastRestoration),
			putEvent(tx, newEvent(cluster.Info, "StoreSettled", "The restored store is settled: nodes delete what it does not know.")))
	})
	return err
}

// observeRestorations follows whether the store is a restored one.
func (r *reconciler) observeRestorations(batch store.Batch) {
	for row := range restorations.Changes(batch) {
		r.restored = !row.Deleted
		if row.Deleted {
			clear(r.held)
			clear(r.keepers)
			r.refresh() // what was held is reported again, and deleted
		}
	}
}

// beginRestored notes at the beginning whether the store is a restored one.
func (r *reconciler) beginRestored(view store.Reader) {
	r.restored = restorations.Has(view, lastRestoration)
	if r.restored {
		r.log.Warn("the store was restored from a backup: what only nodes know is stopped and kept until `ciao store settle`")
		// What a batch still held when nodes first told of it is told again before anything is placed.
		r.deadlines.set(subject{kind: ofCluster}, r.since.Add(r.timing.NodeGrace/2))
	}
}

// placeable is when instances may be placed, or started again where they are recorded: a restored store may not know where one is until
// its node has spoken.
func (r *reconciler) placeable() time.Time {
	if !r.restored {
		return noTime
	}
	return r.since.Add(r.timing.NodeGrace)
}

// belief is what a node's word on an instance that a restored store has elsewhere is worth.
type belief int

const (
	refuted   belief = iota // it should not have it
	undecided               // the node that the store has for it has not spoken yet
	believed                // the instance was placed, or moved, after the backup
)

// believe judges a node's word while nothing is started again where the store has it. A move makes a new generation; but any node can say a
// high number, so it counts only when the node that the store has for the instance says that it has it no more. CNCIs are made anew instead.
func (r *reconciler) believe(i cluster.Instance, node string, report payload.InstanceReport, now time.Time) belief {
	switch {
	case i.Host() || i.Desired != cluster.WantActive || report.State == cluster.Gone:
		return refuted
	case i.Node == "" && i.State == cluster.Pending && report.Generation >= i.Generation:
		return believed
	case i.Node == "" || i.Node == node || report.Generation <= i.Generation || !now.Before(r.placeable()):
		return refuted
	case r.absent[i.ID]:
		return believed
	case r.peer(i.Node).spoken:
		return refuted
	}
	return undecided
}

// spoke notes that a node has said all that it has: what a restored store has for it and it has not may be elsewhere. Those whose words
// waited for that are asked again.
func (r *reconciler) spoke(node string, present map[string]bool) {
	if !r.restored {
		return
	}
	p := r.peer(node)
	first := !p.spoken
	p.spoken = true
	r.peek(func(view store.Reader) {
		for i := range instances.By(view, byNode, node) {
			if present[i.ID] {
				delete(r.absent, i.ID)
			} else {
				r.absent[i.ID] = true
			}
		}
	})
	if !first {
		return
	}
	for claimant := range r.claimants {
		r.order(ssntp.RequestInventory, claimant, nil)
	}
	clear(r.claimants)
}

// hush forgets what nodes have said of what they have not.
func (r *reconciler) hush() {
	for _, p := range r.peers {
		p.spoken = false
	}
	clear(r.absent)
	clear(r.claimants)
}

// adopt takes the node's word for where an instance is.
func adopt(i cluster.Instance, node string, now time.Time) cluster.Instance {
	release(&i)
	i.Node, i.Explanation = node, "found there after the store was restored"
	enter(&i, cluster.Scheduled, "", now)
	return i
}

// maxHeld is how many of the instances of one node that a restored store does not know are told of and remembered.
const maxHeld = 256

// hold has a node stop, and keep, what a restored store does not know. CNCIs hold nothing of anybody's and are deleted.
func (r *reconciler) hold(tx store.Tx, node string, report payload.InstanceReport) (func(), error) {
	if report.Kind == cluster.KindCNCI || !restorations.Has(tx, lastRestoration) {
		return func() { r.expel(node, report) }, nil
	}
	held := r.heldBy(node)
	// Two reports of one instance may be recorded together, and a transaction may be tried again.
	if _, known := held[report.Instance]; !known && r.announced[report.Instance] != tx && len(held) <= maxHeld {
		r.announced[report.Instance] = tx
		event := newEvent(cluster.Warning, "Unknown", fmt.Sprintf(
			"Node %s has a %s that the restored store does not know there; it is stopped and kept until `ciao store settle`.", node, clip(string(report.Kind))))
		event.Node, event.Instance = node, report.Instance
		if len(held) == maxHeld {
			event = newEvent(cluster.Warning, "Unknown", fmt.Sprintf(
				"Node %s has more than %d instances that the restored store does not know there; the others are not told one by one.", node, maxHeld))
			event.Node = node
		}
		if err := putEvent(tx, event); err != nil {
			return nil, err
		}
	}
	return func() { r.stopHeld(node, report) }, nil
}

func (r *reconciler) heldBy(node string) map[string]time.Time {
	if r.held[node] == nil {
		r.held[node] = map[string]time.Time{}
	}
	return r.held[node]
}

// stopHeld has a node stop what is held, if it does not do so already.
func (r *reconciler) stopHeld(node string, report payload.InstanceReport) {
	delete(r.announced, report.Instance)
	held, now := r.heldBy(node), time.Now()
	last, known := held[report.Instance]
	if !known {
		r.c.counters.count(func(n *Counters) { n.Orphans++ })
	}
	due := report.State == cluster.Scheduled || report.State == cluster.Starting || report.State == cluster.Active
	if due = due && now.Sub(last) >= r.timing.Answer; due {
		last = now
		r.log.Info("a node has an instance that the restored store does not know there; it is told to stop it",
			slog.String("node", node), slog.String("instance", report.Instance), slog.String("state", string(report.State)))
		r.order(ssntp.Stop, node, payload.Stop{Instance: report.Instance, Generation: report.Generation, Grace: cluster.DefaultStopGrace})
	}
	if known || len(held) <= maxHeld {
		held[report.Instance] = last
	}
}

// buried makes a start newer than the delete that its node remembers: the store had the instance still, or again, when it was restored.
func (r *reconciler) buried(node string, report payload.InstanceReport) {
	if report.State != cluster.Gone {
		return
	}
	r.editInstance(report.Instance, func(i *cluster.Instance) bool {
		m := r.memories[i.ID]
		refused := m != nil && m.last.action == start && m.last.generation == report.Generation && m.last.node == node
		if !refused || i.Node != node || i.Generation != report.Generation || i.Desired != cluster.WantActive ||
			i.State != cluster.Scheduled && i.State != cluster.Starting {
			return false
		}
		i.Generation++
		return true
	})
}
