package controller

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ciaocloud/ciao/cluster"
)

func TestDecide(t *testing.T) {
	timing := Timing{}.withDefaults()
	now := time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	in := func(d time.Duration) time.Time { return now.Add(d) }
	const node = "n1"
	instance := func(state cluster.State, desired cluster.Desired, node string) cluster.Instance {
		return cluster.Instance{State: state, Desired: desired, Node: node, Generation: 3, Changed: ago(time.Hour)}
	}
	sent := func(a action, before time.Duration, tries int) memory {
		return memory{waiting: ago(before), isolated: ago(before), last: command{action: a, generation: 3, node: node, sent: ago(before), tries: tries}}
	}
	heard := func(m memory, at time.Time) memory { m.last.heard = at; return m }
	gone := func(m memory) memory { m.last.lost = true; return m }
	asked := func(at time.Time, asks int) surroundings {
		return surroundings{linked: true, ready: true, asked: at, asks: asks}
	}
	up := surroundings{linked: true}
	ready := surroundings{linked: true, ready: true}
	lost := surroundings{linked: true, lost: ago(10 * time.Second), deaf: true}
	longLost := surroundings{linked: true, lost: ago(time.Minute), deaf: true}
	unheard := surroundings{linked: true, lost: ago(10 * time.Second)}
	const active, stopped, deleted = cluster.WantActive, cluster.WantStopped, cluster.WantDeleted
	cnci := instance(cluster.Failed, active, node)
	cnci.Kind = cluster.KindCNCI
	graceful := instance(cluster.Stopping, stopped, node)
	graceful.Spec.StopGrace = cluster.Duration(30 * time.Second)
	freshCNCI := cnci
	freshCNCI.Changed = ago(time.Second)

	tests := []struct {
		name   string
		i      cluster.Instance
		m      memory
		s      surroundings
		action action
		state  cluster.State
		reason string // part of it
		wake   time.Time
	}{
		{name: "new", i: instance(cluster.Pending, active, ""), m: memory{waiting: now}, s: up, action: place},
		{name: "new without a link", i: instance(cluster.Pending, active, ""), m: memory{waiting: now}},
		{name: "placement asked", i: instance(cluster.Pending, active, ""), m: memory{waiting: now, last: command{action: place, generation: 3, sent: ago(time.Second), tries: 1}}, s: up, wake: in(4 * time.Second)},
		{name: "placement unanswered", i: instance(cluster.Pending, active, ""), m: memory{waiting: ago(6 * time.Second), last: command{action: place, generation: 3, sent: ago(6 * time.Second), tries: 1}}, s: up, action: place},
		{name: "placement of an older generation asked", i: instance(cluster.Pending, active, ""), m: memory{waiting: now, last: command{action: place, generation: 2, sent: now}}, s: up, action: place},
		{name: "no room: reason", i: instance(cluster.Pending, active, ""), m: memory{waiting: now, refusal: "full", refusedAt: now}, s: up, action: mark, state: cluster.Pending, reason: "full"},
		{name: "no room ever", i: instance(cluster.Pending, active, ""), m: memory{waiting: now, refusal: "too big", permanent: true}, s: up, action: mark, state: cluster.Failed, reason: "too big"},
		{name: "no room for long", i: instance(cluster.Pending, active, ""), m: memory{waiting: ago(30 * time.Second), refusal: "full", refusedAt: now}, s: up, action: mark, state: cluster.Failed, reason: "full"},
		{name: "stop before it has a node", i: instance(cluster.Pending, stopped, ""), s: up, action: mark, state: cluster.Stopped},
		{name: "refused by its node", i: instance(cluster.Pending, active, node), s: up, action: withdraw},
		{name: "refused by a node that is lost", i: instance(cluster.Pending, active, node), s: longLost},

		{name: "network ready", i: instance(cluster.Scheduled, active, node), m: memory{isolated: now}, s: ready, action: start},
		{name: "network not ready", i: instance(cluster.Scheduled, active, node), m: memory{isolated: ago(time.Second)}, s: up, wake: in(59 * time.Second)},
		{name: "network not ready for a reason", i: instance(cluster.Scheduled, active, node), m: memory{isolated: ago(time.Second)}, s: surroundings{linked: true, obstacle: "no DHCP"}, wake: in(4 * time.Second)},
		{name: "network not ready for long", i: instance(cluster.Scheduled, active, node), m: memory{isolated: ago(6 * time.Second)}, s: surroundings{linked: true, obstacle: "no DHCP"}, action: mark, state: cluster.Scheduled, reason: "no DHCP"},
		{name: "network never ready", i: instance(cluster.Scheduled, active, node), m: memory{isolated: ago(time.Minute)}, s: surroundings{linked: true, obstacle: "no DHCP"}, action: mark, state: cluster.Failed, reason: "no DHCP"},
		{name: "network never ready without a link", i: instance(cluster.Scheduled, active, node), m: memory{isolated: ago(time.Minute)}, wake: now},
		{name: "start sent", i: instance(cluster.Scheduled, active, node), m: sent(start, time.Second, 1), s: ready, wake: in(3 * time.Second)},
		{name: "start unanswered", i: instance(cluster.Scheduled, active, node), m: sent(start, 4*time.Second, 1), s: ready, action: question},
		{name: "start whose answer may wait", i: instance(cluster.Scheduled, active, node), m: sent(start, 4*time.Second, 1), s: surroundings{linked: true, ready: true, behind: time.Second}, wake: now},
		{name: "start unanswered, its node asked", i: instance(cluster.Scheduled, active, node), m: sent(start, 7*time.Second, 1), s: asked(ago(3*time.Second), 1), wake: in(2 * time.Second)},
		{name: "start unanswered, its node asked in vain", i: instance(cluster.Scheduled, active, node), m: sent(start, 9*time.Second, 1), s: asked(ago(5*time.Second), 1), action: question},
		{name: "start unanswered, its node asked long ago", i: instance(cluster.Scheduled, active, node), m: sent(start, time.Second, 1), s: asked(ago(time.Hour), 2), wake: in(3 * time.Second)},
		{name: "start unanswered, its node asked often", i: instance(cluster.Scheduled, active, node), m: sent(start, time.Minute, 1), s: asked(ago(10*time.Second), 3), action: mark, state: cluster.Scheduled, reason: "has not answered"},
		{name: "start lost", i: instance(cluster.Scheduled, active, node), m: gone(sent(start, 5*time.Second, 1)), s: ready, action: start},
		{name: "start lost just now", i: instance(cluster.Scheduled, active, node), m: gone(sent(start, 4*time.Second, 1)), s: ready, wake: in(time.Second)},
		{name: "start lost again", i: instance(cluster.Scheduled, active, node), m: gone(sent(start, 6*time.Second, 2)), s: ready, wake: in(4 * time.Second)},
		{name: "start lost again and again", i: instance(cluster.Scheduled, active, node), m: gone(sent(start, 15*time.Second, 3)), s: ready, action: mark, state: cluster.Scheduled, reason: "has not answered"},
		{name: "stop before it was started", i: instance(cluster.Scheduled, stopped, node), s: up, action: mark, state: cluster.Stopping},
		{name: "node lost before the start", i: instance(cluster.Scheduled, active, node), m: memory{isolated: now}, s: lost, wake: in(20 * time.Second)},

		{name: "starting", i: instance(cluster.Starting, active, node), m: sent(start, time.Second, 1), s: up, wake: in(14 * time.Second)},
		{name: "starting for long", i: instance(cluster.Starting, active, node), m: sent(start, 15*time.Second, 1), s: up, action: question},
		{name: "starting for long, and accepted late", i: instance(cluster.Starting, active, node), m: heard(sent(start, 15*time.Second, 1), ago(4*time.Second)), s: up, wake: in(11 * time.Second)},
		{name: "starting for long, and its node does not answer", i: instance(cluster.Starting, active, node), m: sent(start, time.Minute, 1), s: asked(ago(10*time.Second), 3), action: question},
		{name: "starting, to be told again at once", i: instance(cluster.Starting, active, node), m: memory{last: command{action: start, generation: 3, node: node, tries: 1, heard: now}}, s: up, action: start},
		{name: "starting, after a restart of the controller", i: instance(cluster.Starting, active, node), s: unheard, action: start},
		{name: "starting on a lost node", i: instance(cluster.Starting, active, node), m: sent(start, time.Minute, 1), s: lost, wake: in(20 * time.Second)},
		{name: "active", i: instance(cluster.Active, active, node), s: up},
		{name: "active, node lost", i: instance(cluster.Active, active, node), s: lost, wake: in(20 * time.Second)},
		{name: "active, node lost for long", i: instance(cluster.Active, active, node), s: longLost, action: mark, state: cluster.Missing, reason: "has not been heard of since 2030-01-01T11:59:00Z"},
		{name: "active, link and node lost", i: instance(cluster.Active, active, node), s: surroundings{lost: ago(time.Hour)}},
		{name: "to be stopped", i: instance(cluster.Active, stopped, node), s: up, action: mark, state: cluster.Stopping},
		{name: "stopping", i: instance(cluster.Stopping, stopped, node), s: up, action: stop},
		{name: "stop unanswered", i: instance(cluster.Stopping, stopped, node), m: sent(stop, 4*time.Second, 1), s: up, action: question},
		{name: "stop accepted", i: instance(cluster.Stopping, stopped, node), m: heard(sent(stop, 6*time.Second, 1), ago(5*time.Second)), s: up, action: question},
		{name: "stop accepted, within its grace", i: graceful, m: heard(sent(stop, 6*time.Second, 1), ago(5*time.Second)), s: up, wake: in(30 * time.Second)},
		{name: "stop lost", i: instance(cluster.Stopping, stopped, node), m: gone(sent(stop, 5*time.Second, 1)), s: up, action: stop},
		{name: "stop unanswered, its node asked often", i: instance(cluster.Stopping, stopped, node), m: sent(stop, time.Minute, 1), s: asked(ago(10*time.Second), 3), action: mark, state: cluster.Stopping, reason: "the command to stop"},
		{name: "stopping, node lost for long", i: instance(cluster.Stopping, stopped, node), s: longLost, action: mark, state: cluster.Missing},
		{name: "missing", i: instance(cluster.Missing, active, node), s: longLost},
		{name: "missing and its node is back", i: instance(cluster.Missing, active, node), s: up, action: inquire},

		{name: "stopped", i: instance(cluster.Stopped, stopped, node), s: up},
		{name: "stopped, node lost", i: instance(cluster.Stopped, stopped, node), s: longLost},
		{name: "exited", i: instance(cluster.Exited, active, node), s: up},
		{name: "failed", i: instance(cluster.Failed, active, node), s: up},
		{name: "failed CNCI", i: cnci, s: up, action: revive},
		{name: "CNCI that has just failed", i: freshCNCI, s: up, wake: in(4 * time.Second)},
		{name: "CNCI that has failed again and again", i: freshCNCI, m: memory{revivals: 9}, s: up, wake: in(79 * time.Second)},

		{name: "delete, no node", i: instance(cluster.Deleting, deleted, ""), action: forget},
		{name: "delete", i: instance(cluster.Deleting, deleted, node), s: up, action: withdraw},
		{name: "delete on a node not yet heard of", i: instance(cluster.Deleting, deleted, node), s: unheard, action: withdraw},
		{name: "delete sent", i: instance(cluster.Deleting, deleted, node), m: sent(withdraw, time.Second, 1), s: up, wake: in(3 * time.Second)},
		{name: "delete unanswered", i: instance(cluster.Deleting, deleted, node), m: sent(withdraw, 4*time.Second, 1), s: up, action: question},
		{name: "delete accepted", i: instance(cluster.Deleting, deleted, node), m: heard(sent(withdraw, 6*time.Second, 1), ago(5*time.Second)), s: up, wake: in(10 * time.Second)},
		{name: "delete lost", i: instance(cluster.Deleting, deleted, node), m: gone(sent(withdraw, 5*time.Second, 1)), s: up, action: withdraw},
		{name: "delete lost just now", i: instance(cluster.Deleting, deleted, node), m: gone(sent(withdraw, 4*time.Second, 1)), s: up, wake: in(time.Second)},
		{name: "delete, node lost", i: instance(cluster.Deleting, deleted, node), s: lost, wake: in(20 * time.Second)},
		{name: "delete, node lost for long", i: instance(cluster.Deleting, deleted, node), s: longLost, action: mark, state: cluster.Deleting, reason: "when the node is back"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := decide(test.i, test.m, test.s, timing, now)
			if !strings.Contains(got.reason, test.reason) {
				t.Errorf("the reason is %q, want %q", got.reason, test.reason)
			}
			got.reason = ""
			want := decision{action: test.action, state: test.state, wake: test.wake}
			if diff := cmp.Diff(want, got, cmp.AllowUnexported(decision{})); diff != "" {
				t.Error("(-want +got):", diff)
			}
			if got.action == mark && !test.i.State.May(got.state) {
				t.Errorf("%s may not become %s", test.i.State, got.state)
			}
		})
	}
}

func TestTimingScales(t *testing.T) {
	got := Timing{Scale: 3, Queue: 10 * time.Second}.withDefaults()
	if got.Queue != 30*time.Second || got.Answer != 15*time.Second || got.CNCIIdle != 15*time.Minute {
		t.Errorf("got %+v", got)
	}
}
