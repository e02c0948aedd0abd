package launcher_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/driver"
	"github.com/ciaocloud/ciao/cluster/launcher"
	"github.com/ciaocloud/ciao/cluster/payload"
	"github.com/ciaocloud/ciao/ssntp"
)

// From a request for a node to the last word on the instance, over real connections.
func TestLife(t *testing.T) {
	w := newWorld(t)
	n := w.node()
	n.run()
	n.ready()
	s := newStart(1)

	w.send(ssntp.Place, "", payload.Place{Requests: []payload.PlacementRequest{request(s)}})
	w.eventually("a decision", func() bool { return w.placed[s.Instance].Node == n.id.String() })

	w.send(ssntp.Start, n.id.String(), s)
	w.becomes(s.Instance, cluster.Active)
	if n.network.ports() != 1 {
		t.Errorf("an active instance has %d ports", n.network.ports())
	}
	w.send(ssntp.Stop, n.id.String(), payload.Stop{Instance: s.Instance, Generation: 1})
	w.becomes(s.Instance, cluster.Stopped)

	s.Generation = 2
	w.send(ssntp.Start, n.id.String(), s)
	w.becomes(s.Instance, cluster.Active)
	if status := n.driver.read(s.Instance); status.Generation != 2 {
		t.Errorf("carrier is %+v, want generation 2", status)
	}

	w.send(ssntp.Delete, n.id.String(), payload.Delete{Instance: s.Instance, Generation: 2})
	w.becomes(s.Instance, cluster.Gone)
	if left := n.driver.all(); len(left) > 0 || len(n.instances()) > 0 || n.network.ports() > 0 {
		t.Errorf("left: carriers %v, directories %v, %d ports", left, n.instances(), n.network.ports())
	}
	want := []cluster.State{
		cluster.Starting, cluster.Active, cluster.Stopping, cluster.Stopped,
		cluster.Starting, cluster.Active, cluster.Deleting, cluster.Gone,
	}
	w.mu.Lock()
	history := slices.Clone(w.history[s.Instance])
	w.mu.Unlock()
	// A state that is over before it could be sent is left out.
	passing := []cluster.State{cluster.Starting, cluster.Stopping, cluster.Deleting}
	rest := want
	for _, state := range history {
		at := slices.Index(rest, state)
		if at < 0 || slices.ContainsFunc(rest[:at], func(left cluster.State) bool { return !slices.Contains(passing, left) }) {
			t.Fatalf("states are %v, want %v", history, want)
		}
		rest = rest[at+1:]
	}
	if len(rest) > 0 {
		t.Errorf("states are %v, want %v", history, want)
	}
}

func TestInventoryComesBeforeReady(t *testing.T) {
	w := newWorld(t)
	n := w.node()
	n.run()
	n.ready()
	w.mu.Lock()
	defer w.mu.Unlock()
	inventory, ready := slices.Index(w.operands, ssntp.Inventory), slices.Index(w.operands, ssntp.Ready)
	if inventory < 0 || inventory > ready {
		t.Errorf("operands are %v", w.operands)
	}
}

func TestCommandsAreIdempotent(t *testing.T) {
	w := newWorld(t)
	n := w.node()
	n.run()
	s := newStart(3)
	w.send(ssntp.Start, n.id.String(), s)
	w.becomes(s.Instance, cluster.Active)
	creates := n.driver.called("create")

	// A repeated and a late command change nothing, and are answered.
	for _, generation := range []uint64{3, 2} {
		w.mu.Lock()
		delete(w.states, s.Instance)
		w.mu.Unlock()
		again := s
		again.Generation = generation
		w.send(ssntp.Start, n.id.String(), again)
		if report := w.becomes(s.Instance, cluster.Active); report.Generation != 3 {
			t.Errorf("start of generation %d is answered with %+v", generation, report)
		}
	}
	w.mu.Lock()
	delete(w.states, s.Instance)
	w.mu.Unlock()
	w.send(ssntp.Stop, n.id.String(), payload.Stop{Instance: s.Instance, Generation: 2})
	w.becomes(s.Instance, cluster.Active)
	if n.driver.called("create") != creates {
		t.Errorf("repeated starts created it %d times", n.driver.called("create"))
	}

	w.send(ssntp.Delete, n.id.String(), payload.Delete{Instance: s.Instance, Generation: 3})
	w.becomes(s.Instance, cluster.Gone)
	w.mu.Lock()
	delete(w.states, s.Instance)
	w.mu.Unlock()
	w.send(ssntp.Start, n.id.String(), s) // overtaken by its delete
	w.becomes(s.Instance, cluster.Gone)
	stranger := uuid.NewString()
	w.send(ssntp.Delete, n.id.String(), payload.Delete{Instance: stranger, Generation: 1})
	w.becomes(stranger, cluster.Gone)
	if left := n.driver.all(); len(left) > 0 {
		t.Errorf("carriers %v", left)
	}
}

