package controller

import (
	"fmt"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/payload"
	"github.com/ciaocloud/ciao/ssntp"
)

// action is what an instance needs next.
type action int

const (
	rest     action = iota // nothing, or not before wake
	place                  // ask the scheduler for a node
	start                  // tell its node to start it
	stop                   // tell its node to stop it
	withdraw               // tell its node to delete all it has of it
	forget                 // no node holds it: remove it from the store
	inquire                // ask its node for its inventory
	question               // the same, because the node has not said for long what became of a command
	mark                   // record a state or a reason
	revive                 // start an ended CNCI again
	replace                // start another one elsewhere that takes over
	retire                 // its replacement takes over
	dismiss                // it is not needed: have it deleted
)

// String is the name of the command.
func (a action) String() string {
	switch a {
	case place:
		return ssntp.Place.String()
	case start:
		return ssntp.Start.String()
	case stop:
		return ssntp.Stop.String()
	case withdraw:
		return ssntp.Delete.String()
	case inquire, question:
		return ssntp.RequestInventory.String()
	}
	return fmt.Sprintf("action %d", int(a))
}

// decision is an action with what it needs.
type decision struct {
	action action
	state  cluster.State // of mark
	reason string        // of mark
	wake   time.Time     // of rest: decide again then; zero is when something changes
}

// memory is what the leading controller remembers of an instance beside the store. Losing it costs time, nothing else.
type memory struct {
	last      command
	waiting   time.Time // since when it has wanted a node
	isolated  time.Time // since when it has had a node and wanted its network
	refusal   string    // why it has not been placed, by the last answer
	refusedAt time.Time
	permanent bool     // no node could ever take it
	avoid     []string // nodes that have just refused it
	alone     string   // why nothing can be started that takes over; empty: it was not tried, or could
	stays     bool     // it stays on a node that is being evacuated
	awaits    bool     // it waits for others of its group before it asks for a node
	revivals  int      // of a CNCI since it was last active
}

// command is the last one sent for an instance.
type command struct {
	action     action
	generation uint64
	node       string
	sent       time.Time
	tries      int
	heard      time.Time // when its node last said what became of it; zero: it has not
	lost       bool      // its node has said, when asked later, that it has not got it
}

// reached says that a node which reports so has got the command.
func (c command) reached(report payload.InstanceReport) bool {
	if report.Generation < c.generation {
		return false
	}
	switch c.action {
	case start:
		return report.State != cluster.Gone
	case stop:
		return report.State != cluster.Scheduled && report.State != cluster.Starting && report.State != cluster.Active
	case withdraw:
		return report.State == cluster.Deleting
	}
	return true
}

// surroundings are what an instance's next step depends on beside itself.
type surroundings struct {
	linked   bool          // the scheduler can be reached
	behind   time.Duration // what has been heard in this last time may not be known yet
	lost     time.Time     // since when its node has not been heard of; zero: it is connected
	deaf     bool          // its node is known not to be connected: commands would go nowhere
	asked    time.Time     // when its node was last asked what became of commands
	asks     int           // how often without an answer
	leaving  bool          // its node is being evacuated and takes nothing new
	next     succession    // the one that takes over, if any
	stays    bool          // no other node will do for it
	company  company       // the others that it must share a node with
	ready    bool          // its subnet's CNCI serves it and its node
	obstacle string        // why not
	settling time.Time     // until when nothing may be placed or started
}

const unansweredTries = 3

// decide says what an instance needs next. It is pure; every time that it rests it says until when.
func decide(i cluster.Instance, m memory, s surroundings, t Timing, now time.Time) decision {
	d := decider{i, m, s, t, now}
	switch {
	case s.next.forsaken && i.Desired != cluster.WantDeleted, i.Retired && i.Desired == cluster.WantStopped && ended(i.State):
		return decision{action: dismiss}
	case i.State == cluster.Pending && i.Node == "" && s.next.found && s.next.state == cluster.Active:
		return decision{action: retire} // its node was lost when its replacement was there
	}
	if s.leaving && !s.stays {
		if next, leaves := d.leave(); leaves {
			return next
		}
	}
	switch i.State {
	case cluster.Pending:
		return d.pending()
	case cluster.Scheduled:
		return d.scheduled()
	case cluster.Starting:
		return d.running(d.start())
	case cluster.Active:
		return d.running(decision{})
	case cluster.Stopping:
		return d.bound(d.tell(stop, "stop"))
	case cluster.Missing:
		return d.command(inquire, d.t.Answer, "report its instances")
	case cluster.Deleting:
		return d.deleting()
	case cluster.Failed, cluster.Exited:
		return d.ended()
	}
	return decision{}
}

