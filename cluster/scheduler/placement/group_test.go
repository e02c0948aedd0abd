package placement_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/payload"
	"github.com/ciaocloud/ciao/cluster/scheduler/placement"
)

// member is a request of tenant t for an instance of group db.
func member(instance string, generation uint64) payload.PlacementRequest {
	r := want(instance, generation, 1)
	r.Tenant, r.Spread = "t", "db"
	return r
}

func memberReport(instance string, generation uint64, state cluster.State) payload.InstanceReport {
	r := report(instance, generation, state, 1)
	r.Tenant, r.Spread = "t", "db"
	return r
}

// placeOn places, and says where; empty is nowhere, for want of a node without the group.
func placeOn(t *testing.T, c *placement.Cluster, r payload.PlacementRequest, now time.Time) string {
	t.Helper()
	decision, failure := c.Place(r, now)
	if failure != nil {
		if diff := cmp.Diff([]payload.Refusal{{Filter: "spread", Nodes: 2}}, failure.Refusals); diff != "" || failure.Permanent {
			t.Errorf("%+v (-want +got):\n%s", failure, diff)
		}
	}
	return decision.Node
}

func TestGroupsAreSpread(t *testing.T) {
	otherTenant, otherGroup := member("o", 1), member("p", 1)
	otherTenant.Tenant, otherGroup.Spread = "u", "web"
	for name, test := range map[string]struct {
		then    func(c *placement.Cluster) // after i is reserved on a, and j on b
		request payload.PlacementRequest
		after   time.Duration
		want    string
	}{
		"no node is left":               {request: member("k", 1)},
		"another tenant's group":        {request: otherTenant, want: "b"},
		"another group":                 {request: otherGroup, want: "b"},
		"an instance without a group":   {request: want("q", 1, 1), want: "b"},
		"a reservation that has ended":  {request: member("k", 1), after: time.Minute, want: "b"},
		"the same again":                {request: member("i", 1), want: "a"},
		"the next start of a member":    {request: member("j", 2), want: "b"},
		"reported, and longer reserved": {request: member("k", 1), after: time.Minute, then: active},
		"its node is away": {request: member("k", 1), then: func(c *placement.Cluster) {
			active(c)
			c.Disconnected("a")
			join(c, "a", status("host-a"), memberReport("i", 1, cluster.Active))
		}},
		"a member that is gone": {request: member("k", 1), want: "a", then: func(c *placement.Cluster) {
			active(c)
			c.Report("a", report("i", 1, cluster.Gone, 0))
		}},
		"an older generation that is gone": {request: member("k", 1), then: func(c *placement.Cluster) {
			active(c)
			c.Report("a", report("i", 0, cluster.Gone, 0))
			c.Report("a", memberReport("i", 1, cluster.Active))
		}},
		"a stopped member": {request: member("k", 1), then: func(c *placement.Cluster) {
			active(c)
			c.Report("a", memberReport("i", 1, cluster.Stopped))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster()
			join(c, "a", status("host-a"))
			join(c, "b", status("host-b"))
			if i, j := placeOn(t, c, member("i", 1), epoch), placeOn(t, c, member("j", 1), epoch); i != "a" || j != "b" {
				t.Fatalf("i is on %s, j on %s", i, j)
			}
			if test.then != nil {
				test.then(c)
			}
			if got := placeOn(t, c, test.request, epoch.Add(test.after)); got != test.want {
				t.Errorf("node %q, want %q", got, test.want)
			}
		})
	}
}

func active(c *placement.Cluster) {
	c.Report("a", memberReport("i", 1, cluster.Active))
	c.Report("b", memberReport("j", 1, cluster.Active))
}

// A scheduler that has just started knows the groups from what the nodes report.
func TestGroupsAreKnownFromInventories(t *testing.T) {
	c := newCluster()
	join(c, "a", status("host-a"), memberReport("i", 1, cluster.Active))
	join(c, "b", status("host-b"))
	if got := placeOn(t, c, member("k", 1), epoch); got != "b" {
		t.Errorf("the second member is on %q, want b", got)
	}
	if got := placeOn(t, c, member("l", 1), epoch); got != "" {
		t.Errorf("a third member is on %s", got)
	}
}
