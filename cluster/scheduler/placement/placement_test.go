package placement_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/payload"
	"github.com/ciaocloud/ciao/cluster/scheduler/placement"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func newCluster() *placement.Cluster { return newClusterWith(placement.FirstFit{}) }

func newClusterWith(policy placement.Policy) *placement.Cluster {
	return placement.New(placement.Config{
		Overcommit: cluster.Overcommit{CPU: 2, Memory: 1}, Policy: policy, Reservation: 30 * time.Second, Settled: epoch,
	})
}

// status is of a compute node with 2 processors and 1000 MiB.
func status(hostname string) payload.NodeStatus {
	return payload.NodeStatus{
		Hostname: hostname, Roles: []cluster.NodeRole{cluster.Compute}, Kinds: []cluster.Kind{cluster.KindContainer},
		Capacity: cluster.Resources{CPU: 2 * cluster.VCPU, MemoryMiB: 1000, DiskMiB: 100},
	}
}

// join brings a ready node with the instances that it reports.
func join(c *placement.Cluster, id string, s payload.NodeStatus, reports ...payload.InstanceReport) {
	c.Connected(id, []cluster.NodeRole{cluster.Compute, cluster.Network})
	c.Inventory(id, cluster.NodeReady, s, reports)
}

func want(instance string, generation uint64, memory int64) payload.PlacementRequest {
	return payload.PlacementRequest{
		Instance: instance, Generation: generation, Kind: cluster.KindContainer, Role: cluster.Compute,
		Resources: cluster.Resources{CPU: 100, MemoryMiB: memory},
	}
}

func report(instance string, generation uint64, state cluster.State, memory int64) payload.InstanceReport {
	return payload.InstanceReport{
		Instance: instance, Generation: generation, State: state, Resources: cluster.Resources{CPU: 100, MemoryMiB: memory},
	}
}

// zones brings node a, of zone a, and node b, of zone b.
func zones(c *placement.Cluster) {
	for _, zone := range []string{"a", "b"} {
		s := status("host-" + zone)
		s.Labels = map[string]string{"zone": zone}
		join(c, zone, s)
	}
}

func requires(key, value string) func(*payload.PlacementRequest) {
	return func(r *payload.PlacementRequest) { r.Labels = map[string]string{key: value} }
}

