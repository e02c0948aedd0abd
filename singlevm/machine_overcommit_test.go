package singlevm

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/api"
	"github.com/ciaocloud/ciao/cluster/client"
	"github.com/ciaocloud/ciao/singlevm/machinetest"
)

// What a cluster file says may be promised of a node is promised, and no more; the operator reads that and what the node has.
func TestMachineOvercommit(t *testing.T) {
	m := newMachine(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*commandLimit)
	defer cancel()
	m.must("setup")
	blue := m.user("blue")
	node := m.promises(ctx, 0.5, 0.25)
	const cnci = 0.25
	third := (node.VCPUsLimit - cnci) / 2 // two of these and the CNCI are all
	spec := cluster.WorkloadSpec{
		Kind: cluster.KindContainer, Image: busyboxImage, Pull: cluster.PullNever, Command: []string{"sleep", "100000"},
		Requirements: cluster.Requirements{VCPUs: cluster.CPU(third * float64(cluster.VCPU)), MemoryMiB: 16},
	}
	if _, err := blue.CreateWorkload(ctx, api.NewWorkload("third", cluster.Private, spec)); err != nil {
		t.Fatal(err)
	}
	fits := m.third(ctx, blue, "fits", 2)
	m.active(ctx, blue, fits)
	waits := m.third(ctx, blue, "waits", 1)
	machinetest.Eventually(t, "an instance beyond what may be promised is refused by the only node", commandLimit, func() bool {
		now, err := blue.Instance(ctx, waits[0].ID)
		return err == nil && now.Node == "" && now.Reason != ""
	})
	if now, err := blue.Instance(ctx, waits[0].ID); err != nil || now.State != cluster.Pending && now.State != cluster.Failed {
		t.Errorf("beyond what may be promised an instance is %s, %v", now.State, err)
	}
	node = m.promises(ctx, 1, 1)
	if node.VCPUsLimit != node.VCPUs || node.MemoryMiBLimit != node.MemoryMiB {
		t.Errorf("without overcommit the node has %g vCPUs and promises %g, %d MiB and %d", node.VCPUs, node.VCPUsLimit, node.MemoryMiB, node.MemoryMiBLimit)
	}
	m.active(ctx, blue, m.third(ctx, blue, "more", 1))
	m.active(ctx, blue, fits)
	m.cleanup()
	m.restored("other ratios and cleanup")
}

// third makes instances of the workload.
func (m *machine) third(ctx context.Context, c *client.Client, name string, count int) []api.Instance {
	m.Helper()
	made, err := c.CreateInstances(ctx, api.CreateInstances{Workload: "third", Count: count, Name: name})
	if err != nil {
		m.Fatal(err)
	}
	return made
}

// promises writes other ratios into the cluster file and starts the daemons that read them again. It returns the node when the operator sees it so.
func (m *machine) promises(ctx context.Context, cpu, memory float64) (node api.Node) {
	m.Helper()
	file := layout{DefaultDirectory}.clusterFile()
	text, err := os.ReadFile(file)
	if err != nil {
		m.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(string(text)) {
		if !strings.Contains(line, "_ratio:") {
			lines = append(lines, line)
		}
		if line == "scheduler:\n" {
			lines = append(lines, fmt.Sprintf("  cpu_ratio: %g\n  memory_ratio: %g\n", cpu, memory))
		}
	}
	if err := replaceFile(file, []byte(strings.Join(lines, "")), 0o600); err != nil {
		m.Fatal(err)
	}
	killed := time.Now()
	for _, daemon := range []string{"scheduler", "controller", "launcher"} {
		machinetest.Kill(m, m.daemon(daemon)...)
	}
	operator := m.user(operatorName)
	machinetest.Eventually(m, "the node promises what the cluster file says", commandLimit, func() bool {
		all, err := operator.Nodes(ctx, "")
		if err != nil || len(all) != 1 || all[0].State != cluster.NodeReady || all[0].Seen.Before(killed) {
			return false
		}
		node = all[0]
		return node.VCPUsLimit == node.VCPUs*cpu && node.MemoryMiBLimit == int64(float64(node.MemoryMiB)*memory)
	})
	as := layout{DefaultDirectory}.client(operatorName)
	shown := m.run(exec.Command(m.program("ciao"), "show", "node", node.ID, "--controller", as.Controller, "--cert", as.Certificate, "--ca-cert", as.CA))
	has := fmt.Sprintf("/%g (has %g)", node.VCPUsLimit, node.VCPUs)
	if cpu != 1 && !strings.Contains(shown.out, has) {
		m.Errorf("`ciao show node` does not say %q:\n%s%s", has, shown.out, shown.err)
	}
	return node
}
