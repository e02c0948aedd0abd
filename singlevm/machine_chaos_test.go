package singlevm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/api"
	"github.com/ciaocloud/ciao/cluster/chaostest"
	"github.com/ciaocloud/ciao/cluster/client"
	"github.com/ciaocloud/ciao/cluster/driver/container"
	"github.com/ciaocloud/ciao/cluster/launcher"
	"github.com/ciaocloud/ciao/cluster/network"
	"github.com/ciaocloud/ciao/cluster/network/netns"
	"github.com/ciaocloud/ciao/cluster/store/backup"
	"github.com/ciaocloud/ciao/singlevm/machinetest"
)

const (
	chaosNodes  = 3
	chaosRounds = 100
	chaosLimit  = 3 * time.Minute // for everything to become as it is wanted
	// chaosTogether is after how many rounds everything is healed and looked at.
	chaosTogether = 10
	lookPeriod    = 100 * time.Millisecond
)

// Whatever daemon is killed or frozen, whatever node is parted from the others, while users and the operator do what they do: in the end
// everything is as wanted, nothing is lost, nothing is left, the books agree at every moment, every backup is whole, and no instance ever
// had two live copies.
//
// CIAO_CHAOS_ROUNDS makes it longer, SEED another one.
func TestMachineChaos(t *testing.T) {
	m := newMachine(t)
	rounds, seed := chaosSetting(t), seed(t)
	m.must("setup", "--nodes", strconv.Itoa(chaosNodes))
	c := newChaos(m, seed)
	for done := 0; done < rounds; done += chaosTogether {
		began := time.Now()
		c.during(func() {
			for n := range min(chaosTogether, rounds-done) {
				c.round(done + n)
			}
		})
		struck := time.Since(began)
		c.reckon()
		t.Logf("rounds %d to %d: %.1f s, all as wanted after %.1f s more", done, min(done+chaosTogether, rounds)-1, struck.Seconds(), (time.Since(began) - struck).Seconds())
	}
	c.empty()
	t.Logf("faults: %v", c.faults)
	t.Logf("requests: %v", c.counts())
	t.Logf("%d live copies of instances were seen", c.history.Copies())
	m.cleanupAfterKills()
	m.restored("chaos")
}

func chaosSetting(t *testing.T) int {
	t.Helper()
	text := os.Getenv("CIAO_CHAOS_ROUNDS")
	if text == "" {
		return chaosRounds
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("CIAO_CHAOS_ROUNDS is %q: give a whole number from 1", text)
	}
	return n
}

// chaos is what happens to a cluster.
type chaos struct {
	*machine
	random   *rand.Rand // of the faults; each user has its own
	operator *client.Client
	nodes    map[string]node // by id
	users    []*chaosUser
	keeper   *chaosKeeper
	history  *chaostest.History
	broken   map[string]*breakage // by what is broken
	faults   map[string]int       // how often each struck
}

func newChaos(m *machine, seed uint64) *chaos {
	m.Helper()
	c := &chaos{
		machine: m, random: rand.New(rand.NewPCG(seed, 1)), operator: m.user(operatorName), nodes: make(map[string]node),
		history: chaostest.NewHistory(), broken: make(map[string]*breakage), faults: make(map[string]int),
	}
	for number := 1; number <= chaosNodes; number++ {
		n := node{layout{DefaultDirectory}, number}
		id, err := n.id()
		if err != nil {
			m.Fatal(err)
		}
		c.nodes[id] = n
	}
	for i, tenant := range []string{"blue", "blue", "green"} {
		c.users = append(c.users, newChaosUser(c, tenant, i, seed))
	}
	c.keeper = newChaosKeeper(c, seed)
	carriers := machinetest.NewCarriers(m, ClusterName)
	ctx, end := context.WithCancel(m.Context())
	var looking sync.WaitGroup
	looking.Go(func() { c.look(ctx, carriers) })
	m.Cleanup(func() { end(); looking.Wait() })
	return c
}

// look looks again and again at what lives, until ctx ends.
func (c *chaos) look(ctx context.Context, carriers *machinetest.Carriers) {
	for again := time.NewTicker(lookPeriod); ; {
		began := time.Now()
		live, err := carriers.Live()
		if err != nil {
			c.Errorf("look at the containers' processes: %v", err)
			return
		}
		c.history.Look(began, live)
		select {
		case <-ctx.Done():
			again.Stop()
			return
		case <-again.C:
		}
	}
}

