package controller

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/payload"
)

func TestTogetherFollowsTheFirst(t *testing.T) {
	inWorld(t, func(w *world) {
		w.fake.addNode(2)
		w.fake.addNode(3)
		w.require("member", func(r *cluster.Requirements) { r.Together = "g" })
		var asked []payload.PlacementRequest
		w.fake.refuse = func(r payload.PlacementRequest) *payload.PlacementFailure {
			if r.Together != "" {
				asked = append(asked, r)
			}
			return nil
		}
		w.createOf("member", "m", 4)
		w.untilState(cluster.Active, 4)
		each := containerSpec().Requirements.Resources()
		var seen []payload.PlacementRequest
		w.fake.with(func() { seen = slices.Clone(asked) })
		if len(seen) != 4 || seen[0].Beside != "" || seen[0].Others != each.Times(3) {
			t.Errorf("asked for %+v: want a node with room for all, for the first alone", seen)
		}
		for _, r := range seen[1:] {
			if r.Beside == "" || r.Beside != w.instance("m-1").Node {
				t.Errorf("one that follows is placed beside %q", r.Beside)
			}
		}
		home := w.instance("m-1").Node
		w.fake.disconnect(home)
		w.untilState(cluster.Missing, 4)
		w.createOf("member", "late", 1)
		w.until("the late one says why it waits", func() bool { return w.instance("late").State == cluster.Failed })
		if reason := w.instance("late").Reason; reason == "" {
			t.Error("it does not say why")
		}
		w.fake.reconnect(home)
		w.untilState(cluster.Active, 4)
		if _, err := w.c.StartInstance(w.ctx, w.tenant.ID, "late"); err != nil {
			t.Fatal(err)
		}
		w.untilState(cluster.Active, 5)
		w.evacuate(home, false)
		w.until("all have moved", func() bool { return len(w.heldBy(home)) == 0 && w.count(cluster.Active) == 5 })
		w.checkGroups()
	})
}

// checkGroups compares where instances are recorded with what their groups allow.
func (w *world) checkGroups() {
	w.t.Helper()
	together, spread := map[string]string{}, map[string]string{}
	for _, i := range w.instances() {
		needs := i.Spec.Requirements
		if i.Node == "" {
			continue
		}
		if home, known := together[needs.Together]; needs.Together != "" && i.Desired != cluster.WantDeleted {
			if known && home != i.Node {
				w.t.Fatalf("group %s is split: on %s and %s", needs.Together, home, i.Node)
			}
			together[needs.Together] = i.Node
		}
		if key := needs.Spread + " on " + i.Node; needs.Spread != "" && i.State != cluster.Failed {
			if other, taken := spread[key]; taken {
				w.t.Fatalf("%s and %s of group %s share a node", other, i.Name, key)
			}
			spread[key] = i.Name
		}
	}
}

// TestGroupsSurviveAnything does to a cluster of four nodes whatever may be done to it, in random order, with a scheduler that does not
// keep instances of a group apart, and checks the groups all the time.
func TestGroupsSurviveAnything(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			inWorld(t, func(w *world) {
				for n := range 3 {
					w.fake.addNode(n + 2)
				}
				w.require("together", func(r *cluster.Requirements) { r.Together = "g" })
				w.require("spread", func(r *cluster.Requirements) { r.Spread = "s" })
				s := &shaker{world: w, random: rand.New(rand.NewPCG(seed, 7)), starts: rand.New(rand.NewPCG(seed, 8))}
				w.fake.onStart = s.start
				for range 60 {
					s.step()
					for range s.random.IntN(40) {
						w.checkGroups()
						time.Sleep(200 * time.Millisecond)
					}
				}
				s.calm()
				w.fake.with(func() { // nodes that were given up as lost ran on here, which their operator had ruled out
					w.fake.problems = slices.DeleteFunc(w.fake.problems, func(p string) bool { return strings.HasSuffix(p, "runs on two nodes") })
				})
			})
		})
	}
}

// shaker does random things to a world.
type shaker struct {
	*world
	random *rand.Rand
	made   int
	starts *rand.Rand // of the fake, under its lock
	quiet  bool       // it is over: everything works; under the fake's lock
}

// start refuses one start in ten for want of room.
func (s *shaker) start(_ string, start payload.Start) (cluster.State, string, bool) {
	if !s.quiet && start.Kind != cluster.KindCNCI && s.starts.IntN(10) == 0 {
		return cluster.Failed, "no room after all", true
	}
	return "", "", false
}

// must accepts what the present state of things forbids.
func (s *shaker) must(what string, err error) {
	s.t.Helper()
	if err != nil && !errors.Is(err, cluster.ErrConflict) && !errors.Is(err, cluster.ErrNotFound) {
		s.t.Fatalf("%s: %v", what, err)
	}
}

func (s *shaker) step() {
	s.t.Helper()
	node := s.fake.order[s.random.IntN(len(s.fake.order))]
	one := ""
	if all := s.instances(); len(all) > 0 {
		one = all[s.random.IntN(len(all))].ID
	}
	var err error
	switch what := s.random.IntN(12); what {
	case 0, 1:
		s.made++
		s.createOf("together", fmt.Sprint("t", s.made), 1+s.random.IntN(3))
	case 2, 3:
		s.made++
		s.createOf("spread", fmt.Sprint("s", s.made), 1+s.random.IntN(2))
	case 4:
		_, err = s.c.DeleteInstance(s.ctx, s.tenant.ID, one)
	case 5:
		_, err = s.c.StopInstance(s.ctx, s.tenant.ID, one)
	case 6:
		_, err = s.c.StartInstance(s.ctx, s.tenant.ID, one)
	case 7:
		_, err = s.c.EvacuateNode(s.ctx, node, s.random.IntN(2) == 0)
	case 8:
		_, err = s.c.RestoreNode(s.ctx, node)
	case 9:
		s.fake.disconnect(node)
	case 10:
		s.fake.reconnect(node)
	case 11:
		s.restart()
	}
	s.must("a step", err)
}

// calm heals everything, and waits until every member of a group that a node is left for is there.
func (s *shaker) calm() {
	s.t.Helper()
	s.fake.with(func() { s.quiet = true })
	for _, node := range s.fake.order {
		s.fake.reconnect(node)
		_, err := s.c.RestoreNode(s.ctx, node)
		s.must("restore", err)
	}
	s.until("all is settled", func() bool {
		s.checkGroups()
		for _, i := range s.instances() {
			if !i.State.Settled() || i.State == cluster.Missing {
				return false
			}
		}
		return true
	})
	for _, i := range s.instances() {
		if i.State == cluster.Failed && i.Spec.Requirements.Together != "" {
			_, err := s.c.StartInstance(s.ctx, s.tenant.ID, i.ID)
			s.must("start", err)
		}
	}
	s.until("the group that is together is whole", func() bool {
		s.checkGroups()
		for _, i := range s.instances() {
			if i.Spec.Requirements.Together != "" && i.Desired == cluster.WantActive && i.State != cluster.Active {
				return false
			}
		}
		return true
	})
}
