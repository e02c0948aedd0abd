package singlevm

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/api"
	"github.com/ciaocloud/ciao/cluster/client"
	"github.com/ciaocloud/ciao/singlevm/machinetest"
)

// Three nodes on one machine behave like three machines: what is done to one is seen by the others as it would be there, what can heal
// heals, and what moves keeps its place in its network.
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

	m.must("node", "partition", "2")
	m.nodeState(ctx, 2, cluster.NodeMissing)
	m.reach(ctx, []api.Instance{pinned[0], pinned[1]}, false)
	m.reach(ctx, []api.Instance{pinned[0], pinned[2]}, true)
	m.mends(ctx, blue, 2, pinned)

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

	m.evacuates(ctx, blue)
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

// evacuates moves instances that may go anywhere off their node, which then loses its power, and from one that lost its power.
func (m *machine) evacuates(ctx context.Context, c *client.Client) {
	m.Helper()
	operator := m.user(operatorName)
	made := m.create(ctx, c, 4)
	before := made
	for _, lost := range []bool{false, true} {
		leaving := made[0].Node
		if lost {
			m.must("node", "stop", fmt.Sprint(m.number(leaving)))
			m.nodeState(ctx, m.number(leaving), cluster.NodeMissing)
		}
		if _, err := operator.EvacuateNode(ctx, leaving, lost); err != nil {
			m.Fatal(err)
		}
		machinetest.Eventually(m, "the evacuated node is left", time.Minute, func() bool {
			found, err := operator.Node(ctx, leaving)
			return err == nil && found.Instances <= 1 && (found.Instances == 0 || found.Running == 0) // one is bound to it by its requirements
		})
		made = m.active(ctx, c, made)
		for i := range made {
			if made[i].Node == leaving || made[i].MAC != before[i].MAC || !slices.Equal(made[i].Addresses, before[i].Addresses) {
				m.Errorf("%s was %s %v on %s and is %s %v on %s", made[i].Name, before[i].MAC, before[i].Addresses, leaving, made[i].MAC, made[i].Addresses, made[i].Node)
			}
		}
		m.reach(ctx, made, true)
		m.resolves(ctx, made)
		if lost {
			m.must("node", "heal", fmt.Sprint(m.number(leaving)))
			m.nodeState(ctx, m.number(leaving), cluster.NodeMaintenance)
		}
		if _, err := operator.RestoreNode(ctx, leaving); err != nil {
			m.Fatal(err)
		}
		m.nodeState(ctx, m.number(leaving), cluster.NodeReady)
	}
}

// number is that of the node with an id.
func (m *machine) number(id string) int {
	m.Helper()
	entries, err := os.ReadDir(layout{DefaultDirectory}.nodes())
	if err != nil {
		m.Fatal(err)
	}
	for number := 1; number <= len(entries)+1; number++ {
		if have, err := (node{layout{DefaultDirectory}, number}).id(); err == nil && have == id {
			return number
		}
	}
	m.Fatalf("no node has the id %q", id)
	return 0
}
