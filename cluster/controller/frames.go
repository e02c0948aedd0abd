package controller

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/payload"
	"github.com/ciaocloud/ciao/cluster/store"
	"github.com/ciaocloud/ciao/ssntp"
)

// receive takes in one message of the link.
func (r *reconciler) receive(ctx context.Context, m message) {
	switch m.link {
	case linkUp:
		r.linkUp(m.resumed)
	case linkDown:
		r.linked = false
	default:
		r.receiveFrame(ctx, m)
	}
}

// linkUp takes commands up again. A server that knows nothing of us will tell of the nodes as they connect to it; until then nothing
// is known of them.
func (r *reconciler) linkUp(resumed bool) {
	r.linked = true
	if !resumed {
		r.since = time.Now()
		r.hush()
		for _, p := range r.peers {
			p.heard, p.lost, p.missing, p.asked, p.asks = false, noTime, false, noTime, 0
		}
		for _, m := range r.memories {
			m.last.sent = noTime
		}
		r.refresh()
	}
	r.watchSilence()
	r.peek(func(view store.Reader) {
		r.resumeVolumes(view, "")
		for i := range instances.All(view) {
			if !i.State.Settled() || i.State == cluster.Missing || i.State == cluster.Active {
				r.dirty[i.ID] = true
			}
		}
	})
}

func (r *reconciler) receiveFrame(ctx context.Context, m message) {
	f := m.frame
	source := f.Source.String()
	now := time.Now()
	var err error
	switch f.Operand {
	case ssntp.Placed:
		err = with(f, func(body payload.Placed) { r.placed(body) })
	case ssntp.PlacementFailure:
		err = with(f, func(body payload.PlacementFailure) { r.notPlaced(body, now) })
	case ssntp.InstanceState:
		r.hear(source)
		if m.report != nil {
			r.report(source, *m.report, m.came)
			r.buried(source, *m.report)
		}
	case ssntp.Inventory:
		r.hear(source)
		err = with(f, func(body payload.Inventory) { r.inventory(source, body, m.came) })
	case ssntp.Ready, ssntp.Full, ssntp.Maintenance:
		r.hear(source)
		err = with(f, func(body payload.NodeStatus) { r.nodeArrived(source, nodeState(f.Operand), body) })
		r.roomier = true
	case ssntp.Statistics, ssntp.Progress:
		r.hear(source)
	case ssntp.NodeConnected:
		err = with(f, func(body payload.NodeConnected) { r.nodeConnected(body) })
	case ssntp.NodeDisconnected:
		err = with(f, func(body payload.NodeDisconnected) { r.nodeDisconnected(body, now) })
	case ssntp.ConcentratorState:
		err = with(f, func(body payload.ConcentratorState) { r.concentratorState(source, body) })
	case ssntp.VolumeState:
		r.hear(source)
		err = with(f, func(body payload.VolumeReport) { r.volumeReport(source, body) })
	case ssntp.RequestPaths:
		err = with(f, func(body payload.RequestPaths) { r.pathsRequested(source, body) })
	case ssntp.CertificateRequest:
		err = with(f, func(body payload.CertificateRequest) { r.certificateRequest(ctx, source, body) })
	case ssntp.Undeliverable:
		err = r.undeliverable(f, now)
	}
	if err != nil {
		r.c.unreadable(f, err)
	}
}

func with[T any](f ssntp.Frame, do func(T)) error {
	body, err := payload.Decode[T](f.Payload)
	if err == nil {
		do(body)
	}
	return err
}

func nodeState(o ssntp.Operand) cluster.NodeState {
	switch o {
	case ssntp.Full:
		return cluster.NodeFull
	case ssntp.Maintenance:
		return cluster.NodeMaintenance
	}
	return cluster.NodeReady
}

// placed records the scheduler's decisions; only then are they acted on.
func (r *reconciler) placed(body payload.Placed) {
	for _, d := range body.Decisions {
		if !cluster.ValidID(d.Node) {
			continue
		}
		r.edits = append(r.edits, edit{cost: 3, apply: func(tx store.Tx) (func(), error) {
			before, err := instances.Get(tx, d.Instance)
			if err != nil || before.State != cluster.Pending || before.Node != "" || before.Generation != d.Generation || before.Desired != cluster.WantActive {
				return nil, nil
			}
			if misplaced(tx, before, d.Node) {
				return func() { r.placeElsewhere(d) }, nil
			}
			if err := queueGroup(tx, before); err != nil {
				return nil, err
			}
			if bound, err := bindVolumes(tx, before.ID, d.Node); err != nil || !bound {
				return nil, err
			}
			i := before
			i.Node, i.Explanation = d.Node, clip(d.Explanation)
			enter(&i, cluster.Scheduled, "", time.Now().UTC())
			return nil, putInstance(tx, before, i)
		}})
	}
}

