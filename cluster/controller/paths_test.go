package controller

import (
	"cmp"
	"maps"
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

// neighbours are what a node should know and what it was told last, of a subnet.
func (w *world) neighbours(node, subnet string) (want, told []payload.Neighbour) {
	ends := map[string]netip.Addr{}
	w.fake.with(func() {
		for id, n := range w.fake.nodes {
			ends[id] = n.underlay
		}
		told = w.fake.nodes[node].paths[subnet].Neighbours
	})
	for _, i := range w.instances() {
		if i.Subnet == subnet && i.Node != "" && i.Node != node {
			want = append(want, payload.Neighbour{MAC: i.MAC, Node: ends[i.Node]})
		}
	}
	slices.SortFunc(want, func(a, b payload.Neighbour) int { return cmp.Compare(a.MAC, b.MAC) })
	return want, told
}

// checkNeighbours checks every node that has an instance of the subnet.
func (w *world) checkNeighbours(subnet string) {
	w.t.Helper()
	having := map[string]bool{}
	for _, i := range w.instances() {
		having[i.Node] = true
	}
	for _, node := range slices.Sorted(maps.Keys(having)) {
		want, told := w.neighbours(node, subnet)
		if diff := gocmp.Diff(want, told, cmpopts.EquateEmpty(), cmpopts.EquateComparable(netip.Addr{})); diff != "" {
			w.t.Errorf("neighbours that %s knows (-want +got):\n%s", node, diff)
		}
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
		second := w.fake.addNode(2)
		w.fake.addNode(3)
		counts := w.configures()
		w.create(9, "web")
		w.untilState(cluster.Active, 9)
		subnet := w.instances()[0].Subnet
		w.checkNeighbours(subnet)
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
		w.checkNeighbours(subnet)
		w.fake.with(func() {
			if counts[one.Node] != 0 || len(counts) != 2 {
				t.Errorf("an instance left %s, and these were told: %v", one.Node, counts)
			}
		})

		w.fake.disconnect(second)
		w.create(4, "more")
		w.untilState(cluster.Active, 12-w.on(second))
		w.fake.reconnect(second)
		w.untilState(cluster.Active, 12)
		w.checkNeighbours(subnet)
	})
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
			"many": {{ID: "c", Neighbours: make([]payload.Neighbour, 9000)}, {ID: "d", Peers: make([]netip.Addr, 9000)}, {ID: "e"}},
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
