package simulation

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/chaostest"
)

// Whatever dies, freezes or is parted from the others while users and the operator do what they do: in the end everything is as wanted,
// nothing is lost, nothing is left, the books agree at every moment, and no instance ever had two live copies.
//
// CIAO_CHAOS_ROUNDS and CIAO_CHAOS_SEED make it longer or different, CIAO_CHAOS_LOG names a file for the daemons' logs.
func TestChaos(t *testing.T) {
	rounds, seed := setting(t, "CIAO_CHAOS_ROUNDS", 100), setting(t, "CIAO_CHAOS_SEED", 1)
	if testing.Short() {
		rounds = min(rounds, 20)
	}
	t.Logf("%d rounds with seed %d", rounds, seed)
	f := newFleet(t, 2, 3, uint64(seed))
	c := newChaos(f, uint64(seed))
	f.settle()
	for n := range rounds {
		c.round(n)
		if n%roundsTogether == roundsTogether-1 {
			c.reckon()
		}
		if t.Failed() {
			t.Fatalf("in round %d with seed %d", n, seed)
		}
	}
	c.reckon()
	c.users.deleteAll()
	f.settle()
	c.empty()
	t.Logf("faults: %v", c.faults)
	t.Logf("requests: %v", c.users.counts)
	t.Logf("%d live copies of instances", f.history.Copies())
}

// roundsTogether is after how many rounds everything is healed and looked at.
const roundsTogether = 5

func setting(t *testing.T, name string, usual int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return usual
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("%s is %q: give a whole number from 1", name, text)
	}
	return n
}

// settle waits until everything is as wanted, and lets nothing pass that is wrong at any moment.
func (f *fleet) settle() {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.ctx, f.tolerance)
	defer cancel()
	if err := await(ctx, func() (bool, error) { return f.unsettled() == nil, f.history.Check() }); err != nil {
		f.t.Errorf("%v; not as wanted: %v", err, f.unsettled())
	}
	l, err := f.ledger()
	if err != nil {
		f.t.Fatal(err)
	}
	f.must("the books", l.Check())
	if f.t.Failed() {
		f.t.FailNow()
	}
}

// chaos is what happens to a fleet.
type chaos struct {
	*fleet
	random *rand.Rand // of the faults; the users have their own
	users  *users
	heals  map[string]func() // by what they heal: the faults in force
	faults map[string]int    // how often each struck
}

func newChaos(f *fleet, seed uint64) *chaos {
	return &chaos{
		fleet: f, random: rand.New(rand.NewPCG(seed, 1)), users: newUsers(f, rand.New(rand.NewPCG(seed, 2))),
		heals: map[string]func(){}, faults: map[string]int{},
	}
}

// round has something fail in the midst of requests. What failed may stay so for some rounds.
func (c *chaos) round(n int) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		for k := range 2 + c.users.random.IntN(4) {
			c.users.act(fmt.Sprintf("r%d-%d", n, k))
		}
	}()
	c.pause(40 * time.Millisecond)
	what := c.strike()
	<-done
	c.pause(250 * time.Millisecond)
	if heal := c.heals[what]; heal != nil && c.random.IntN(3) > 0 {
		delete(c.heals, what)
		heal()
	}
}

// pause lets up to so much time pass: when a fault strikes is a part of the fault.
func (c *chaos) pause(most time.Duration) { time.Sleep(time.Duration(c.random.Int64N(int64(most)))) }

// strike begins a fault on something that has none, and says what heals under.
func (c *chaos) strike() string {
	m := c.machines[c.random.IntN(len(c.machines))]
	worker := c.machines[2+c.random.IntN(len(c.machines)-2)]
	w := c.wires()[c.random.IntN(len(c.machines)+1)]
	var name, on string
	var begin, heal func()
	switch c.random.IntN(10) {
	case 0:
		name, on, begin, heal = "kill the controller", "controller", c.killController, func() { c.wire.heal(); c.startController() }
	case 1:
		name, on, begin, heal = "kill the scheduler", "scheduler", c.killScheduler, c.startScheduler
	case 2, 3:
		name, on, begin = "kill a launcher", m.String(), func() { c.killLauncher(m) }
		heal = func() { m.wire.heal(); c.startLauncher(m) }
	case 4:
		name, on, begin, heal = "freeze a connection", "wires", w.freeze, w.thaw
	case 5:
		name, on, begin, heal = "part a node from the others", m.String(), m.wire.block, m.wire.heal
	case 6:
		name, on, begin, heal = "freeze all connections", "wires", c.freezeAll, c.thawAll
	case 7:
		name, on, begin, heal = "kill an engine", "engine of "+worker.String(), worker.engine.Interrupt, func() {}
	case 8:
		name, on, begin, heal = "freeze an engine", "engine of "+worker.String(), worker.engine.Freeze, worker.engine.Thaw
	case 9:
		// The last one, which nobody evacuates: a machine that is replaced while it is evacuated refuses what it had before, and the
		// controller takes that for a failure.
		last := c.machines[len(c.machines)-1]
		name, on, begin = "lose a machine", last.String(), func() { c.lose(last) }
		heal = func() { c.replace(last) }
	}
	if c.heals[on] != nil {
		return ""
	}
	c.faults[name]++
	c.heals[on] = heal
	begin()
	return on
}

// lose takes a machine away with all that it had.
func (c *chaos) lose(m *machine) {
	c.killLauncher(m)
	m.engine.Interrupt()
	c.must("what a lost machine had", os.RemoveAll(c.directory(m)))
}

// replace sets up another machine in the place of a lost one. When the cluster can notice that one is lost, the operator may wait for that
// and give up what it had; else its successor says that it has nothing.
func (c *chaos) replace(m *machine) {
	if c.heals["controller"] == nil && c.heals["scheduler"] == nil && c.heals["wires"] == nil && c.random.IntN(2) == 0 {
		c.users.insist("give up", func(ctx context.Context, p *presence) error {
			_, err := p.EvacuateNode(ctx, m.id.String(), true)
			return err
		})
	}
	c.equip(m)
	m.wire.heal()
	c.startLauncher(m)
}

func (c *chaos) freezeAll() {
	for _, w := range c.wires() {
		w.freeze()
	}
}

func (c *chaos) thawAll() {
	for _, w := range c.wires() {
		w.thaw()
	}
}

// reckon heals everything, waits until all is as wanted, and compares it with what the users know.
func (c *chaos) reckon() {
	c.t.Helper()
	for on, heal := range c.heals {
		delete(c.heals, on)
		heal()
	}
	c.users.restoreNodes()
	c.settle()
	c.users.compare()
}

// empty wants that nothing is left of what was deleted: neither rows nor anything on a machine, which settle compares with them.
func (c *chaos) empty() {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.ctx, c.tolerance)
	defer cancel()
	var l *chaostest.Ledger
	err := await(ctx, func() (done bool, err error) {
		l, err = c.ledger()
		return err == nil && len(l.Instances)+len(l.Folded)+len(l.Subnets) == 0, err
	})
	if err != nil {
		c.t.Fatalf("not everything is gone: %v; instances %v, subnets %v", err, l.Instances, l.Subnets)
	}
	for tenant, usage := range l.Usage {
		if usage != (cluster.Usage{}) {
			c.t.Errorf("tenant %s has nothing and uses %+v", tenant, usage)
		}
	}
	c.settle()
}
