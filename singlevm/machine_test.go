package singlevm

import (
	"bytes"
	"context"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ciaocloud/ciao/cluster/api"
	"github.com/ciaocloud/ciao/cluster/client"
	"github.com/ciaocloud/ciao/require"
	"github.com/ciaocloud/ciao/singlevm/machinetest"
	"github.com/ciaocloud/ciao/singlevm/supervise"
)

// Deadlines of machine tests are generous: they guard against what never ends, and measure nothing.
const (
	commandLimit = 3 * time.Minute
	settleLimit  = 30 * time.Second // until the machine is as it was after a cleanup
)

// machine is this machine with the programs that `make build` made.
type machine struct {
	testing.TB
	programs string
	own      string // the programs that were there before the test
	files    string // copy of a cluster's directory, for daemons that are not to work
	before   machinetest.Dump
	nodes    []string // names of the clusters' nodes, which what they own has in its own
}

// newMachine needs the machine without a cluster, and removes what the test leaves of one.
func newMachine(t testing.TB) *machine {
	t.Helper()
	require.Machine(t)
	require.Docker(t)
	require.Command(t, "dnsmasq", "nft", "iptables", "ip")
	programs, err := filepath.Abs("../bin")
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{TB: t, programs: programs, own: programs}
	for _, name := range []string{"singlevm", "ciao"} {
		if !exists(m.program(name)) {
			t.Fatalf("%s is missing: run `make build`", m.program(name))
		}
	}
	m.cleanup()
	m.before = machinetest.Take(t)
	t.Cleanup(m.cleanup)
	return m
}

func (m *machine) program(name string) string { return filepath.Join(m.programs, name) }

// said is how a command ended and what it said.
type said struct {
	code     int
	out, err string
}

// run runs a program of ours to its end.
func (m *machine) run(command *exec.Cmd) said {
	m.Helper()
	var out, problem bytes.Buffer
	command.Stdout, command.Stderr = &out, &problem
	if err := command.Start(); err != nil {
		m.Fatalf("start %v: %v", command.Args, err)
	}
	timer := time.AfterFunc(commandLimit, func() { _ = command.Process.Kill() })
	defer timer.Stop()
	_ = command.Wait() // the code says how it ended
	return said{command.ProcessState.ExitCode(), out.String(), problem.String()}
}

func (m *machine) singlevm(args ...string) said {
	m.Helper()
	return m.run(exec.Command(m.program("singlevm"), args...))
}

// must runs singlevm, which must succeed.
func (m *machine) must(args ...string) said {
	m.Helper()
	got := m.singlevm(args...)
	if got.code != 0 {
		m.Fatalf("singlevm %s ended with %d:\n%s%s", strings.Join(args, " "), got.code, got.out, got.err)
	}
	if args[0] == "setup" {
		namespaces, err := filepath.Glob("/run/netns/ciao-" + ClusterName + "-*")
		if err != nil {
			m.Fatal(err)
		}
		for _, path := range namespaces {
			m.nodes = append(m.nodes, filepath.Base(path))
		}
	}
	return got
}

func (m *machine) cleanup() {
	m.Helper()
	if got := m.run(exec.Command(filepath.Join(m.own, "singlevm"), "cleanup")); got.code != 0 {
		m.Fatalf("singlevm cleanup ended with %d:\n%s%s", got.code, got.out, got.err)
	}
}

// restored fails the test if the machine is not as it was before it.
func (m *machine) restored(after string) {
	m.Helper()
	if diff := machinetest.Same(m, m.before, settleLimit); diff != "" {
		m.Fatalf("after %s the machine is not as it was (- before, + now):\n%s", after, diff)
	}
	if left, err := machinetest.GroupsOf(m.nodes); err != nil || len(left) > 0 {
		m.Fatalf("after %s there are control groups of its nodes: %q, %v", after, left, err)
	}
}

// user is a client of the cluster; it answers for tenant blue.
func (m *machine) user(name string) *client.Client {
	m.Helper()
	c, err := client.New(layout{DefaultDirectory}.client(name))
	if err != nil {
		m.Fatalf("make a client: %v", err)
	}
	m.Cleanup(c.Close)
	return c
}

// daemon finds the running process of a daemon.
func (m *machine) daemon(name string) []machinetest.Process {
	m.Helper()
	match := map[string]func(machinetest.Process) bool{
		"supervisor": machinetest.Words("singlevm", "supervise"),
		"gateway":    machinetest.Words("singlevm", "gateway"),
		"dhcp":       machinetest.Words("dnsmasq"),
	}[name]
	if match == nil {
		match = machinetest.Words("ciao", "run", name)
	}
	ours := machinetest.Marked(supervise.Mark, ClusterName)
	return machinetest.Find(m, func(p machinetest.Process) bool { return match(p) && ours(p) })
}

// marked are all processes of the cluster.
func (m *machine) marked() []machinetest.Process {
	m.Helper()
	return machinetest.Find(m, machinetest.Marked(supervise.Mark, ClusterName))
}

// pids are the process ids of daemons by name.
func (m *machine) pids(names ...string) map[string][]int {
	m.Helper()
	found := make(map[string][]int)
	for _, name := range names {
		for _, p := range m.daemon(name) {
			found[name] = append(found[name], p.PID)
		}
		slices.Sort(found[name])
	}
	return found
}

// create asks for containers and waits until they run.
func (m *machine) create(ctx context.Context, c *client.Client, count int) []api.Instance {
	m.Helper()
	made, err := c.CreateInstances(ctx, api.CreateInstances{Workload: probeImage, Count: count, Name: "machine"})
	if err == nil {
		made, err = c.Wait(ctx, made, client.Active, nil)
	}
	if err != nil {
		m.Fatalf("create %d instances: %v", count, err)
	}
	return made
}
