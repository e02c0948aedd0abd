package controller

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/payload"
)

// service has count instances of a workload that starts elsewhere first run on the first of two nodes.
func (w *world) service(count int) (first, second string) {
	w.t.Helper()
	spec := containerSpec()
	spec.Drain, spec.StopGrace = cluster.StartFirst, cluster.Duration(5*time.Second)
	if _, err := w.c.CreateWorkload(w.ctx, Operator, WorkloadRequest{Name: "service", Spec: spec}); err != nil {
		w.t.Fatal(err)
	}
	w.createOf("service", "s", count)
	w.untilState(cluster.Active, count)
	first, second = w.fake.order[0], w.fake.addNode(2)
	w.until("the second is ready", func() bool { n, _ := w.c.Node(w.ctx, second); return n.State == cluster.NodeReady })
	return first, second
}

// served watches that there are always as many copies as wanted, until a condition holds.
func (w *world) served(count int, what string, holds func() bool) {
	w.t.Helper()
	w.until(what, func() bool {
		serving := 0
		w.fake.with(func() {
			for _, node := range w.fake.nodes {
				for _, i := range node.instances {
					if i.Kind != cluster.KindCNCI && i.State == cluster.Active {
						serving++
					}
				}
			}
		})
		if serving < count {
			w.t.Errorf("%s: %d of %d serve", what, serving, count)
		}
		return holds()
	})
}

// replaced says whether all that is left is count active instances on a node.
func (w *world) replaced(count int, node string) bool {
	all := w.instances()
	for _, i := range all {
		if i.Node != node || i.State != cluster.Active || i.Replaces != "" {
			return false
		}
	}
	return len(all) == count
}

func TestStartFirstLeavesNoGap(t *testing.T) {
	inWorld(t, func(w *world) {
		first, second := w.service(2)
		w.evacuate(first, false)
		w.served(2, "both are replaced", func() bool { return w.replaced(2, second) })
		if _, err := w.c.RestoreNode(w.ctx, first); err != nil {
			t.Fatal(err)
		}
		w.until("the node is ready", func() bool { n, _ := w.c.Node(w.ctx, first); return n.State == cluster.NodeReady })
		w.evacuate(second, false)
		w.served(2, "both are replaced again", func() bool { return w.replaced(2, first) })
		for _, i := range w.instances() {
			if i.Name != "s-1-r2" && i.Name != "s-2-r2" {
				t.Errorf("the replacement of a replacement is %s", i.Name)
			}
		}
	})
}

// TestStartFirstSurvivesItsController kills it at every moment of a replacement.
func TestStartFirstSurvivesItsController(t *testing.T) {
	for moment := range 24 {
		t.Run(fmt.Sprint(moment), func(t *testing.T) {
			inWorld(t, func(w *world) {
				first, second := w.service(1)
				w.evacuate(first, false)
				time.Sleep(time.Duration(moment) * 5 * time.Millisecond)
				w.restart()
				w.served(1, "it is replaced", func() bool { return w.replaced(1, second) })
			})
		})
	}
}

func TestStartFirstWithoutQuotaStopsFirst(t *testing.T) {
	inWorld(t, func(w *world) {
		first, second := w.service(1)
		one := cluster.Limit(1)
		if _, _, _, err := w.c.UpdateQuota(w.ctx, w.tenant.ID, QuotaUpdate{Instances: &one}, 0); err != nil {
			t.Fatal(err)
		}
		before := w.instance("s")
		w.evacuate(first, false)
		w.until("it has moved", func() bool { return w.replaced(1, second) })
		if now := w.instance("s"); now.ID != before.ID {
			t.Errorf("%s became %s", before.ID, now.ID)
		}
		list, _, err := w.c.Events(w.ctx, w.tenant.ID, EventFilter{Instance: before.ID})
		said := false
		for _, event := range list {
			said = said || event.Reason == "NotReplaced" && strings.Contains(event.Message, "quota instances")
		}
		if err != nil || !said {
			t.Errorf("no event says why it stopped first: %v, %v", list, err)
		}
	})
}

// onlyTenants has the starts of tenants' instances answered by a state.
func onlyTenants(state cluster.State, reason string) func(string, payload.Start) (cluster.State, string, bool) {
	return func(_ string, s payload.Start) (cluster.State, string, bool) {
		if s.Kind == cluster.KindCNCI {
			return "", "", false
		}
		return state, reason, false
	}
}

func TestReplacementIsDroppedWhenItIsNotNeeded(t *testing.T) {
	for name, change := range map[string]func(w *world, first string) error{
		"the node is restored": func(w *world, first string) error { _, err := w.c.RestoreNode(w.ctx, first); return err },
		"it is stopped":        func(w *world, _ string) error { _, err := w.c.StopInstance(w.ctx, w.tenant.ID, "s"); return err },
		"it is deleted":        func(w *world, _ string) error { _, err := w.c.DeleteInstance(w.ctx, w.tenant.ID, "s"); return err },
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				first, _ := w.service(1)
				w.fake.with(func() {
					w.fake.onStart = onlyTenants(cluster.Starting, "")
				})
				w.evacuate(first, false)
				w.until("the replacement is starting", func() bool { return len(w.instances()) == 2 && w.instance("s-r1").State == cluster.Starting })
				if err := change(w, first); err != nil {
					t.Fatal(err)
				}
				w.until("the replacement is gone", func() bool {
					for _, i := range w.instances() {
						if i.Name != "s" || !i.State.Settled() {
							return false
						}
					}
					return true
				})
			})
		})
	}
}

func TestFailedReplacementStopsNothing(t *testing.T) {
	inWorld(t, func(w *world) {
		first, second := w.service(1)
		w.fake.with(func() {
			w.fake.onStart = onlyTenants(cluster.Failed, "no such image")
		})
		w.evacuate(first, false)
		w.served(1, "the replacement has failed", func() bool { return w.count(cluster.Failed) == 1 })
		n, err := w.c.Node(w.ctx, first)
		if err != nil || len(n.Staying) != 1 || !strings.Contains(n.Staying[0].Reason, "no such image") {
			t.Errorf("what stays: %+v, %v", n.Staying, err)
		}
		w.fake.with(func() { w.fake.onStart = nil })
		if _, err := w.c.DeleteInstance(w.ctx, w.tenant.ID, "s-r1"); err != nil {
			t.Fatal(err)
		}
		w.served(1, "another attempt works", func() bool { return w.replaced(1, second) })
	})
}

func TestLostNodeWhileItIsReplaced(t *testing.T) {
	for moment := range 12 {
		t.Run(fmt.Sprint(moment), func(t *testing.T) {
			inWorld(t, func(w *world) {
				first, second := w.service(1)
				w.evacuate(first, false)
				time.Sleep(time.Duration(moment) * 10 * time.Millisecond)
				w.fake.with(func() { clear(w.fake.nodes[first].instances) }) // its plug was pulled
				w.fake.disconnect(first)
				w.until("it is missing", func() bool { n, _ := w.c.Node(w.ctx, first); return n.State == cluster.NodeMissing })
				w.evacuate(first, true)
				w.until("one is left", func() bool { return w.replaced(1, second) })
			})
		})
	}
}
