package launcher

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/driver"
)

// step is an event, with the operation, state and wait that must follow.
type step struct {
	event func(m *machine) action
	run   operation
	state cluster.State
	other action // of cancel and wait
}

func wanted(want cluster.Desired, generation uint64) func(*machine) action {
	return func(m *machine) action { return m.command(want, generation) }
}

// ok ends the operation under way well.
func ok(m *machine) action { return m.ended(outcome{operation: m.running, generation: m.generation}) }

func late(generation uint64) func(*machine) action {
	return func(m *machine) action { return m.ended(outcome{operation: m.running, generation: generation}) }
}

func failed(class failure, reason string) func(*machine) action {
	return func(m *machine) action {
		return m.ended(outcome{operation: m.running, generation: m.generation, failed: class, reason: reason})
	}
}

func found(status driver.Status) func(*machine) action {
	return func(m *machine) action {
		return m.ended(outcome{operation: m.running, generation: m.generation, status: status})
	}
}

func changed(m *machine) action { return m.changed() }

func passed(m *machine) action { return m.passed() }

func revived(m *machine) action { return m.revived() }

func begins(m *machine) action { return m.next() }

var (
	code     = 3
	running1 = driver.Status{Condition: driver.Running, Generation: 1}
	running2 = driver.Status{Condition: driver.Running, Generation: 2}
	exited1  = driver.Status{Condition: driver.Ended, Generation: 1, ExitCode: &code}
	crashed1 = driver.Status{Condition: driver.Ended, Generation: 1, Interrupted: true}
	created1 = driver.Status{Condition: driver.Created, Generation: 1}
	nothing  = driver.Status{Condition: driver.Absent}
)

// newly is an instance that the node has just heard of; known is one after a restart whose carrier is yet to be asked for.
func newly() machine { return machine{carrier: nothing} }

func known(want cluster.Desired, settled cluster.State) func() machine {
	return func() machine { return machine{want: want, generation: 1, settled: settled} }
}

func with1(m func() machine, status driver.Status) func() machine {
	return func() machine {
		made := m()
		made.observe(status)
		return made
	}
}