type decider struct {
	i   cluster.Instance
	m   memory
	s   surroundings
	t   Timing
	now time.Time
}

func (d decider) mark(state cluster.State, reason string) decision {
	return decision{action: mark, state: state, reason: reason}
}

// command sends, or waits until it is time to send again.
func (d decider) command(a action, interval time.Duration, what string) decision {
	if !d.s.linked || d.s.deaf {
		return decision{}
	}
	last := d.m.last
	if last.action != a || last.generation != d.i.Generation || last.node != d.i.Node {
		return decision{action: a}
	}
	if due := last.sent.Add(interval * time.Duration(min(last.tries, 6))); d.now.Add(-d.s.behind).Before(due) {
		return decision{wake: due}
	}
	if last.tries >= unansweredTries && a != place && d.i.State != cluster.Starting {
		reason := fmt.Sprintf("node %s has not answered the command to %s; it is being repeated", d.i.Node, what)
		if d.i.Reason != reason {
			return d.mark(d.i.State, reason)
		}
	}
	return decision{action: a}
}

// pending instances have everything but a node. One that has a node was refused by it, and is withdrawn from it first.
func (d decider) pending() decision {
	switch queued := d.now.Sub(d.m.waiting); {
	case d.i.Node != "":
		return d.bound(d.tell(withdraw, "give it up"))
	case d.i.Desired == cluster.WantStopped:
		return d.mark(cluster.Stopped, "")
	case d.s.company.awaits != "" && d.i.Reason != d.s.company.awaits:
		return d.mark(cluster.Pending, d.s.company.awaits)
	case d.s.company.awaits != "":
		return decision{}
	case d.m.permanent, d.m.refusal != "" && queued >= d.t.Queue:
		return d.mark(cluster.Failed, d.m.refusal)
	case d.m.refusal != "" && d.i.Reason != d.m.refusal:
		return d.mark(cluster.Pending, d.m.refusal)
	}
	if d.now.Before(d.s.settling) {
		return decision{wake: d.s.settling}
	}
	if again := d.m.refusedAt.Add(d.t.PlaceAgain); d.m.refusal != "" && d.now.Before(again) {
		return decision{wake: again}
	}
	return d.command(place, d.t.Answer, "place it")
}

// scheduled instances have a node and wait for their network, a bounded time. What they wait for is told when that takes longer than an answer.
func (d decider) scheduled() decision {
	if d.s.ready || d.i.Desired == cluster.WantStopped || d.m.last.action == start && d.m.last.generation == d.i.Generation {
		return d.running(d.start())
	}
	until := d.m.isolated.Add(d.t.Network)
	if !d.now.Before(until) && d.s.linked {
		return d.mark(cluster.Failed, d.s.obstacle)
	}
	told := d.m.isolated.Add(d.t.Answer)
	switch {
	case d.s.obstacle == "" || d.i.Reason == d.s.obstacle || !d.s.linked:
		return d.running(decision{wake: until})
	case d.now.Before(told):
		return d.running(decision{wake: until}.before(told))
	}
	return d.running(d.mark(d.i.State, d.s.obstacle))
}

// start has the instance's node start it, not before other nodes could say that it is theirs.
func (d decider) start() decision {
	if d.now.Before(d.s.settling) {
		return decision{wake: d.s.settling}
	}
	return d.tell(start, "start")
}

// tell has the instance's node do something: it is sent the command once, and again only when it turns out not to have got it.
func (d decider) tell(a action, what string) decision {
	last := d.m.last
	if last.action != a || last.generation != d.i.Generation || last.node != d.i.Node || last.sent.IsZero() || last.lost {
		return d.command(a, d.t.Answer, what)
	}
	return d.await(last, what)
}