func TestFailedStart(t *testing.T) {
	w := newWorld(t)
	n := w.node()
	s := newStart(1)
	n.driver.broken[s.Name] = fmt.Errorf("%w: pull access denied for test", cluster.ErrNotFound)
	n.run()
	w.send(ssntp.Start, n.id.String(), s)
	report := w.becomes(s.Instance, cluster.Failed)
	if !strings.Contains(report.Reason, "pull access denied") || report.Retry || report.Resources != (cluster.Resources{}) {
		t.Errorf("report is %+v", report)
	}
	n.stop()
	delete(n.driver.broken, s.Name)
	n.run() // a restart does not try it again
	if report := w.becomes(s.Instance, cluster.Failed); !strings.Contains(report.Reason, "pull access denied") {
		t.Errorf("after a restart the report is %+v", report)
	}
	s.Generation = 2
	w.send(ssntp.Start, n.id.String(), s)
	w.becomes(s.Instance, cluster.Active)
}

func TestAdmission(t *testing.T) {
	w := newWorld(t)
	n := w.node()
	n.run()
	large := newStart(1)
	large.Spec.Requirements.MemoryMiB = 8000
	w.send(ssntp.Start, n.id.String(), large)
	second := newStart(1)
	second.Spec.Requirements.MemoryMiB = 193
	w.send(ssntp.Start, n.id.String(), second)
	if report := w.becomes(second.Instance, cluster.Failed); !report.Retry || !strings.Contains(report.Reason, "192 MiB") {
		t.Errorf("what does not fit is answered with %+v", report)
	}
	for name, change := range map[string]func(*payload.Start){
		"kind":    func(s *payload.Start) { s.Kind = cluster.KindVM },
		"mac":     func(s *payload.Start) { s.Network.MAC = "nonsense" },
		"address": func(s *payload.Start) { s.Network.Addresses = nil },
		"subnet":  func(s *payload.Start) { s.Network.Subnet.Key = 1 << 24 },
	} {
		s := newStart(1)
		change(&s)
		w.send(ssntp.Start, n.id.String(), s)
		if report := w.becomes(s.Instance, cluster.Failed); report.Reason == "" {
			t.Errorf("%s: %+v", name, report)
		}
	}
	w.becomes(large.Instance, cluster.Active)
	w.send(ssntp.Delete, n.id.String(), payload.Delete{Instance: large.Instance, Generation: 1})
	w.becomes(large.Instance, cluster.Gone)
	w.send(ssntp.Start, n.id.String(), second)
	w.becomes(second.Instance, cluster.Active)
}

// Fifty at once: 50 vCPUs on two processors, bounded in how many start together, one Apply for many ports.
func TestFifty(t *testing.T) {
	w := newWorld(t)
	n := w.node()
	n.driver.pace = 10 * time.Millisecond
	n.config = func(c *launcher.Config) {
		c.MaxParallelStarts = 5
		c.Overcommit = cluster.Overcommit{CPU: 32, Memory: 1}
	}
	n.run()
	n.ready()
	starts := make([]payload.Start, 50)
	for i := range starts {
		starts[i] = newStart(1)
		w.send(ssntp.Start, n.id.String(), starts[i])
	}
	for _, s := range starts {
		w.becomes(s.Instance, cluster.Active)
	}
	if n.driver.most > 5 {
		t.Errorf("%d creates and starts at one time, want at most 5", n.driver.most)
	}
	t.Logf("50 ports in %d Apply", n.network.calls)
	w.send(ssntp.RequestInventory, n.id.String(), struct{}{})
	w.eventually("an inventory of all", func() bool { return len(w.listed[len(w.listed)-1].Instances) == 50 })
	w.eventually("statistics", func() bool { return len(w.samples) > 0 && w.samples[len(w.samples)-1].Memory.TotalMiB > 0 })
}

