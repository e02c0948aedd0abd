package launcher

import (
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/payload"
	"github.com/ciaocloud/ciao/ssntp"
)

// receive takes a frame of the cluster. It only hands it on: the owners do the work.
func (l *Launcher) receive(f ssntp.Frame) {
	if f.Trace != nil {
		l.logger.Debug("traced frame", "operand", f.Operand, "source", f.Source, "trace", f.Trace)
		l.outbox.traced(wayOf(f))
	}
	var err error
	switch f.Operand {
	case ssntp.Start:
		err = with(f, l.start)
	case ssntp.Stop:
		err = with(f, func(s payload.Stop) {
			l.command(s.Instance, wish{want: cluster.WantStopped, generation: s.Generation, grace: time.Duration(s.Grace)})
		})
	case ssntp.Delete:
		err = with(f, func(d payload.Delete) {
			l.command(d.Instance, wish{want: cluster.WantDeleted, generation: d.Generation})
		})
	case ssntp.Evacuate:
		err = l.setMaintenance(true)
	case ssntp.Restore:
		err = l.setMaintenance(false)
	case ssntp.Configure:
		err = with(f, l.configure)
	case ssntp.Certificate:
		err = with(f, l.link.answered)
	case ssntp.Volume:
		err = with(f, l.orderVolume)
	case ssntp.OpenStream:
		err = with(f, l.openStream)
	case ssntp.Revoke:
		err = with(f, l.revoke)
	case ssntp.RequestInventory:
		l.outbox.requested(f.Source)
	case ssntp.Undeliverable:
		l.logger.Debug("a report reached nobody", "source", f.Source)
	default:
		l.logger.Warn("frame not understood", "operand", f.Operand, "source", f.Source)
	}
	if err != nil {
		l.logger.Warn("frame dropped", "operand", f.Operand, "source", f.Source, "error", err)
	}
}

// wayOf is the way of a frame as the controller is told of it.
func wayOf(f ssntp.Frame) payload.Trace {
	way := payload.Trace{Operand: uint16(f.Operand), TraceID: f.Trace.TraceID, ParentID: f.Trace.ParentID}
	for _, hop := range f.Trace.Hops {
		told := payload.Hop{ID: hop.Node, Received: hop.Received.UnixNano()}
		if !hop.Sent.IsZero() {
			told.Sent = hop.Sent.UnixNano()
		}
		way.Hops = append(way.Hops, told)
	}
	return way
}

func with[T any](f ssntp.Frame, handle func(T)) error {
	body, err := payload.Decode[T](f.Payload)
	if err != nil {
		return err
	}
	handle(body)
	return nil
}

// start wants an instance active. It is admitted, or refused, here and now, so that starts that arrive together cannot take the same
// room.
func (l *Launcher) start(s payload.Start) {
	if !cluster.ValidID(s.Instance) {
		l.logger.Warn("start dropped: its instance is not an id", "instance", bounded(s.Instance))
		return
	}
	networked := s.Kind != cluster.KindCNCI && checkAttachment(&s.Network) == "" // else it is refused anyway
	if networked && !l.learn([]payload.SubnetPaths{s.Network.Subnet}) {
		return // the controller sends it again, with the paths that are asked for
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	o := l.owners[s.Instance]
	if o == nil && l.graves.covers(s.Instance, s.Generation) {
		l.outbox.report(goneReport(s.Instance, s.Generation))
		return
	}
	if o == nil && l.maintenance {
		// Not a refusal, which would fail an instance that may run nowhere else: the controller repeats its start when it has ended the
		// maintenance, and moves the instance while it has not.
		l.outbox.report(goneReport(s.Instance, s.Generation))
		return
	}
	refused := l.admit(&s)
	report := startingReport(&s, refused)
	switch {
	case o == nil && refused != nil:
		l.outbox.report(report) // nothing of it is kept: the same start may be tried again
		return
	case o == nil:
		o = l.newOwner(record{ID: s.Instance, Kind: s.Kind, Tenant: s.Tenant})
		o.machine.carrier.Condition = absent
		l.report(o, report)
		l.outbox.report(report)
		l.run(o)
	case refused == nil && o.reported.Generation < s.Generation:
		held := o.reported
		held.Resources, held.Spread = s.Spec.Requirements.Resources(), s.Spec.Requirements.Spread
		l.report(o, held)
	}
	o.box.put(mail{wish: wish{want: cluster.WantActive, generation: s.Generation, start: &s, refused: refused}})
}

// command wants an instance stopped or deleted. What is not here is gone.
func (l *Launcher) command(instance string, w wish) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if o := l.owners[instance]; o != nil {
		o.box.put(mail{wish: w})
		return
	}
	if w.want == cluster.WantDeleted && cluster.ValidID(instance) {
		l.graves.dig(instance, w.generation)
	}
	l.outbox.report(goneReport(instance, w.generation))
}

// configure takes new paths of subnets. Those of a concentrator are not for a launcher.
func (l *Launcher) configure(c payload.Configure) {
	l.learn(c.Subnets)
}

// revoke takes a list of revoked certificates: a scheduler or a controller on it is left when it is looked at next.
func (l *Launcher) revoke(body payload.Revoke) {
	if l.config.Revocations == nil {
		return
	}
	if err := l.config.Revocations.Take(body.List); err != nil {
		l.logger.Error("a list of revoked certificates is not kept", "error", err)
	}
}

func goneReport(instance string, generation uint64) payload.InstanceReport {
	return payload.InstanceReport{Instance: instance, Generation: generation, State: cluster.Gone}
}

// startingReport tells the controller at once that its start has been accepted, or refused.
func startingReport(s *payload.Start, refused *refusal) payload.InstanceReport {
	report := payload.InstanceReport{
		Instance: s.Instance, Generation: s.Generation, Tenant: s.Tenant, Kind: s.Kind,
		State: cluster.Starting, Resources: s.Spec.Requirements.Resources(), Spread: s.Spec.Requirements.Spread,
	}
	if refused != nil {
		report.State, report.Reason, report.Retry = cluster.Failed, refused.reason, refused.retry
		report.Resources, report.Spread = cluster.Resources{}, ""
	}
	return report
}
