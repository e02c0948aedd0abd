package controller

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/payload"
	"github.com/ciaocloud/ciao/ssntp"
)

// checkNeighbours checks what each node with an instance of a subnet was told last of the others.
func (w *world) checkNeighbours() {
	w.t.Helper()
	subnets := map[string][]cluster.Instance{}
	for _, i := range w.instances() {
		if i.Node != "" {
			subnets[i.Subnet] = append(subnets[i.Subnet], i)
		}
	}
	w.fake.with(func() {
		for subnet, all := range subnets {
			slices.SortFunc(all, func(a, b cluster.Instance) int { return cmp.Compare(a.MAC, b.MAC) })
			for id, node := range w.fake.nodes {
				if slices.ContainsFunc(all, func(i cluster.Instance) bool { return i.Node == id }) {
					w.checkTold(id, all, node.paths[subnet].Neighbours)
				}
			}
		}
	})
}

// checkTold compares what a node was told of a subnet with the subnet's instances.
func (w *world) checkTold(node string, all []cluster.Instance, told []payload.Neighbour) {
	w.t.Helper()
	var want []payload.Neighbour
	for _, i := range all {
		want = append(want, payload.Neighbour{MAC: i.MAC, Node: w.fake.nodes[i.Node].underlay})
	}
	if diff := gocmp.Diff(want, told, cmpopts.EquateEmpty(), cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		w.t.Errorf("neighbours that %s knows of %s (-want +got):\n%s", node, all[0].Subnet, diff)
	}
}

// configures counts, from now on, the frames that tell nodes of paths, by node; it is read under the lock of the fake cluster.
func (w *world) configures() map[string]int {
	counts := map[string]int{}
	w.fake.with(func() {
		w.fake.drop = func(_ int, f ssntp.Frame, toController bool) bool {
			if f.Operand == ssntp.Configure && !toController && decoded[payload.Configure](f).Subnets != nil {
				counts[f.Destination.String()]++
			}
			return false
		}
	})
	return counts
}

func TestNeighboursFollowTheInstances(t *testing.T) {
	inWorld(t, func(w *world) {
		second, third := w.fake.addNode(2), w.fake.addNode(3)
		counts := w.configures()
		w.create(9, "web")
		w.untilState(cluster.Active, 9)
		w.checkNeighbours()
		w.fake.with(func() {
			for node, n := range counts {
				if n > 2 {
					t.Errorf("%s was told %d times of nine instances that were created together", node, n)
				}
			}
			clear(counts)
		})

		one := w.instances()[0]
		if _, err := w.c.DeleteInstance(w.ctx, w.tenant.ID, one.ID); err != nil {
			t.Fatal(err)
		}
		w.until("eight left", func() bool { return len(w.instances()) == 8 })
		time.Sleep(time.Second)
		w.checkNeighbours()
		w.fake.with(func() {
			for node, n := range counts {
				if n != 1 {
					t.Errorf("%s was told %d times of an instance that left", node, n)
				}
			}
			if len(counts) != 3 {
				t.Errorf("an instance left, and these were told: %v", counts)
			}
		})

		leaving := w.withoutCNCI(second, third)
		w.fake.disconnect(leaving)
		w.create(4, "more")
		w.untilState(cluster.Active, 12-w.on(leaving))
		w.fake.reconnect(leaving)
		w.untilState(cluster.Active, 12)
		w.checkNeighbours()
	})
}

// Whatever of it is lost, and whatever a node forgets, it has the newest paths soon, without waiting for the next refresh once it is told
// anything; and it is told the whole only when it has to ask.
func TestLostPathsAreAskedFor(t *testing.T) {
	inWorld(t, func(w *world) {
		second := w.fake.addNode(2)
		w.fake.addNode(3)
		w.create(9, "web")
		w.untilState(cluster.Active, 9)
		var whole, changes int
		lose := true
		w.fake.with(func() {
			w.fake.drop = func(_ int, f ssntp.Frame, toController bool) bool {
				if f.Operand != ssntp.Configure || toController || f.Destination.String() != second {
					return false
				}
				for _, p := range decoded[payload.Configure](f).Subnets {
					if p.Since == 0 {
						whole++
					} else {
						changes++
					}
				}
				return lose
			}
		})
		remove := func(count int) {
			t.Helper()
			all := w.instances()
			for _, i := range all[:count] {
				if _, err := w.c.DeleteInstance(w.ctx, w.tenant.ID, i.ID); err != nil {
					t.Fatal(err)
				}
			}
			w.until("they are gone", func() bool { return len(w.instances()) == len(all)-count })
			time.Sleep(time.Second)
		}
		remove(1)
		w.fake.with(func() { lose = false })
		remove(1)
		w.checkNeighbours()
		w.fake.with(func() {
			if whole != 1 || changes != 2 {
				t.Errorf("a node that missed a change was told the whole %d times, and changes %d times", whole, changes)
			}
			w.fake.nodes[second].paths = map[string]payload.SubnetPaths{} // a launcher that remembers nothing
		})
		w.fake.disconnect(second)
		w.fake.reconnect(second)
		time.Sleep(time.Second)
		w.checkNeighbours()
		w.fake.with(func() { w.fake.nodes[second].paths = map[string]payload.SubnetPaths{} })
		w.create(3, "more") // a start that finds nothing is sent again
		w.untilState(cluster.Active, 10)
		w.checkNeighbours()
	})
}