func TestFilters(t *testing.T) {
	tests := map[string]struct {
		prepare   func(c *placement.Cluster)
		change    func(r *payload.PlacementRequest)
		want      string // node; empty is none
		refusals  []payload.Refusal
		permanent bool
		reason    string
	}{
		"no nodes":           {prepare: func(*placement.Cluster) {}, reason: "no node is connected; start a launcher"},
		"room":               {want: "a"},
		"named node":         {change: func(r *payload.PlacementRequest) { r.Node = "b" }, want: "b"},
		"unknown named node": {change: func(r *payload.PlacementRequest) { r.Node = "c" }, refusals: []payload.Refusal{{Filter: "node", Nodes: 2}}},
		"host name":          {change: func(r *payload.PlacementRequest) { r.Hostname = "host-b" }, want: "b"},
		"labels":             {prepare: zones, change: requires("zone", "b"), want: "b"},
		"label of no node":   {prepare: zones, change: requires("zone", "c"), refusals: []payload.Refusal{{Filter: "labels", Nodes: 2}}},
		"some of the labels": {
			prepare:  zones,
			change:   func(r *payload.PlacementRequest) { r.Labels = map[string]string{"zone": "b", "gpu": ""} },
			refusals: []payload.Refusal{{Filter: "labels", Nodes: 2}},
		},
		"too large for the nodes with the label": {
			prepare: func(c *placement.Cluster) {
				zones(c)
				large := status("host-c")
				large.Capacity.MemoryMiB = 4000
				join(c, "c", large)
			},
			change: func(r *payload.PlacementRequest) {
				requires("zone", "a")(r)
				r.Resources.MemoryMiB = 2000
			},
			refusals:  []payload.Refusal{{Filter: "labels", Nodes: 2}, {Filter: "memory", Nodes: 1}},
			permanent: true,
		},
		"avoided": {change: func(r *payload.PlacementRequest) { r.Avoid = []string{"a"} }, want: "b"},
		"all avoided": {
			change:   func(r *payload.PlacementRequest) { r.Avoid = []string{"a", "b"} },
			refusals: []payload.Refusal{{Filter: "avoid", Nodes: 2}},
		},
		"role": {
			change:   func(r *payload.PlacementRequest) { r.Role = cluster.Network },
			refusals: []payload.Refusal{{Filter: "role", Nodes: 2}},
		},
		"role beyond the certificate": {
			prepare: func(c *placement.Cluster) {
				s := status("host-a")
				s.Roles = []cluster.NodeRole{cluster.Network}
				c.Connected("a", []cluster.NodeRole{cluster.Compute})
				c.Inventory("a", cluster.NodeReady, s, nil)
			},
			change:   func(r *payload.PlacementRequest) { r.Role = cluster.Network },
			refusals: []payload.Refusal{{Filter: "role", Nodes: 1}},
		},
		"kind": {
			change:   func(r *payload.PlacementRequest) { r.Kind = cluster.KindVM },
			refusals: []payload.Refusal{{Filter: "kind", Nodes: 2}},
		},
		"too large for ever": {
			change:    func(r *payload.PlacementRequest) { r.Resources.MemoryMiB = 1001 },
			refusals:  []payload.Refusal{{Filter: "memory", Nodes: 2}},
			permanent: true,
			reason:    "no node could take 0.1 vCPUs, 1001 MiB of memory even if it were empty: 2 without enough free memory",
		},
		"too many vCPUs": {
			change:    func(r *payload.PlacementRequest) { r.Resources.CPU = 4001 },
			refusals:  []payload.Refusal{{Filter: "cpu", Nodes: 2}},
			permanent: true,
		},
		"overcommitted vCPUs": {change: func(r *payload.PlacementRequest) { r.Resources.CPU = 4000 }, want: "a"},
		"disk": {
			change:    func(r *payload.PlacementRequest) { r.Resources.DiskMiB = 101 },
			refusals:  []payload.Refusal{{Filter: "disk", Nodes: 2}},
			permanent: true,
		},
		"less than nothing": {change: func(r *payload.PlacementRequest) { r.Resources.CPU = -1 }, permanent: true},
		"taken": {
			prepare: func(c *placement.Cluster) {
				join(c, "a", status("host-a"), report("x", 1, cluster.Active, 901))
				join(c, "b", status("host-b"), report("y", 1, cluster.Stopped, 900))
			},
			want: "b",
		},
		"failed instances take nothing": {
			prepare: func(c *placement.Cluster) { join(c, "a", status("host-a"), report("x", 1, cluster.Failed, 901)) },
			want:    "a",
		},
		"full and maintenance": {
			prepare: func(c *placement.Cluster) {
				join(c, "a", status("host-a"))
				join(c, "b", status("host-b"))
				c.Status("a", cluster.NodeFull, status("host-a"))
				c.Status("b", cluster.NodeMaintenance, status("host-b"))
			},
			refusals: []payload.Refusal{{Filter: "ready", Nodes: 2}},
		},
		"disconnected, and not heard of yet": {
			prepare: func(c *placement.Cluster) {
				join(c, "a", status("host-a"))
				c.Disconnected("a")
				c.Connected("b", []cluster.NodeRole{cluster.Compute})
				c.Status("b", cluster.NodeReady, status("host-b"))
			},
			refusals: []payload.Refusal{{Filter: "connected", Nodes: 1}, {Filter: "inventory", Nodes: 1}},
		},
		"started again on its full node": {
			prepare: func(c *placement.Cluster) {
				join(c, "a", status("host-a"), report("i", 1, cluster.Stopped, 1000))
				c.Status("a", cluster.NodeFull, status("host-a"))
			},
			change: func(r *payload.PlacementRequest) { r.Generation, r.Resources.MemoryMiB = 2, 1000 },
			want:   "a",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			c := newCluster()
			if test.prepare == nil {
				test.prepare = func(c *placement.Cluster) {
					join(c, "a", status("host-a"))
					join(c, "b", status("host-b"))
				}
			}
			test.prepare(c)
			r := want("i", 1, 100)
			if test.change != nil {
				test.change(&r)
			}
			decision, failure := c.Place(r, epoch)
			if (failure == nil) != (test.want != "") || decision.Node != test.want {
				t.Fatalf("decision %+v, failure %+v, want node %q", decision, failure, test.want)
			}
			if failure == nil {
				return
			}
			if diff := cmp.Diff(test.refusals, failure.Refusals); diff != "" {
				t.Errorf("refusals (-want +got):\n%s", diff)
			}
			if failure.Permanent != test.permanent || test.reason != "" && failure.Reason != test.reason {
				t.Errorf("failure is %+v", failure)
			}
		})
	}
}

func TestNothingIsPermanentBeforeNodesHaveConnected(t *testing.T) {
	c := newCluster()
	join(c, "a", status("host-a"))
	for now, permanent := range map[time.Time]bool{epoch.Add(-time.Second): false, epoch: true} {
		if _, failure := c.Place(want("i", 1, 5000), now); failure.Permanent != permanent {
			t.Errorf("at %s: %+v", now, failure)
		}
	}
}

func TestReservations(t *testing.T) {
	c := newCluster()
	join(c, "a", status("host-a"))
	must := func(r payload.PlacementRequest, now time.Time, placed bool) {
		t.Helper()
		if _, failure := c.Place(r, now); (failure == nil) != placed {
			t.Fatalf("%+v at %s: failure %+v, want placed %t", r, now, failure, placed)
		}
	}
	must(want("i", 1, 600), epoch, true)
	must(want("i", 1, 600), epoch, true) // the same answer again, counted once
	must(want("j", 1, 600), epoch, false)
	must(want("j", 1, 400), epoch, true)
	must(want("k", 1, 1), epoch, false)

	c.Report("a", report("i", 1, cluster.Starting, 600)) // no reservation any more, but there
	must(want("k", 1, 400), epoch.Add(29*time.Second), false)
	must(want("k", 1, 400), epoch.Add(30*time.Second), true) // j was never heard of
	c.Report("a", report("i", 1, cluster.Gone, 0))
	must(want("l", 1, 600), epoch.Add(31*time.Second), true)

	c.Connected("a", []cluster.NodeRole{cluster.Compute}) // a restart of the node: k's start may still be on its way
	c.Inventory("a", cluster.NodeReady, status("host-a"), nil)
	must(want("m", 1, 1), epoch.Add(32*time.Second), false)
}

