package singlevm

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/api"
	"github.com/ciaocloud/ciao/cluster/client"
	"github.com/ciaocloud/ciao/singlevm/machinetest"
)

// Three nodes on one machine behave like three machines: what is done to one is seen by the others as it would be there, and what can heal
// heals. Partitions, evacuation and loss are bat's to judge.
func TestMachineNodes(t *testing.T) {
	m := newMachine(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*commandLimit)
	defer cancel()
	m.must("setup", "--nodes", "3")
	m.must("verify")
	blue := m.user(operatorName).ForTenant("blue")
	pinned := m.onEachNode(ctx, blue, 3)
	m.reach(ctx, pinned, true)
	m.resolves(ctx, pinned)

	if made := m.create(ctx, blue, 4); !slices.ContainsFunc(made, func(i api.Instance) bool { return i.Node != made[0].Node }) {
		t.Errorf("four instances are all on node %s", made[0].Node)
	}

	m.must("node", "freeze", "3")
	m.nodeState(ctx, 3, cluster.NodeMissing)
	m.reach(ctx, []api.Instance{pinned[0], pinned[2]}, false)
	m.mends(ctx, blue, 3, pinned)

	m.must("node", "stop", "2")
	m.nodeState(ctx, 2, cluster.NodeMissing)
	if got := m.singlevm("node", "freeze", "2"); got.code != 4 || !strings.Contains(got.err, "heal 2") {
		t.Errorf("a second fault is answered with %d: %s", got.code, got.err)
	}
	m.must("node", "heal", "2")
	m.nodeState(ctx, 2, cluster.NodeReady)
	m.active(ctx, blue, pinned)
	m.reach(ctx, pinned, true)

	if _, err := blue.DeleteInstances(ctx, client.InstanceFilter{}); err != nil {
		t.Fatal(err)
	}
	m.must("node", "remove", "3")
	if got := m.must("node", "list"); strings.Contains(got.out, "launcher-3") {
		t.Errorf("node 3 was removed and is listed:\n%s", got.out)
	}
	m.must("node", "add")
	m.must("verify")
	m.cleanup()
	m.restored("everything that was done to nodes, and cleanup")
}

// onEachNode has one instance on each node, in the order of the nodes' numbers.
func (m *machine) onEachNode(ctx context.Context, c *client.Client, count int) []api.Instance {
	m.Helper()
	var all []api.Instance
	for number := 1; number <= count; number++ {
		spec := cluster.WorkloadSpec{
			Kind: cluster.KindContainer, Image: busyboxImage, Pull: cluster.PullNever, Command: []string{"sleep", "100000"},
			Requirements: cluster.Requirements{VCPUs: cluster.VCPU / 10, MemoryMiB: 16, Hostname: m.hostname(number)},
		}
		name := fmt.Sprintf("on-%d", number)
		_, err := c.CreateWorkload(ctx, api.NewWorkload(name, cluster.Private, spec))
		if err != nil {
			m.Fatal(err)
		}
		made, err := c.CreateInstances(ctx, api.CreateInstances{Workload: name, Count: 1, Name: name})
		if err != nil {
			m.Fatal(err)
		}
		all = append(all, made...)
	}
	return m.active(ctx, c, all)
}

func (m *machine) hostname(number int) string {
	m.Helper()
	name, err := node{layout{DefaultDirectory}, number}.hostname()
	if err != nil {
		m.Fatal(err)
	}
	return name
}

func (m *machine) active(ctx context.Context, c *client.Client, instances []api.Instance) []api.Instance {
	m.Helper()
	now, err := c.Wait(ctx, instances, client.Active, nil)
	if err != nil {
		m.Fatalf("the instances are not active: %v", err)
	}
	return now
}

// nodeState waits until the cluster says that of a node.
func (m *machine) nodeState(ctx context.Context, number int, wanted cluster.NodeState) {
	m.Helper()
	operator := m.user(operatorName)
	machinetest.Eventually(m, fmt.Sprintf("node %d is %s", number, wanted), time.Minute, func() bool {
		found, err := operator.Node(ctx, m.hostname(number))
		return err == nil && found.State == wanted
	})
}

// reach waits until the first instance reaches the others by their addresses, or does not. Their CNCI may be on a broken node.
func (m *machine) reach(ctx context.Context, instances []api.Instance, wanted bool) {
	m.Helper()
	var checks []probing
	for _, other := range instances[1:] {
		if wanted {
			checks = append(checks, works("ping -c 1 -W 2 %s", other.Addresses[0]))
		} else {
			checks = append(checks, fails("ping -c 1 -W 2 %s", other.Addresses[0]))
		}
	}
	var last error
	machinetest.Eventually(m, fmt.Sprintf("%s reaches the others: %t", instances[0].Name, wanted), time.Minute, func() bool {
		last = m.probe().judge(ctx, instances[0], checks...)
		return last == nil
	})
}

// mends heals a node, on which nothing was started again.
func (m *machine) mends(ctx context.Context, c *client.Client, number int, instances []api.Instance) {
	m.Helper()
	carriers := m.carriers(instances)
	m.must("node", "heal", fmt.Sprint(number))
	m.nodeState(ctx, number, cluster.NodeReady)
	m.unchanged(ctx, c, instances, carriers)
	m.reach(ctx, instances, true)
}
