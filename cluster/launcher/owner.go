package launcher

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/driver"
	"github.com/ciaocloud/ciao/cluster/network"
	"github.com/ciaocloud/ciao/cluster/payload"
)

const absent = driver.Absent

// owner is the one goroutine that works for an instance: it feeds the machine and does what the machine answers.
type owner struct {
	launcher *Launcher
	id       string
	box      *mailbox

	machine machine
	record  record
	kept    record // as on disk
	orphan  bool   // a carrier without a record: nothing of it is kept or told until it is gone

	timer   *time.Timer
	cancel  context.CancelFunc // of the operation under way
	results chan outcome
	slot    bool // holds one of the bounded starts

	wanted    map[string]payload.VolumeOrder // changes of volumes that are not done yet
	following payload.VolumeOrder            // the one that is being done

	since time.Time // it has been active; zero while it is not

	reported payload.InstanceReport // guarded by launcher.mu
	heard    bool                   // as in the record; guarded by launcher.mu
	image    string                 // digest of what it starts from, if that was uploaded; guarded by launcher.mu
	volumes  []payload.Volume       // that it has; guarded by launcher.mu
}

func (l *Launcher) newOwner(r record) *owner {
	timer := time.NewTimer(0)
	timer.Stop()
	return &owner{launcher: l, id: r.ID, box: newMailbox(), record: r, kept: r, image: digestOf(r.Image), volumes: r.Volumes, timer: timer, results: make(chan outcome, 1)}
}

// run works until the instance is gone or ctx ends.
func (o *owner) run(ctx context.Context) {
	defer o.leave()
	if o.machine.want != "" { // it was there before the launcher
		o.act(ctx, o.machine.next())
	}
	for !o.machine.gone {
		select {
		case <-ctx.Done():
			return
		case <-o.box.wake:
			o.read(ctx)
		case result := <-o.results:
			o.cancel()
			if result.operation == change {
				o.changed(result)
			}
			o.act(ctx, o.machine.ended(result))
		case <-o.timer.C:
			o.act(ctx, o.machine.passed())
		}
	}
	o.launcher.retire(o)
}

// leave ends the operation under way and waits for it.
func (o *owner) leave() {
	o.timer.Stop()
	if o.machine.running != idle {
		o.cancel()
		<-o.results
	}
	o.release()
}

func (o *owner) read(ctx context.Context) {
	wishes, rest := o.box.take()
	for _, w := range wishes {
		if o.machine.gone || !o.machine.newer(w.want, w.generation) {
			o.launcher.tell(o, true)
			continue
		}
		o.follow(ctx, w)
	}
	if (rest.heard || rest.judge) && !o.machine.gone {
		o.record.Heard = o.record.Heard || rest.heard
		o.act(ctx, action{})
	}
	if len(rest.volumes) > 0 && !o.machine.gone {
		o.rearrange(ctx, rest.volumes)
	}
	if rest.changed && !o.machine.gone {
		o.act(ctx, o.machine.changed())
	}
	if rest.revived && !o.machine.gone {
		o.act(ctx, o.machine.revived())
	}
}

// follow takes a newer wish: it is on disk before anything is done about it.
func (o *owner) follow(ctx context.Context, w wish) {
	refused := w.refused
	o.wanted = nil // changes of what was
	switch {
	case w.start != nil && refused == nil:
		refused = o.accept(w.start)
	case w.want == cluster.WantStopped:
		o.record.Grace = cluster.Duration(w.grace)
	}
	if refused != nil {
		o.act(ctx, o.machine.refuse(w.generation, refused.reason, refused.retry))
		return
	}
	o.act(ctx, o.machine.command(w.want, w.generation))
}

// accept keeps a start's recipe.
func (o *owner) accept(s *payload.Start) *refusal {
	next := o.record
	next.Generation, next.Want = s.Generation, cluster.WantActive
	next.Name, next.Tenant, next.Kind, next.Spec, next.Privileged, next.Image, next.Volumes = s.Name, s.Tenant, s.Kind, s.Spec, s.Privileged, s.Image, s.Volumes
	next.Subnet, next.MAC, next.Addresses = s.Network.Subnet.ID, s.Network.MAC, s.Network.Addresses
	next.Changed, next.Heard = nil, false
	next.Settled, next.ExitCode, next.Reason, next.Failure, next.Retry = "", nil, "", "", false
	if err := o.launcher.records.save(next, true); err != nil {
		return &refusal{bounded("the node could not keep the instance's record: " + err.Error()), true}
	}
	o.record, o.kept, o.orphan = next, next, false
	o.needs(next)
	return nil
}

// act keeps and reports what has changed, then does what the machine wants.
func (o *owner) act(ctx context.Context, a action) {
	o.keep()
	o.clock()
	o.launcher.tell(o, false)
	if o.machine.running != create && o.machine.running != start {
		o.release()
	}
	switch {
	case a.cancel:
		o.cancel()
	case a.wait > 0:
		o.timer.Reset(a.wait)
	case a.run == forget:
		o.act(ctx, o.machine.ended(o.forget()))
	case a.run != idle:
		o.begin(ctx, a.run)
	}
}

// keep writes what lasts. A failure is told and tried again with the next change: the controller repeats its commands.
func (o *owner) keep() {
	m, r := &o.machine, &o.record
	durable := r.Want != m.want || r.Generation != m.generation
	r.Want, r.Generation, r.Settled, r.Failure, r.Retry = m.want, m.generation, m.settled, m.failure, m.retry
	r.ExitCode, r.Reason = nil, ""
	if m.settled == cluster.Exited {
		r.ExitCode, r.Reason = m.carrier.ExitCode, m.carrier.Reason
	}
	if o.orphan || m.gone || sameLasting(*r, o.kept) {
		return
	}
	if err := o.launcher.records.save(*r, durable); err != nil {
		o.launcher.logger.Error("record not written", "instance", o.id, "error", err)
		return
	}
	o.kept = *r
}

func sameLasting(a, b record) bool {
	return a.Want == b.Want && a.Generation == b.Generation && a.Grace == b.Grace && a.Settled == b.Settled &&
		a.Failure == b.Failure && a.Retry == b.Retry && a.Heard == b.Heard && a.Reason == b.Reason
}

// port is the instance's wanted port; a CNCI brings its own network.
func (r *record) port() (network.Port, bool) {
	if r.Kind == cluster.KindCNCI || r.Subnet == "" {
		return network.Port{}, false
	}
	kind := network.Veth
	if r.Kind == cluster.KindVM {
		kind = network.Tap
	}
	return network.Port{Instance: r.ID, Subnet: r.Subnet, Kind: kind, MAC: r.MAC, Addresses: slices.Clone(r.Addresses)}, true
}

// report is the node's word on the instance.
func (o *owner) report() payload.InstanceReport {
	m := &o.machine
	report := payload.InstanceReport{
		Instance: o.id, Generation: m.generation, Tenant: o.record.Tenant, Kind: o.record.Kind,
		State: m.state(), Reason: bounded(cmp.Or(m.reason(), o.silence())),
	}
	switch report.State {
	case cluster.Failed:
		report.Retry = m.retry
	case cluster.Gone:
	default:
		report.Resources, report.Spread = o.record.Spec.Requirements.Resources(), o.record.Spec.Requirements.Spread
	}
	if report.State == cluster.Exited {
		report.ExitCode = m.carrier.ExitCode
	}
	return report
}
