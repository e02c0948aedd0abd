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

// SettleStore ends the care that a restored store needs: from now on nodes delete what it does not know. It fails with
// cluster.ErrConflict when the store is not a restored one.
func (c *Controller) SettleStore(ctx context.Context) error {
	_, err := c.update(ctx, func(tx store.Tx) error {
		if !restorations.Has(tx, lastRestoration) {
			return fmt.Errorf("%w: the store has not been restored since it was last settled", cluster.ErrConflict)
		}
		return errors.Join(
			restorations.Delete(tx, lastRestoration),
			events.Put(tx, newEvent(cluster.Info, "StoreSettled", "The restored store is settled: nodes delete what it does not know.")))
	})
	return err
}

// observeRestorations follows whether the store is a restored one.
func (r *reconciler) observeRestorations(batch store.Batch) {
	for row := range restorations.Changes(batch) {
		r.restored = !row.Deleted
		if row.Deleted {
			clear(r.held)
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

// outrun says that a node's word on an instance is younger than a restored store's: it was placed, or moved, after the backup. A move
// makes a new generation; it counts only while nothing is started again where the store has it.
func outrun(i cluster.Instance, node string, report payload.InstanceReport, settling bool) bool {
	switch {
	case i.Desired != cluster.WantActive || report.State == cluster.Gone:
		return false
	case i.Node == "":
		return i.State == cluster.Pending && report.Generation >= i.Generation
	}
	return settling && i.Node != node && report.Generation > i.Generation
}

// adopt takes the node's word for where an instance is.
func adopt(i cluster.Instance, node string, now time.Time) cluster.Instance {
	release(&i)
	i.Node, i.Explanation = node, "found there after the store was restored"
	enter(&i, cluster.Scheduled, "", now)
	return i
}

// hold has a node stop, and keep, what a restored store does not know. CNCIs hold nothing of anybody's and are deleted.
func (r *reconciler) hold(tx store.Tx, node string, report payload.InstanceReport) (func(), error) {
	if report.Kind == cluster.KindCNCI || !restorations.Has(tx, lastRestoration) {
		return func() { r.expel(node, report) }, nil
	}
	// Two reports of one instance may be recorded together, and a transaction may be tried again.
	if _, known := r.held[report.Instance]; !known && r.announced[report.Instance] != tx {
		r.announced[report.Instance] = tx
		event := newEvent(cluster.Warning, "Unknown", fmt.Sprintf(
			"Node %s has a %s that the restored store does not know there; it is stopped and kept until `ciao store settle`.", node, clip(string(report.Kind))))
		event.Node, event.Instance = node, report.Instance
		if err := events.Put(tx, event); err != nil {
			return nil, err
		}
	}
	return func() { r.stopHeld(node, report) }, nil
}

// stopHeld has a node stop what is held, if it does not do so already.
func (r *reconciler) stopHeld(node string, report payload.InstanceReport) {
	delete(r.announced, report.Instance)
	last, known := r.held[report.Instance]
	if !known {
		r.c.counters.count(func(n *Counters) { n.Orphans++ })
	}
	r.held[report.Instance] = last
	switch report.State {
	case cluster.Scheduled, cluster.Starting, cluster.Active:
	default:
		return
	}
	if now := time.Now(); now.Sub(last) >= r.timing.Answer {
		r.held[report.Instance] = now
		r.log.Info("a node has an instance that the restored store does not know there; it is told to stop it",
			slog.String("node", node), slog.String("instance", report.Instance), slog.String("state", string(report.State)))
		r.order(ssntp.Stop, node, payload.Stop{Instance: report.Instance, Generation: report.Generation, Grace: cluster.DefaultStopGrace})
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
