package singlevm

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/ciaocloud/ciao/cluster/api"
	"github.com/ciaocloud/ciao/cluster/client"
	"github.com/ciaocloud/ciao/singlevm/machinetest"
)

// Numbers of rounds: each takes some seconds.
const (
	killedMoments = 50
	latestMoment  = 2500 * time.Millisecond // by then setup is done and some instances run
	setupSteps    = 6
)

// catastrophe is something that is killed beside the setup.
type catastrophe struct {
	name   string
	strike func(*machine) (recover func())
}

var catastrophes = []catastrophe{
	{"setup alone", func(*machine) func() { return func() {} }},
	{"everything", (*machine).killEverything},
	{"the supervisor", kills("supervisor")},
	{"dockerd", func(m *machine) func() { return machinetest.KillEngine(m) }},
	{"launcher and CNCI agents", kills("launcher", "cnci")},
	{"every dnsmasq", kills("dhcp")},
	{"scheduler and controller", kills("scheduler", "controller")},
}

// kills makes a catastrophe of daemons' names. Every dnsmasq of ours bears the mark, those of CNCIs too.
func kills(names ...string) func(*machine) func() {
	return func(m *machine) func() {
		for _, name := range names {
			machinetest.Kill(m, m.daemon(name)...)
		}
		return func() {}
	}
}

// killEverything kills all that the cluster runs. A supervisor may have started something meanwhile: it is killed too.
func (m *machine) killEverything() func() {
	machinetest.Kill(m, m.daemon("supervisor")...)
	for machinetest.Kill(m, m.marked()...) > 0 {
	}
	return func() {}
}

// Whatever is killed at each step of setup and at random moments: cleanup leaves the machine as it was.
func TestMachineCleanupAfterKill(t *testing.T) {
	m := newMachine(t)
	seed := seed(t)
	random := rand.New(rand.NewPCG(seed, 0))
	var spent time.Duration
	round := func(name string, what catastrophe, arrive func(*attempt)) {
		began := time.Now()
		a := m.attempt(t.Context())
		arrive(a)
		recover := what.strike(m)
		a.kill()
		recover()
		cleaning := time.Now()
		m.cleanup()
		spent += time.Since(cleaning)
		m.restored("the kill of " + what.name + " at " + name)
		t.Logf("%s, %s: round %.1f s, cleanup %.1f s", name, what.name, time.Since(began).Seconds(), time.Since(cleaning).Seconds())
	}
	for step := range setupSteps + 1 {
		what := catastrophes[step%len(catastrophes)]
		round(fmt.Sprintf("step %d", step), what, func(a *attempt) { a.untilStep(step) })
	}
	for i := range killedMoments {
		what := catastrophes[i%len(catastrophes)]
		moment := time.Duration(random.Int64N(int64(latestMoment)))
		round(moment.String(), what, func(*attempt) { <-time.After(moment) })
	}
	t.Logf("%d rounds, cleanup took %.2f s on average", setupSteps+1+killedMoments, spent.Seconds()/(setupSteps+1+killedMoments))
}

// seed is the seed of a test's random numbers: a new one each time, or that of the environment, to see a failure again.
func seed(t *testing.T) uint64 {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("SEED: %v", err)
		}
	}
	t.Logf("SEED=%d", seed)
	return seed
}

// attempt is a setup that runs, and then a user who creates instances.
type attempt struct {
	m     *machine
	setup *exec.Cmd
	steps chan struct{} // one for each step that setup told; closed at its end
	end   context.CancelFunc
	done  chan struct{} // closed when the user has gone
}

func (m *machine) attempt(ctx context.Context) *attempt {
	m.Helper()
	ctx, end := context.WithCancel(ctx)
	a := &attempt{m: m, setup: exec.Command(m.program("singlevm"), "setup"), steps: make(chan struct{}, 100), end: end, done: make(chan struct{})}
	told, err := a.setup.StderrPipe()
	if err == nil {
		err = a.setup.Start()
	}
	if err != nil {
		m.Fatalf("start a setup: %v", err)
	}
	go a.live(ctx, told)
	return a
}

// live follows the setup and then creates instances, until ctx ends.
func (a *attempt) live(ctx context.Context, told io.Reader) {
	defer close(a.done)
	for lines := bufio.NewScanner(told); lines.Scan(); {
		a.steps <- struct{}{}
	}
	close(a.steps)
	_ = a.setup.Wait() // it was killed, or there is a cluster
	blue, err := client.New(layout{DefaultDirectory}.client("blue"))
	if err != nil || ctx.Err() != nil {
		return // it was killed early
	}
	defer blue.Close()
	_, _ = blue.CreateInstances(ctx, api.CreateInstances{Workload: probeImage, Count: 5, Name: "killed"}) // as far as it comes
	<-ctx.Done()
}

// untilStep waits until setup has told of n steps.
func (a *attempt) untilStep(n int) {
	for range n {
		if _, more := <-a.steps; !more {
			a.m.Fatalf("setup ended before step %d", n)
		}
	}
}

// kill kills the setup, if it still runs, and sends the user away.
func (a *attempt) kill() {
	_ = a.setup.Process.Kill() // it may have ended
	a.end()
	<-a.done
}