// The node has the last word on groups, as on room: a failed instance, whose place another may have taken, is started again unasked.
func TestOneOfAGroupIsAdmitted(t *testing.T) {
	w := newWorld(t)
	n := w.node()
	n.run()
	member := func(tenant string) payload.Start {
		s := newStart(1)
		s.Tenant, s.Spec.Requirements.Spread = tenant, "db"
		return s
	}
	first, second, other := member("t"), member("t"), member("u")
	for _, s := range []payload.Start{first, second, other} { // one after the other, with no answer in between
		w.send(ssntp.Start, n.id.String(), s)
	}
	w.becomes(first.Instance, cluster.Active)
	w.becomes(other.Instance, cluster.Active)
	if report := w.becomes(second.Instance, cluster.Failed); !report.Retry || !strings.Contains(report.Reason, `group "db"`) || report.Spread != "" {
		t.Errorf("the second of the group is answered with %+v", report)
	}
	w.send(ssntp.Stop, n.id.String(), payload.Stop{Instance: first.Instance, Generation: 1})
	w.becomes(first.Instance, cluster.Stopped)
	second.Generation = 2
	w.send(ssntp.Start, n.id.String(), second)
	w.eventually("a second refusal", func() bool { return w.states[second.Instance].Generation == 2 })
	first.Generation = 2
	w.send(ssntp.Start, n.id.String(), first) // itself is no other
	w.becomes(first.Instance, cluster.Active)
	w.send(ssntp.Delete, n.id.String(), payload.Delete{Instance: first.Instance, Generation: 2})
	w.becomes(first.Instance, cluster.Gone)
	second.Generation = 3
	w.send(ssntp.Start, n.id.String(), second)
	w.becomes(second.Instance, cluster.Active)
}