func TestMachine(t *testing.T) {
	active := []step{
		{wanted(cluster.WantActive, 1), connect, cluster.Starting, action{}},
		{ok, create, cluster.Starting, action{}},
		{ok, start, cluster.Starting, action{}},
		{ok, idle, cluster.Active, action{}},
	}
	tests := map[string]struct {
		from  func() machine
		steps []step
	}{
		"start, stop, start again, delete": {newly, append(active[:4:4],
			step{wanted(cluster.WantStopped, 1), stop, cluster.Stopping, action{}},
			step{ok, idle, cluster.Stopped, action{}},
			step{wanted(cluster.WantActive, 2), connect, cluster.Starting, action{}},
			step{ok, create, cluster.Starting, action{}},
			step{ok, start, cluster.Starting, action{}},
			step{ok, idle, cluster.Active, action{}},
			step{wanted(cluster.WantDeleted, 2), remove, cluster.Deleting, action{}},
			step{ok, disconnect, cluster.Deleting, action{}},
			step{ok, forget, cluster.Deleting, action{}},
			step{ok, idle, cluster.Gone, action{}},
		)},
		"ends by itself": {newly, append(active[:4:4],
			step{changed, look, cluster.Active, action{}},
			step{found(exited1), idle, cluster.Exited, action{}},
			step{changed, look, cluster.Exited, action{}},
			step{found(nothing), idle, cluster.Exited, action{}}, // tidied away: it is not run again
			step{wanted(cluster.WantStopped, 1), idle, cluster.Stopped, action{}},
		)},
		"interrupted": {newly, append(active[:4:4],
			step{changed, look, cluster.Active, action{}},
			step{found(crashed1), connect, cluster.Starting, action{}},
			step{ok, create, cluster.Starting, action{}},
			step{ok, start, cluster.Starting, action{}},
			step{ok, idle, cluster.Active, action{}},
			step{changed, look, cluster.Active, action{}},
			step{found(crashed1), idle, cluster.Starting, action{wait: minBackoff}}, // again so soon
			step{passed, connect, cluster.Starting, action{}},
		)},
		"its carrier vanishes": {newly, append(active[:4:4],
			step{changed, look, cluster.Active, action{}},
			step{found(nothing), connect, cluster.Starting, action{}},
		)},
		"cannot be started": {newly, []step{
			{wanted(cluster.WantActive, 1), connect, cluster.Starting, action{}},
			{ok, create, cluster.Starting, action{}},
			{failed(refused, "no such image"), look, cluster.Failed, action{}},
			{found(running1), stop, cluster.Failed, action{}}, // what has failed does not run
			{ok, idle, cluster.Failed, action{}},
			{wanted(cluster.WantActive, 2), connect, cluster.Starting, action{}},
		}},
		"the engine is away during a start": {newly, []step{
			{wanted(cluster.WantActive, 1), connect, cluster.Starting, action{}},
			{ok, create, cluster.Starting, action{}},
			{ok, start, cluster.Starting, action{}},
			{failed(unavailable, "engine down"), idle, cluster.Starting, action{wait: minBackoff}},
			{changed, idle, cluster.Starting, action{}}, // shortens no back-off
			{passed, look, cluster.Starting, action{}},
			{failed(unavailable, "engine down"), idle, cluster.Starting, action{wait: minBackoff}},
			{revived, look, cluster.Starting, action{}},
			{found(running1), idle, cluster.Active, action{}}, // the start had come through
		}},
		"stopped in the middle of a start": {newly, []step{
			{wanted(cluster.WantActive, 1), connect, cluster.Starting, action{}},
			{ok, create, cluster.Starting, action{}},
			{wanted(cluster.WantStopped, 1), idle, cluster.Stopping, action{cancel: true}},
			{failed(unavailable, "cancelled"), look, cluster.Stopping, action{}},
			{found(running1), stop, cluster.Stopping, action{}},
			{ok, idle, cluster.Stopped, action{}},
		}},
		"deleted in the middle of a stop": {newly, append(active[:4:4],
			step{wanted(cluster.WantStopped, 1), stop, cluster.Stopping, action{}},
			step{wanted(cluster.WantDeleted, 1), idle, cluster.Deleting, action{cancel: true}},
			step{ok, remove, cluster.Deleting, action{}},
		)},
		"started anew in the middle of a start": {newly, []step{
			{wanted(cluster.WantActive, 1), connect, cluster.Starting, action{}},
			{ok, create, cluster.Starting, action{}},
			{wanted(cluster.WantActive, 2), idle, cluster.Starting, action{cancel: true}},
			{late(1), connect, cluster.Starting, action{}}, // it was too late to cancel it
			{ok, create, cluster.Starting, action{}},
		}},
		"started anew while it runs": {newly, append(active[:4:4],
			step{wanted(cluster.WantActive, 2), stop, cluster.Starting, action{}},
			step{ok, connect, cluster.Starting, action{}},
		)},
		"wanted again in the middle of a delete": {newly, append(active[:4:4],
			step{wanted(cluster.WantDeleted, 1), remove, cluster.Deleting, action{}},
			step{wanted(cluster.WantActive, 2), idle, cluster.Starting, action{}},
			step{late(1), connect, cluster.Starting, action{}},
		)},
		"a delete that does not work at once": {newly, append(active[:4:4],
			step{wanted(cluster.WantDeleted, 1), remove, cluster.Deleting, action{}},
			step{failed(refused, "busy"), idle, cluster.Deleting, action{wait: minBackoff}},
			step{passed, remove, cluster.Deleting, action{}},
			step{failed(refused, "busy"), idle, cluster.Deleting, action{wait: 2 * minBackoff}},
		)},
		"restart: it runs":                              {with1(known(cluster.WantActive, cluster.Active), running1), []step{{begins, idle, cluster.Active, action{}}}},
		"restart: it was interrupted":                   {with1(known(cluster.WantActive, cluster.Active), crashed1), []step{{begins, connect, cluster.Starting, action{}}}},
		"restart: it ended":                             {with1(known(cluster.WantActive, cluster.Active), exited1), []step{{begins, idle, cluster.Exited, action{}}}},
		"restart: it was being started":                 {with1(known(cluster.WantActive, ""), created1), []step{{begins, connect, cluster.Starting, action{}}}},
		"restart: nothing was done yet":                 {with1(known(cluster.WantActive, ""), nothing), []step{{begins, connect, cluster.Starting, action{}}}},
		"restart: the record is older than the carrier": {with1(known(cluster.WantActive, ""), running2), []step{{begins, idle, cluster.Active, action{}}}},
		"restart: a stop was not finished":              {with1(known(cluster.WantStopped, ""), running1), []step{{begins, stop, cluster.Stopping, action{}}}},
		"restart: a delete was not finished":            {with1(known(cluster.WantDeleted, ""), nothing), []step{{begins, remove, cluster.Deleting, action{}}}},
		"restart: the engine is down": {known(cluster.WantActive, cluster.Active), []step{
			{begins, look, cluster.Active, action{}},
			{failed(unavailable, "engine down"), idle, cluster.Active, action{wait: minBackoff}},
			{revived, look, cluster.Active, action{}},
			{found(crashed1), connect, cluster.Starting, action{}},
		}},
		"restart: the engine is down, it was stopped": {known(cluster.WantStopped, cluster.Stopped), []step{
			{begins, look, cluster.Stopped, action{}},
			{failed(unavailable, "engine down"), idle, cluster.Stopped, action{wait: minBackoff}},
		}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			m := test.from()
			for i, s := range test.steps {
				got := s.event(&m)
				want := s.other
				want.run = s.run
				if got != want || m.state() != s.state {
					t.Fatalf("step %d: action %+v, state %s; want %+v, %s; machine %+v", i, got, m.state(), want, s.state, m)
				}
			}
		})
	}
}