// during has the users and the operator work until do has returned.
func (c *chaos) during(do func()) {
	ctx, end := context.WithCancel(c.Context())
	var working sync.WaitGroup
	defer working.Wait()
	defer end()
	for _, u := range c.users {
		working.Go(func() { u.work(ctx) })
	}
	working.Go(func() { c.keeper.work(ctx) })
	do()
}

// round has something fail; what failed may stay so for some rounds.
func (c *chaos) round(n int) {
	c.Helper()
	what := c.strike(n)
	pause(c.random, time.Second)
	if c.random.IntN(3) > 0 {
		c.heal(what)
	}
	pause(c.random, time.Second)
	if c.Failed() {
		c.Fatalf("in round %d\n%s", n, c.state())
	}
}

// pause lets up to so much time pass: when something happens is a part of the fault.
func pause(random *rand.Rand, most time.Duration) {
	<-time.After(time.Duration(random.Int64N(int64(most))))
}

// reckon heals everything, waits until all is as wanted, and compares it with what the users know.
func (c *chaos) reckon() {
	c.Helper()
	c.healAll()
	c.keeper.restoreNodes()
	l := c.settled()
	for _, u := range c.users {
		found := make(map[string]cluster.Instance)
		for i := range l.Visible {
			if u.owns(i) {
				found[i.ID] = i
			}
		}
		c.check("what "+u.stem+" was promised", u.wishes.Compare(found))
		u.certain()
	}
	c.check("the books", l.Check())
	c.check("the history of copies", c.history.Check())
	c.reachable(l)
}

func (c *chaos) check(what string, err error) {
	c.Helper()
	if err != nil {
		c.Fatalf("%s: %v\n%s", what, err, c.state())
	}
}

// state is all that is known of what went wrong.
func (c *chaos) state() string {
	ctx, cancel := context.WithTimeout(context.Background(), callLimit)
	defer cancel()
	return c.report(ctx, "scheduler", "controller", "launcher", "launcher-2", "launcher-3")
}

// settled waits until everything is as wanted, and says what that is.
func (c *chaos) settled() *chaostest.Ledger {
	c.Helper()
	ctx, cancel := context.WithTimeout(c.Context(), chaosLimit)
	defer cancel()
	for {
		l, err := c.ledger(ctx)
		if err == nil {
			err = c.unsettled(l)
		}
		if err == nil {
			return l
		}
		if wait := ctx.Err(); wait != nil {
			c.check("after "+chaosLimit.String()+" it is not as wanted", err)
		}
		<-time.After(100 * time.Millisecond)
	}
}

// ledger is what the store has now.
func (c *chaos) ledger(ctx context.Context) (*chaostest.Ledger, error) {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	var file bytes.Buffer
	if err := c.operator.Snapshot(ctx, &file); err != nil {
		return nil, err
	}
	r, err := backup.NewReader(&file)
	if err != nil {
		return nil, err
	}
	return chaostest.ReadLedger(r.Rows())
}

// lasting is the state that a wish leads to; what is wanted deleted is not there.
var lasting = map[cluster.Desired]cluster.State{cluster.WantActive: cluster.Active, cluster.WantStopped: cluster.Stopped}

// unsettled says what is not yet as it is wanted: nodes ready, instances as wanted, and on the machine exactly what the store says.
func (c *chaos) unsettled(l *chaostest.Ledger) error {
	var problems []error
	for id, n := range c.nodes {
		if known := l.Nodes[id]; known.State != cluster.NodeReady || known.Evacuated {
			problems = append(problems, fmt.Errorf("node %d is %s, evacuated: %t", n.number, known.State, known.Evacuated))
		}
		problems = append(problems, c.records(id, n, l))
	}
	if len(l.Folded) > 0 {
		problems = append(problems, fmt.Errorf("%d instances are still in batches", len(l.Folded)))
	}
	for _, i := range l.Instances {
		if i.State != lasting[i.Desired] {
			problems = append(problems, fmt.Errorf("%s is %s, wanted %s, generation %d, node %q: %s", i.Name, i.State, i.Desired, i.Generation, i.Node, i.Reason))
		}
	}
	return errors.Join(append(problems, c.containers(l), c.concentrators(l))...)
}