// What the launcher finds when it comes back, and what it makes of it.
func TestRestart(t *testing.T) {
	w := newWorld(t)
	n := w.node()
	n.run()
	runs, crashed, exits, stopped := newStart(1), newStart(1), newStart(1), newStart(1)
	runs.Spec.Requirements.Spread = "db"
	for _, s := range []payload.Start{runs, crashed, exits, stopped} {
		w.send(ssntp.Start, n.id.String(), s)
		w.becomes(s.Instance, cluster.Active)
	}
	w.send(ssntp.Stop, n.id.String(), payload.Stop{Instance: stopped.Instance, Generation: 1})
	w.becomes(stopped.Instance, cluster.Stopped)
	n.stop()

	began := n.driver.read(runs.Instance).Started
	orphan := uuid.NewString()
	for _, err := range []error{
		n.driver.end(crashed.Instance, 137, true),
		n.driver.end(exits.Instance, 3, false),
		n.driver.write(driver.Status{ID: orphan, Generation: 1, Condition: driver.Running}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	w.mu.Lock()
	clear(w.states)
	w.mu.Unlock()
	n.run()
	if report := w.becomes(runs.Instance, cluster.Active); report.Tenant != "t" || report.Spread != "db" {
		t.Errorf("report is %+v, want group db of tenant t", report)
	}
	w.becomes(crashed.Instance, cluster.Active)
	w.becomes(stopped.Instance, cluster.Stopped)
	w.becomes(orphan, cluster.Gone)
	if report := w.becomes(exits.Instance, cluster.Exited); report.ExitCode == nil || *report.ExitCode != 3 {
		t.Errorf("report is %+v, want exit code 3", report)
	}
	if now := n.driver.read(runs.Instance).Started; !now.Equal(began) {
		t.Errorf("what ran was started again")
	}
	if status := n.driver.read(crashed.Instance); status.Condition != driver.Running {
		t.Errorf("what was interrupted is %+v", status)
	}
	if n.network.ports() != 4 {
		t.Errorf("%d ports, want those of 4 instances", n.network.ports())
	}
}

func TestEngineDown(t *testing.T) {
	w := newWorld(t)
	n := w.node()
	n.run()
	n.ready()
	s, late := newStart(1), newStart(1)
	w.send(ssntp.Start, n.id.String(), s)
	w.becomes(s.Instance, cluster.Active)
	n.driver.setDown(true)
	w.send(ssntp.Start, n.id.String(), late)
	w.becomes(late.Instance, cluster.Starting) // so that the node has it before it stops
	w.eventually("a Full that says which engine is down", func() bool {
		return w.full.Impaired && strings.Contains(w.full.Reason, "instances of kind container does not answer: ") && strings.Contains(w.full.Reason, "the engine does not answer")
	})
	if state := w.state(s.Instance).State; state != cluster.Active {
		t.Errorf("while the engine is down its instance is %s", state)
	}
	n.stop()
	n.run() // the engine is down at a start of the launcher, too
	if report := w.state(s.Instance); report.State != cluster.Active {
		t.Errorf("the inventory has it as %+v", report)
	}
	if err := n.driver.end(s.Instance, 137, true); err != nil {
		t.Fatal(err)
	}
	n.driver.setDown(false)
	w.becomes(late.Instance, cluster.Active)
	w.eventually("a restart of what was interrupted", func() bool { return n.driver.read(s.Instance).Condition == driver.Running })
	w.becomes(s.Instance, cluster.Active)
}

// A node that takes nothing new says whether it has no room or is not ready.
func TestFullSaysWhy(t *testing.T) {
	w := newWorld(t)
	n := w.node()
	n.config = func(c *launcher.Config) { c.Capacity.MemoryMiB = 130 }
	n.network.breaks(errors.New("no answer from the underlay's DHCP"))
	n.run()
	w.eventually("a Full for want of a network", func() bool {
		return w.full.Impaired && strings.Contains(w.full.Reason, "its network cannot be made: no answer from the underlay's DHCP")
	})
	n.network.breaks(nil)
	n.ready()
	s := newStart(1)
	w.send(ssntp.Start, n.id.String(), s)
	w.becomes(s.Instance, cluster.Active)
	w.eventually("a Full for want of room", func() bool {
		return !w.full.Impaired && strings.Contains(w.full.Reason, "2 MiB of memory are left to promise, and the smallest instance asks for 6")
	})
	w.change(func() { w.operands = nil })
	w.send(ssntp.Delete, n.id.String(), payload.Delete{Instance: s.Instance, Generation: 1})
	n.ready()
	n.driver.fills("its disk is full: free some space")
	w.eventually("a Full for want of room on a disk", func() bool { return w.full.Impaired && w.full.Reason == "its disk is full: free some space" })
	w.change(func() { w.operands = nil })
	n.driver.fills("")
	n.ready()
}

// A start that is deleted before it came far leaves nothing.
func TestOvertakenStart(t *testing.T) {
	w := newWorld(t)
	n := w.node()
	n.driver.pace = 5 * time.Millisecond
	n.run()
	for range 20 {
		s := newStart(1)
		w.send(ssntp.Start, n.id.String(), s)
		w.send(ssntp.Delete, n.id.String(), payload.Delete{Instance: s.Instance, Generation: 1})
		w.becomes(s.Instance, cluster.Gone)
	}
	if left := n.driver.all(); len(left) > 0 || len(n.instances()) > 0 {
		t.Errorf("left: carriers %v, directories %v", left, n.instances())
	}
}

func TestOneLauncherForADirectory(t *testing.T) {
	w := newWorld(t)
	n := w.node()
	n.run()
	n.ready()
	second, err := launcher.New(launcher.Config{
		Link: w.node().link(), Directory: n.dir + "/launcher", Drivers: n.drivers, Network: n.network,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "another launcher") {
		t.Errorf("a second launcher on the directory: %v", err)
	}
}

// mute is an engine that never says what it carries.
type mute struct {
	driver.Driver
	asked chan struct{}
}

func (m mute) List(ctx context.Context) ([]driver.Status, error) {
	close(m.asked)
	<-ctx.Done()
	return nil, ctx.Err()
}

// A launcher that is asked to end while it waits for its engine ends without an error.
func TestEndedWhileEngineIsAsked(t *testing.T) {
	n := newWorld(t).node()
	engine := mute{n.driver, make(chan struct{})}
	n.drivers = []driver.Driver{engine}
	n.runWith(n.link())
	<-engine.asked
	n.stop()
}
