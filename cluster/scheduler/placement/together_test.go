package placement_test

import (
	"testing"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/payload"
	"github.com/ciaocloud/ciao/cluster/scheduler/placement"
)

// first is the request for the first of a group of tenant t, each of whose members takes memory; others are that many.
func first(instance string, memory int64, others int) payload.PlacementRequest {
	r := want(instance, 1, memory)
	r.Tenant, r.Together, r.Others = "t", "g", r.Resources.Times(others)
	return r
}

// follower is the request for one more of that group.
func follower(instance string, memory int64, beside string) payload.PlacementRequest {
	r := want(instance, 1, memory)
	r.Tenant, r.Together, r.Beside = "t", "g", beside
	return r
}

func TestGroupNeedsRoomForAll(t *testing.T) {
	c := newCluster()
	join(c, "a", status("host-a"), report("x", 1, cluster.Active, 500))
	join(c, "b", status("host-b"))
	if decision, failure := c.Place(first("i", 200, 3), epoch); decision.Node != "b" {
		t.Fatalf("placed on %q (%+v), want b: a has no room for all four", decision.Node, failure)
	}
	if decision, _ := c.Place(first("i", 200, 3), epoch); decision.Node != "b" || decision.Explanation != "as decided before" {
		t.Errorf("asked again: %+v", decision)
	}
	if _, failure := c.Place(want("stranger", 1, 600), epoch); failure == nil {
		t.Error("a stranger took room that is kept for the group")
	}
	if decision, failure := c.Place(want("small", 1, 200), epoch); failure != nil {
		t.Errorf("no room for a stranger in what the group leaves: %s", failure.Reason)
	} else {
		c.Report(decision.Node, report("small", 1, cluster.Gone, 0))
	}
	for _, id := range []string{"j", "k", "l"} {
		if decision, failure := c.Place(follower(id, 200, "b"), epoch); decision.Node != "b" {
			t.Errorf("%s was placed on %q (%+v), want b", id, decision.Node, failure)
		}
	}
	if _, failure := c.Place(follower("late", 300, "b"), epoch); failure == nil || failure.Permanent {
		t.Errorf("a late one that finds no room with the others: %+v, want it to wait", failure)
	}
}

func TestKeptRoomIsGivenBack(t *testing.T) {
	for name, test := range map[string]struct {
		others int
		after  time.Duration
		room   bool
	}{
		"while it is kept":       {others: 3},
		"when it has lasted":     {others: 3, after: time.Minute, room: true},
		"nothing is kept of one": {room: true},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster()
			join(c, "a", status("host-a"))
			if _, failure := c.Place(first("i", 200, test.others), epoch); failure != nil {
				t.Fatal(failure.Reason)
			}
			c.Report("a", report("i", 1, cluster.Active, 200))
			if _, failure := c.Place(want("stranger", 1, 700), epoch.Add(test.after)); (failure == nil) != test.room {
				t.Errorf("a stranger of the rest: %+v, want room: %t", failure, test.room)
			}
		})
	}
}

func TestGroupTooLargeForEveryNodeWaits(t *testing.T) {
	c := placement.New(placement.Config{Overcommit: cluster.Overcommit{CPU: 2, Memory: 1}, Reservation: time.Minute, Settled: epoch})
	join(c, "a", status("host-a"))
	if _, failure := c.Place(first("i", 600, 1), epoch); failure == nil || failure.Permanent {
		t.Errorf("%+v, want a failure that may pass", failure)
	}
}