// containers compares the engine's own list with the store.
func (c *chaos) containers(l *chaostest.Ledger) error {
	out, err := exec.Command("docker", "ps", "-a", "--filter", "label="+container.LabelCluster+"="+ClusterName, "--format",
		fmt.Sprintf(`{{.Label %q}} {{.Label %q}} {{.State}}`, container.LabelInstance, container.LabelNode)).Output()
	if err != nil {
		return fmt.Errorf("list the containers: %w", err)
	}
	recorded, running := make(map[string]cluster.Instance), make(map[string]int)
	for i := range l.Visible {
		recorded[i.ID] = i
	}
	var problems []error
	for line := range strings.Lines(string(out)) {
		words := strings.Fields(line)
		if len(words) != 3 {
			return fmt.Errorf("what is this container: %s", line)
		}
		i := recorded[words[0]]
		if i.Node != words[1] {
			problems = append(problems, fmt.Errorf("a container of %s is %s on node %s, and recorded on %q", words[0], words[2], words[1], i.Node))
		}
		if words[2] == "running" {
			running[i.ID]++
		}
	}
	for id, i := range recorded {
		if want := map[bool]int{true: 1}[i.State == cluster.Active]; running[id] != want {
			problems = append(problems, fmt.Errorf("%s is %s and runs %d times", i.Name, i.State, running[id]))
		}
	}
	return errors.Join(problems...)
}

// concentrators compares the namespaces of CNCIs with the store.
func (c *chaos) concentrators(l *chaostest.Ledger) error {
	var want []string
	for _, i := range l.Instances {
		if i.Kind == cluster.KindCNCI && i.State == cluster.Active {
			want = append(want, netns.Path(network.ConcentratorNamespace(ClusterName, i.ID)))
		}
	}
	have, err := filepath.Glob(netns.Path("ciao-" + ClusterName + "-cnci-*"))
	slices.Sort(want)
	if err == nil && !slices.Equal(want, have) {
		err = fmt.Errorf("CNCIs have the namespaces %v, those recorded %v", have, want)
	}
	return err
}

// records compares the instances' directories on a node with the store.
func (c *chaos) records(id string, n node, l *chaostest.Ledger) error {
	entries, err := os.ReadDir(launcher.InstancesDirectory(n.directory()))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	var problems []error
	for _, entry := range entries {
		if !slices.ContainsFunc(l.Instances, func(i cluster.Instance) bool { return i.ID == entry.Name() && i.Node == id }) {
			problems = append(problems, fmt.Errorf("node %d has a directory of %s, which is not recorded there", n.number, entry.Name()))
		}
	}
	return errors.Join(problems...)
}

// reachable wants the active instances of each tenant to find one another by name and to reach one another.
func (c *chaos) reachable(l *chaostest.Ledger) {
	c.Helper()
	ctx, cancel := context.WithTimeout(c.Context(), chaosLimit)
	defer cancel()
	for _, tenant := range []string{"blue", "green"} {
		instances, err := c.operator.ForTenant(tenant).Instances(ctx, client.InstanceFilter{})
		c.check("list the instances of "+tenant, err)
		instances = slices.DeleteFunc(instances, func(i api.Instance) bool { return i.State != cluster.Active })
		if len(instances) < 2 {
			continue
		}
		var checks []probing
		for _, other := range instances[1:] {
			checks = append(checks, works("ping -c 1 -W 2 %s", other.Name))
		}
		var last error
		for ctx.Err() == nil {
			if last = c.probe().judge(ctx, instances[0], checks...); last == nil {
				break
			}
		}
		c.check("instances of "+tenant+" reach one another", last)
	}
}

// empty deletes all and wants nothing to be left of it: neither rows nor anything on the machine. CNCIs stay for a while.
func (c *chaos) empty() {
	c.Helper()
	for _, u := range c.users {
		c.insist("delete all of "+u.tenant, func(ctx context.Context) error {
			_, err := u.client.DeleteInstances(ctx, client.InstanceFilter{})
			return err
		})
	}
	l := c.settled()
	for i := range l.Visible {
		c.Errorf("%s of tenant %s is left", i.Name, i.Tenant)
	}
	for tenant, usage := range l.Usage {
		if usage != (cluster.Usage{}) {
			c.Errorf("tenant %s has nothing and uses %+v", tenant, usage)
		}
	}
	for _, subnet := range l.Subnets {
		if len(subnet.Allocated) > 0 {
			c.Errorf("addresses of subnet %s are left: %v", subnet.Prefix, subnet.Allocated)
		}
	}
	c.noPorts()
}

// insist repeats a request until it is done.
func (c *chaos) insist(what string, request func(context.Context) error) {
	c.Helper()
	var last error
	machinetest.Eventually(c, what, chaosLimit, func() bool {
		ctx, cancel := context.WithTimeout(c.Context(), callLimit)
		defer cancel()
		last = request(ctx)
		return last == nil
	})
}