func TestStartGivesUp(t *testing.T) {
	m := newly()
	m.command(cluster.WantActive, 1)
	var waited time.Duration
	for range 10 * maxAttempts {
		if m.state() == cluster.Failed {
			break
		}
		switch m.running {
		case idle:
			m.passed()
		case look:
			found(nothing)(&m)
		default:
			waited += failed(unavailable, "the underlay is gone")(&m).wait
		}
	}
	if m.state() != cluster.Failed || m.reason() != "the underlay is gone" || waited < 4*time.Minute {
		t.Errorf("after %s it is %s: %q", waited, m.state(), m.reason())
	}
}

func TestNewer(t *testing.T) {
	order := []struct {
		want       cluster.Desired
		generation uint64
	}{
		{cluster.WantActive, 1}, {cluster.WantStopped, 1}, {cluster.WantDeleted, 1}, {cluster.WantActive, 2}, {cluster.WantStopped, 2},
	}
	for i, before := range order {
		for j, after := range order {
			m := machine{want: before.want, generation: before.generation}
			if got := m.newer(after.want, after.generation); got != (j > i) {
				t.Errorf("%v after %v is newer: %t", after, before, got)
			}
		}
	}
}

func TestMailboxKeepsWhatMatters(t *testing.T) {
	b := newMailbox()
	first, second := wish{want: cluster.WantActive, generation: 1, start: newRecipe(1)}, wish{want: cluster.WantActive, generation: 2, start: newRecipe(2)}
	stopped := wish{want: cluster.WantStopped, generation: 2}
	for _, m := range []mail{{wish: first}, {wish: second}, {changed: true}, {wish: stopped}, {wish: first}} {
		b.put(m)
	}
	wishes, rest := b.take()
	var got []cluster.Desired
	for _, w := range wishes {
		got = append(got, w.want)
	}
	if diff := cmp.Diff([]cluster.Desired{cluster.WantActive, cluster.WantStopped}, got); diff != "" || wishes[0].generation != 2 || !rest.changed {
		t.Errorf("wishes %+v, rest %+v", wishes, rest)
	}
	if wishes, rest = b.take(); len(wishes) > 0 || rest.changed {
		t.Errorf("left in the box: %+v, %+v", wishes, rest)
	}
}

// What the last try failed with is the reason for as long as the next one lasts, which may be many minutes.
func TestReasonOfAStartThatIsTriedAgain(t *testing.T) {
	m, crashed := newly(), crashed1
	crashed.Reason = "it was killed by signal 9"
	for i, s := range []struct {
		event func(*machine) action
		says  string
	}{
		{wanted(cluster.WantActive, 1), ""},
		{ok, ""},
		{failed(unavailable, "the registry is away"), "the registry is away"},
		{passed, "the registry is away"},
		{found(nothing), "the registry is away"},
		{ok, "the registry is away"},
		{ok, "the registry is away"},
		{failed(unavailable, "no room on the disk"), "no room on the disk"},
		{passed, "no room on the disk"},
		{failed(unavailable, "the engine is down"), "no room on the disk"}, // looking is no try
		{revived, "no room on the disk"},
		{found(nothing), "no room on the disk"},
		{ok, "no room on the disk"},
		{ok, "no room on the disk"},
		{ok, ""}, // active
		{changed, ""},
		{found(crashed), crashed.Reason},
		{ok, crashed.Reason},
		{wanted(cluster.WantActive, 2), ""},
	} {
		s.event(&m)
		if reason := m.reason(); !strings.Contains(reason, s.says) || (s.says == "") != (reason == "") {
			t.Fatalf("step %d: it is %s, and its reason is %q, want %q", i, m.state(), reason, s.says)
		}
	}
}

// What keeps an active instance from its work is its reason, as long as its carrier says so.
func TestReasonOfAnActiveInstance(t *testing.T) {
	m := &machine{}
	for _, event := range []func(*machine) action{wanted(cluster.WantActive, 1), found(nothing), ok, ok, ok} {
		event(m)
	}
	for _, words := range []string{"", "the disk is full", ""} {
		changed(m)
		status := running1
		status.Reason = words
		if a := found(status)(m); a.run != idle || m.state() != cluster.Active || m.reason() != words {
			t.Errorf("told %q: %+v, state %s, reason %q", words, a, m.state(), m.reason())
		}
	}
}