// withoutCNCI is the first of the nodes that has none: what is created while the subnet's CNCI is away has no network.
func (w *world) withoutCNCI(nodes ...string) string {
	w.t.Helper()
	cncis, err := w.c.CNCIs(w.ctx, Operator)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, node := range nodes {
		if !slices.ContainsFunc(cncis, func(c CNCI) bool { return c.Node == node }) {
			return node
		}
	}
	w.t.Fatal("every node has a CNCI")
	return ""
}

// on counts the instances of a node.
func (w *world) on(node string) (n int) {
	for _, i := range w.instances() {
		if i.Node == node {
			n++
		}
	}
	return n
}

// What changed of many subnets at once goes in one message, if a frame holds it.
func TestNewsOfManySubnetsShareAMessage(t *testing.T) {
	inWorld(t, func(w *world) {
		r := newReconciler(w.c, w.fake, &mailbox{})
		news := map[string][]payload.SubnetPaths{
			"one":  {{ID: "a"}, {ID: "b"}},
			"many": {{ID: "c", Neighbours: make([]payload.Neighbour, 9000)}, {ID: "d", Gone: make([]string, 9000)}, {ID: "e"}},
			"huge": {{ID: "f", Neighbours: make([]payload.Neighbour, 2*maxLocationsPerConfigure)}},
		}
		r.tellPaths(news)
		told := map[string][]int{}
		for _, o := range r.orders {
			told[o.destination] = append(told[o.destination], len(o.body.(payload.Configure).Subnets))
		}
		if diff := gocmp.Diff(map[string][]int{"one": {2}, "many": {1, 2}, "huge": {1}}, told); diff != "" {
			t.Errorf("subnets of each message (-want +got):\n%s", diff)
		}
	})
}

// The CNCI knows where each host is: its answers go to one node.
func TestCNCIKnowsWhereItsHostsAre(t *testing.T) {
	inWorld(t, func(w *world) {
		w.fake.addNode(2)
		var last payload.Concentrator
		w.fake.with(func() {
			w.fake.drop = func(_ int, f ssntp.Frame, toController bool) bool {
				if f.Operand == ssntp.Configure && !toController {
					if c := decoded[payload.Configure](f).Concentrator; c != nil {
						last = *c
					}
				}
				return false
			}
		})
		w.create(4, "web")
		w.untilState(cluster.Active, 4)
		time.Sleep(time.Second)
		nodes := map[netip.Addr]int{}
		w.fake.with(func() {
			for _, host := range last.Hosts {
				if end := w.fake.nodes[w.node(host.Instance)].underlay; host.Node != end {
					t.Errorf("%s is told to be at %s, want %s", host.Name, host.Node, end)
				}
				nodes[host.Node]++
			}
		})
		if len(last.Hosts) != 4 || len(nodes) != 2 {
			t.Errorf("hosts are %+v, want four at two nodes", last.Hosts)
		}
	})
}

// node is where the fake cluster runs an instance; its lock is held.
func (w *world) node(instance string) string {
	for id, node := range w.fake.nodes {
		if node.instances[instance] != nil {
			return id
		}
	}
	return ""
}

// Two hundred subnets on eight nodes: everybody knows everything, a change is told once to each node that has the subnet, and a node
// that returns is told what it missed in a few messages.
func TestManySubnetsOnManyNodes(t *testing.T) {
	inWorld(t, func(w *world) {
		const many, each = 200, 8
		for n := range each - 1 {
			w.fake.addNode(n + 2)
		}
		var all []cluster.Tenant
		for n := range many {
			all = append(all, w.addTenant(fmt.Sprint("tenant-", n)))
			w.createFor(all[n], each)
		}
		w.untilState(cluster.Active, many*each)
		w.checkNeighbours()

		counts := w.configures()
		w.createFor(all[7], 1)
		w.untilState(cluster.Active, many*each+1)
		w.checkNeighbours()
		w.fake.with(func() {
			for node, n := range counts {
				if n > 1 {
					t.Errorf("%s was told %d times of one instance", node, n)
				}
			}
			clear(counts)
		})

		away := w.fake.order[3]
		w.fake.disconnect(away)
		gone := map[string]bool{}
		for _, i := range w.instances() {
			if i.Node != away && !gone[i.Subnet] && len(gone) < many/4 {
				gone[i.Subnet] = true
				if _, err := w.c.DeleteInstance(w.ctx, Operator, i.ID); err != nil {
					t.Fatal(err)
				}
			}
		}
		w.until("the deleted gone", func() bool { return len(w.instances()) == many*each+1-len(gone) })
		w.fake.with(func() { clear(counts) })
		w.fake.reconnect(away)
		time.Sleep(time.Second)
		w.checkNeighbours()
		w.fake.with(func() {
			if counts[away] == 0 || counts[away] > 3 {
				t.Errorf("the node that returned was told %d times what it missed", counts[away])
			}
		})
	})
}

func (w *world) createFor(tenant cluster.Tenant, count int) {
	w.t.Helper()
	if _, err := w.c.CreateInstances(w.ctx, tenant.ID, InstanceRequest{Workload: "web", Count: count}); err != nil {
		w.t.Fatal(err)
	}
}
