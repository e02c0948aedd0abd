package placement_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/scheduler/placement"
)

// placeMany places instances of 100 MiB and counts them by node.
func placeMany(t *testing.T, c *placement.Cluster, count int) map[string]int {
	t.Helper()
	byNode := map[string]int{}
	for i := range count {
		decision, failure := c.Place(want(fmt.Sprint("i", i), 1, 100), epoch)
		if failure != nil {
			t.Fatalf("instance %d: %+v", i, failure)
		}
		byNode[decision.Node]++
	}
	return byNode
}

func TestSpread(t *testing.T) {
	for name, test := range map[string]struct {
		prepare func(c *placement.Cluster)
		count   int
		want    map[string]int
	}{
		"equal nodes take turns": {func(*placement.Cluster) {}, 9, map[string]int{"a": 3, "b": 3, "c": 3}},
		"a used node waits for the others": {func(c *placement.Cluster) {
			c.Report("b", report("x", 1, cluster.Active, 500))
		}, 10, map[string]int{"a": 5, "c": 5}},
		"a larger node gets more": {func(c *placement.Cluster) {
			large := status("host-b")
			large.Capacity.MemoryMiB *= 2
			c.Status("b", cluster.NodeReady, large)
		}, 12, map[string]int{"a": 3, "b": 6, "c": 3}},
		"vCPUs count where they are scarcer": {func(c *placement.Cluster) {
			small := status("host-b")
			small.Capacity.CPU /= 10 // 0.4 vCPUs may be promised: a quarter for each instance, and a tenth of the others' memory
			c.Status("b", cluster.NodeReady, small)
		}, 12, map[string]int{"a": 5, "b": 2, "c": 5}},
		"the last room is found": {func(c *placement.Cluster) {
			c.Report("a", report("x", 1, cluster.Active, 901))
			c.Report("c", report("y", 1, cluster.Active, 901))
		}, 10, map[string]int{"b": 10}},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClusterWith(placement.Spread{})
			for _, id := range []string{"a", "b", "c"} {
				join(c, id, status("host-"+id))
			}
			test.prepare(c)
			if diff := cmp.Diff(test.want, placeMany(t, c, test.count)); diff != "" {
				t.Errorf("instances by node (-want +got):\n%s", diff)
			}
		})
	}
}

// In a cluster of more nodes than one decision compares, the least used of all gets its instance within a round.
func TestSpreadComparesAllInTurn(t *testing.T) {
	const nodes = 100
	for empty := range nodes {
		c := newClusterWith(placement.Spread{})
		for i := range nodes {
			memory := int64(500)
			if i == empty {
				memory = 0
			}
			join(c, fmt.Sprint(i), status(fmt.Sprint("host-", i)), report(fmt.Sprint("x", i), 1, cluster.Active, memory))
		}
		if byNode := placeMany(t, c, nodes); byNode[fmt.Sprint(empty)] == 0 {
			t.Errorf("empty node %d has nothing", empty)
		}
	}
}

func TestSpreadExplains(t *testing.T) {
	c := newClusterWith(placement.Spread{})
	join(c, "a", status("host-a"))
	explained := func(instance string, memory int64) string {
		decision, failure := c.Place(want(instance, 1, memory), epoch)
		if failure != nil {
			t.Fatalf("%+v", failure)
		}
		return decision.Explanation
	}
	got := []string{explained("i", 100)}
	join(c, "b", status("host-b"))
	got = append(got, explained("j", 100), explained("k", 900), explained("l", 900))
	if diff := cmp.Diff([]string{
		"the only node with room", "the least used of 2 nodes with room", "the least used of 2 nodes with room",
		"the only node with room; passed over: 1 without enough free memory",
	}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
