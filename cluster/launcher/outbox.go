package launcher

import (
	"context"
	"maps"
	"slices"
	"sync"

	"github.com/ciaocloud/ciao/cluster/payload"
	"github.com/ciaocloud/ciao/ssntp"
)

// outbox holds what the cluster is yet to be told: of each instance only the newest. It is bounded by the number of instances, and
// holds everything back while there is no connection. A new session begins with the inventory and the node's status.
type outbox struct {
	wake chan struct{}

	mu       sync.Mutex
	online   bool
	all      bool            // everybody needs the inventory
	asked    []ssntp.ID      // these alone asked for it
	status   bool            // the node's status is to be told
	lacking  map[string]bool // subnets whose paths are to be asked for
	order    []string        // instances with something to tell
	states   map[string]payload.InstanceReport
	progress map[string]payload.Progress
	traces   []payload.Trace // of commands that came, told together when nothing else is to be told
}

func newOutbox() *outbox {
	return &outbox{wake: make(chan struct{}, 1), lacking: map[string]bool{}, states: map[string]payload.InstanceReport{}, progress: map[string]payload.Progress{}}
}

// maxAsked bounds how many controllers may wait for an inventory of their own; beyond, everybody gets it.
const maxAsked = 8

func (o *outbox) connected(resumed bool) {
	o.change(func() {
		o.online = true
		if !resumed {
			o.all, o.status, o.asked = true, true, nil
		}
	})
}

func (o *outbox) disconnected() { o.change(func() { o.online = false }) }

func (o *outbox) requested(by ssntp.ID) {
	o.change(func() {
		if o.asked = append(o.asked, by); len(o.asked) > maxAsked {
			o.all, o.asked = true, nil
		}
	})
}

// missed has the paths of subnets asked for.
func (o *outbox) missed(subnets []string) {
	o.change(func() {
		for _, id := range subnets {
			o.lacking[id] = true
		}
	})
}

// maxTraces bounds how many ways of commands wait; beyond, the oldest are not told.
const maxTraces = 256

func (o *outbox) traced(way payload.Trace) {
	o.change(func() {
		o.traces = append(o.traces, way)
		o.traces = o.traces[max(0, len(o.traces)-maxTraces):]
	})
}

func (o *outbox) statusChanged() { o.change(func() { o.status = true }) }

// report replaces what was to be told of an instance; what its start went through no longer matters.
func (o *outbox) report(report payload.InstanceReport) {
	o.change(func() {
		o.queue(report.Instance)
		o.states[report.Instance] = report
		delete(o.progress, report.Instance)
	})
}

func (o *outbox) step(p payload.Progress) {
	o.change(func() {
		o.queue(p.Instance)
		o.progress[p.Instance] = p
	})
}

func (o *outbox) queue(instance string) {
	_, state := o.states[instance]
	_, progress := o.progress[instance]
	if !state && !progress {
		o.order = append(o.order, instance)
	}
}

func (o *outbox) change(f func()) {
	o.mu.Lock()
	f()
	o.mu.Unlock()
	token(o.wake)
}

// letter is one thing to tell.
type letter struct {
	inventory bool
	to        ssntp.ID // zero is everybody
	status    bool
	lacking   []string // subnets
	state     *payload.InstanceReport
	progress  *payload.Progress
	traces    []payload.Trace
}

// next takes the most urgent letter; nil when there is none, or nobody to tell.
func (o *outbox) next() *letter {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case !o.online:
		return nil
	case o.all:
		o.all = false
		return &letter{inventory: true}
	case o.status:
		o.status = false
		return &letter{status: true}
	case len(o.asked) > 0:
		to := o.asked[0]
		o.asked = o.asked[1:]
		return &letter{inventory: true, to: to}
	case len(o.lacking) > 0:
		lacking := slices.Sorted(maps.Keys(o.lacking))
		clear(o.lacking)
		return &letter{lacking: lacking}
	case len(o.order) > 0:
		return o.nextInstance()
	case len(o.traces) > 0:
		traces := o.traces
		o.traces = nil
		return &letter{traces: traces}
	}
	return nil
}

func (o *outbox) nextInstance() *letter {
	id := o.order[0]
	if state, found := o.states[id]; found {
		delete(o.states, id)
		if _, more := o.progress[id]; !more {
			o.order = o.order[1:]
		}
		return &letter{state: &state}
	}
	o.order = o.order[1:]
	progress := o.progress[id]
	delete(o.progress, id)
	return &letter{progress: &progress}
}

// deliver sends letters until ctx ends.
func (l *Launcher) deliver(ctx context.Context) {
	for {
		for one := l.outbox.next(); one != nil; one = l.outbox.next() {
			if err := l.mail(ctx, one); err != nil && ctx.Err() == nil {
				l.logger.Warn("report not sent", "error", err)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-l.outbox.wake:
		}
	}
}

func (l *Launcher) mail(ctx context.Context, one *letter) error {
	switch {
	case one.inventory:
		return l.sendInventory(ctx, one.to)
	case one.status:
		return l.sendStatus(ctx)
	case one.lacking != nil:
		return l.link.send(ctx, ssntp.RequestPaths, ssntp.ID{}, payload.RequestPaths{Subnets: one.lacking})
	case one.traces != nil:
		return l.link.send(ctx, ssntp.TraceReport, ssntp.ID{}, payload.TraceReport{Traces: one.traces})
	case one.state != nil:
		return l.link.send(ctx, ssntp.InstanceState, ssntp.ID{}, *one.state)
	}
	return l.link.send(ctx, ssntp.Progress, ssntp.ID{}, *one.progress)
}