// await is for a command that was sent to a node. Between the controller and a node frames keep their order, and none is lost but with a process,
// which is told: a node that does not answer has much to do, like all others perhaps, and to send it everything again would add to that. It is asked once
// for all its instances. What comes first, an inventory with what became of the command or one without it, is certain.
func (d decider) await(last command, what string) decision {
	since, interval := last.sent, d.t.Answer*4/5 // so that what is lost can be sent again when its answer is overdue
	if last.heard.After(since) {
		since = last.heard
	}
	if d.i.State == cluster.Starting || !last.heard.IsZero() {
		interval = d.patience(last.action)
	}
	due := since.Add(interval)
	if again := d.s.asked.Add(d.t.Answer * time.Duration(min(max(d.s.asks-1, 1), 6))); d.s.asks > 0 && again.After(due) {
		due = again
	}
	reason := fmt.Sprintf("node %s has not answered the command to %s; it is asked again and again", d.i.Node, what)
	switch {
	case !d.s.linked, d.s.deaf:
		return decision{}
	case d.now.Add(-d.s.behind).Before(due):
		return decision{wake: due}
	case d.s.asks >= unansweredTries && d.i.State != cluster.Starting && d.i.Reason != reason:
		return d.mark(d.i.State, reason)
	}
	return decision{action: question}
}

// patience is how long a node may be busy with a command before it is asked how far it has come.
func (d decider) patience(a action) time.Duration {
	if a == stop {
		return d.t.Answer + time.Duration(d.i.Spec.StopGrace)
	}
	return d.t.Poll
}

// running is for instances that should be active: next unless it should stop or its node is missing.
func (d decider) running(next decision) decision {
	if d.i.Desired == cluster.WantStopped {
		return d.mark(cluster.Stopping, "")
	}
	return d.bound(next)
}

// bound is for instances that a node has: next unless that node is missing.
func (d decider) bound(next decision) decision {
	if d.s.lost.IsZero() || !d.s.linked {
		return next
	}
	until := d.s.lost.Add(d.t.NodeGrace)
	switch {
	case d.now.Before(until):
		return next.before(until)
	case d.i.State.May(cluster.Missing):
		return d.mark(cluster.Missing, fmt.Sprintf("node %s has not been heard of since %s", d.i.Node, d.s.lost.UTC().Format(time.RFC3339)))
	}
	return next
}

// leave is for instances on a node that is being evacuated: what runs is stopped in its own time, and what is left there of any is
// withdrawn, so that it may go elsewhere. false says that the instance leaves by what its state asks for anyway.
func (d decider) leave() (next decision, leaves bool) {
	reason := fmt.Sprintf("node %s is being evacuated", d.i.Node)
	wanted := d.i.Desired == cluster.WantActive
	switch d.i.State {
	case cluster.Scheduled, cluster.Starting:
		return d.mark(cluster.Pending, reason), wanted
	case cluster.Active:
		if replaceable(d.i) {
			return d.succeed(), true
		}
		return d.mark(cluster.Stopping, reason), wanted
	case cluster.Stopped, cluster.Exited, cluster.Failed:
		return d.tell(withdraw, "give it up"), d.i.Node != ""
	}
	return decision{}, false
}

// before makes a rest end at t at the latest.
func (d decision) before(t time.Time) decision {
	if d.action == rest && (d.wake.IsZero() || t.Before(d.wake)) {
		d.wake = t
	}
	return d
}

func (d decider) deleting() decision {
	if d.i.Node == "" {
		return decision{action: forget}
	}
	next := d.tell(withdraw, "delete it")
	if d.s.lost.IsZero() || !d.s.linked {
		return next
	}
	reason := fmt.Sprintf("node %s is not connected; the instance is deleted when the node is back", d.i.Node)
	switch until := d.s.lost.Add(d.t.NodeGrace); {
	case d.now.Before(until):
		return next.before(until)
	case d.i.Reason != reason:
		return d.mark(cluster.Deleting, reason)
	}
	return next
}

// ended instances stay as they are; a CNCI is wanted again by its subnet.
func (d decider) ended() decision {
	if !d.i.Host() || d.i.Desired != cluster.WantActive {
		return decision{}
	}
	due := d.i.Changed.Add(d.t.CNCIRestart << min(d.m.revivals, 4))
	if d.now.Before(due) {
		return decision{wake: due}
	}
	return decision{action: revive}
}