func TestExplanation(t *testing.T) {
	c := newCluster()
	join(c, "a", status("host-a"), report("x", 1, cluster.Active, 1000))
	join(c, "b", status("host-b"))
	decision, _ := c.Place(want("i", 1, 10), epoch)
	if decision.Node != "b" || !strings.Contains(decision.Explanation, "1 without enough free memory") {
		t.Errorf("decision is %+v", decision)
	}
	decision, _ = c.Place(want("j", 1, 10), epoch)
	if decision.Node != "b" || !strings.Contains(decision.Explanation, "most recently used") {
		t.Errorf("decision is %+v", decision)
	}
}

// model is what nodes really have, kept naively.
type model struct {
	capacity map[string]int64
	there    map[string]map[string]int64 // node → instance → memory
}

// A long walk of everything that can happen never puts more on a node than it has.
func TestRandomWalk(t *testing.T) {
	for _, policy := range []placement.Policy{placement.FirstFit{}, placement.Spread{}} {
		for seed := range uint64(20) {
			t.Run(fmt.Sprintf("%T, seed %d", policy, seed), func(t *testing.T) { walk(t, policy, rand.New(rand.NewPCG(seed, 7))) })
		}
	}
}

func walk(t *testing.T, policy placement.Policy, random *rand.Rand) {
	c := newClusterWith(policy)
	m := model{capacity: map[string]int64{}, there: map[string]map[string]int64{}}
	now, next := epoch, 0
	var nodes []string
	pending := map[string]payload.Decision{} // decided, start not yet arrived
	sizes := map[string]int64{}
	inventory := func(node string) {
		var reports []payload.InstanceReport
		for instance, memory := range m.there[node] {
			reports = append(reports, report(instance, 1, cluster.Active, memory))
		}
		c.Connected(node, []cluster.NodeRole{cluster.Compute})
		s := status("host-" + node)
		s.Capacity = cluster.Resources{CPU: 1000 * cluster.VCPU, MemoryMiB: m.capacity[node]}
		c.Inventory(node, cluster.NodeReady, s, reports)
	}
	for range 3000 {
		now = now.Add(time.Duration(random.IntN(100)) * time.Millisecond)
		switch random.IntN(10) {
		case 0:
			if len(nodes) < 8 {
				node := fmt.Sprint("n", len(nodes))
				nodes = append(nodes, node)
				m.capacity[node], m.there[node] = int64(500+random.IntN(1000)), map[string]int64{}
				inventory(node)
			}
		case 1:
			if len(nodes) > 0 {
				inventory(nodes[random.IntN(len(nodes))])
			}
		case 2:
			for _, node := range nodes { // an instance goes
				for instance := range m.there[node] {
					delete(m.there[node], instance)
					c.Report(node, report(instance, 1, cluster.Gone, 0))
					break
				}
			}
		case 3, 4: // a start arrives at its node
			for instance, decision := range pending {
				delete(pending, instance)
				m.there[decision.Node][instance] = sizes[instance]
				c.Report(decision.Node, report(instance, 1, cluster.Starting, sizes[instance]))
				break
			}
		default:
			instance := fmt.Sprint("i", next)
			next++
			sizes[instance] = int64(1 + random.IntN(300))
			decision, failure := c.Place(want(instance, 1, sizes[instance]), now)
			if failure == nil {
				pending[instance] = decision
			}
		}
		for _, node := range nodes {
			if taken := m.taken(node, pending, sizes); taken > m.capacity[node] {
				t.Fatalf("node %s of %d MiB has %d MiB", node, m.capacity[node], taken)
			}
		}
		for instance := range pending { // the controller gives up, long before the reservation ends
			if random.IntN(50) == 0 {
				delete(pending, instance)
			}
		}
	}
	// When all reservations have ended, every node can be filled to the brim, and not beyond.
	for _, node := range nodes {
		left := m.capacity[node] - m.taken(node, nil, nil)
		for memory, placed := range map[int64]bool{left: true, left + 1: false} {
			r := want("last", 1, memory)
			r.Node = node
			now = now.Add(31 * time.Second)
			if _, failure := c.Place(r, now); (failure == nil) != placed {
				t.Errorf("%d MiB on node %s, which has %d MiB left: %+v", memory, node, left, failure)
			}
		}
	}
}

func (m model) taken(node string, pending map[string]payload.Decision, sizes map[string]int64) int64 {
	var sum int64
	for _, memory := range m.there[node] {
		sum += memory
	}
	for instance, decision := range pending {
		if decision.Node == node {
			sum += sizes[instance]
		}
	}
	return sum
}