// placeElsewhere asks again: the scheduler, which knows of groups what nodes report, chose a node that would break one.
func (r *reconciler) placeElsewhere(d payload.Decision) {
	m := r.memory(d.Instance)
	m.last = command{}
	m.avoid = append(m.avoid, d.Node)
	r.dirty[d.Instance] = true
}

func (r *reconciler) notPlaced(body payload.PlacementFailure, now time.Time) {
	m := r.memories[body.Instance]
	if m == nil || m.last.action != place || m.last.generation != body.Generation {
		return
	}
	m.last = command{}
	reason := cmp.Or(body.Reason, "no node has room for it")
	if len(m.avoid) > 0 {
		reason += "; the last node said: " + m.refusal
	}
	m.refusal, m.refusedAt, m.permanent, m.avoid = clip(reason), now, body.Permanent, nil
	r.dirty[body.Instance] = true
}

// report records a node's word on one instance, which came at a time.
func (r *reconciler) report(node string, report payload.InstanceReport, came time.Time) {
	r.edits = append(r.edits, edit{cost: reportCost, apply: func(tx store.Tx) (func(), error) {
		before, err := instances.Get(tx, report.Instance)
		if err != nil {
			restored := restorations.Has(tx, lastRestoration)
			if report.State == cluster.Gone || restored && r.unborn(tx, report.Instance) {
				return nil, nil
			}
			return r.hold(tx, node, report)
		}
		now, known := time.Now().UTC(), before
		if i := before; i.Node != node && restorations.Has(tx, lastRestoration) {
			switch r.believe(i, node, report, now) {
			case believed:
				known = adopt(i, node, now)
			case undecided:
				return func() { r.claimants[node] = true }, nil
			}
		}
		after, verdict := record(known, node, report, r.peer(node).leaving(), now)
		switch verdict {
		case stray:
			return r.hold(tx, node, report)
		case removed:
			return nil, removeInstance(tx, before)
		case changed:
			return func() { r.recorded(node, report, after, came) }, errors.Join(putInstance(tx, before, after), followInstance(tx, before, after))
		}
		return func() { r.answered(node, report, came) }, nil
	}})
}

// unborn says that an instance is still in a batch. No node can have it but where a restored store is behind, and to find out takes a look
// at each instance of each batch.
func (r *reconciler) unborn(view store.Reader, id string) bool {
	for batch := range batches.All(view) {
		for i := batch.Unfolded; i < batch.Count; i++ {
			if batch.InstanceID(i) == id {
				return true
			}
		}
	}
	return false
}

// recorded follows a report that changed an instance.
func (r *reconciler) recorded(node string, report payload.InstanceReport, after cluster.Instance, came time.Time) {
	r.c.counters.count(func(n *Counters) { n.Reports++ })
	m := r.memory(after.ID)
	if report.State == cluster.Failed && after.State == cluster.Pending {
		m.refusal, m.refusedAt = after.Reason, noTime
		if !slices.Contains(m.avoid, node) {
			m.avoid = append(m.avoid, node)
		}
	}
	if report.State == cluster.Gone {
		m.last = command{} // if it is to start again, then at once
	}
	r.answered(node, report, came)
}

// answered notes that the node reacts to what it was sent: only a lasting silence makes a command urgent.
func (r *reconciler) answered(node string, report payload.InstanceReport, came time.Time) {
	m := r.memories[report.Instance]
	if m == nil || m.last.node != node || m.last.generation != report.Generation {
		return
	}
	m.last.tries = min(m.last.tries, 1)
	if m.last.reached(report) {
		m.last.heard = came
	}
}

// expel has a node delete what it should not have.
func (r *reconciler) expel(node string, report payload.InstanceReport) {
	r.c.counters.count(func(n *Counters) { n.Orphans++ })
	r.log.Info("a node has an instance that is not its own; it is told to delete it",
		slog.String("node", node), slog.String("instance", report.Instance), slog.String("state", string(report.State)))
	r.order(ssntp.Delete, node, payload.Delete{Instance: report.Instance, Generation: report.Generation})
}

func (r *reconciler) nodeConnected(body payload.NodeConnected) {
	r.hear(body.Node)
	r.tellRevocationsTo(body.Node)
	r.doubt(body.Node) // it may be another process of a node that was not missed
	r.wakeNode(body.Node, true)
	r.peek(func(view store.Reader) { r.resumeVolumes(view, body.Node) })
	r.nodeArrived(body.Node, "", payload.NodeStatus{Roles: body.Roles})
	r.roomier = true
}

func (r *reconciler) nodeDisconnected(body payload.NodeDisconnected, now time.Time) {
	r.lose(body.Node, now)
	r.nodeLeft(body.Node)
}

// undeliverable takes the hub's word that a node is not there. A node that is there after all is heard of soon.
func (r *reconciler) undeliverable(f ssntp.Frame, now time.Time) error {
	refusal, err := ssntp.ParseRefusal(f.Payload)
	if err != nil {
		return err
	}
	if id := refusal.Destination.String(); r.peers[id] != nil {
		r.lose(id, now)
	}
	return nil
}
