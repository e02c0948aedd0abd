package controller

import (
	"errors"
	"testing"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/payload"
)

// heldBy are the tenants' instances and CNCIs that are recorded on a node.
func (w *world) heldBy(node string) (found []cluster.Instance) {
	w.t.Helper()
	r := reader(w)
	for i := range instances.By(r, byNode, node) {
		found = append(found, i)
	}
	return found
}

func (w *world) evacuate(node string, lost bool) {
	w.t.Helper()
	if _, err := w.c.EvacuateNode(w.ctx, node, lost); err != nil {
		w.t.Fatal(err)
	}
}

func TestEvacuationMovesEverything(t *testing.T) {
	inWorld(t, func(w *world) {
		first, second := w.fake.order[0], w.fake.addNode(2)
		before := map[string]cluster.Instance{}
		for _, i := range w.create(6, "web") {
			before[i.ID] = i
		}
		w.untilState(cluster.Active, 6)
		if _, err := w.c.StopInstance(w.ctx, w.tenant.ID, "web-1"); err != nil {
			t.Fatal(err)
		}
		w.untilState(cluster.Stopped, 1)
		for _, node := range []string{first, second} { // each in turn: everything moves at least once
			w.evacuate(node, false)
			w.until("the node is empty", func() bool { return len(w.heldBy(node)) == 0 })
			w.untilState(cluster.Active, 5)
			w.checkNeighbours() // nobody sends to where they were
			if n, err := w.c.Node(w.ctx, node); err != nil || n.State != cluster.NodeMaintenance || !n.Evacuated {
				t.Errorf("the empty node is %+v, %v", n, err)
			}
			w.restart() // a new controller knows of it, too
			if _, err := w.c.RestoreNode(w.ctx, node); err != nil {
				t.Fatal(err)
			}
			w.until("the node is ready", func() bool { n, err := w.c.Node(w.ctx, node); return err == nil && n.State == cluster.NodeReady })
		}
		for _, now := range w.instances() {
			then := before[now.ID]
			if now.Name != then.Name || now.MAC != then.MAC || now.Addresses[0] != then.Addresses[0] {
				t.Errorf("%s was %s %s and is %s %s", now.ID, then.Name, then.MAC, now.Name, now.MAC)
			}
			if now.State == cluster.Stopped && now.Node != "" {
				t.Errorf("%s is stopped and still on %s", now.Name, now.Node)
			}
		}
		if _, err := w.c.StartInstance(w.ctx, w.tenant.ID, "web-1"); err != nil {
			t.Fatal(err)
		}
		w.untilState(cluster.Active, 6)
	})
}

func TestEvacuationSurvivesItsController(t *testing.T) {
	inWorld(t, func(w *world) {
		first := w.fake.order[0]
		w.create(4, "web")
		w.untilState(cluster.Active, 4)
		w.fake.addNode(2)
		w.until("the second is ready", func() bool { n, _ := w.c.Nodes(w.ctx); return len(n) == 2 && n[1].State == cluster.NodeReady })
		w.evacuate(first, false)
		w.restart()
		w.until("the node is empty", func() bool { return len(w.heldBy(first)) == 0 })
		w.untilState(cluster.Active, 4)
	})
}

func TestEvacuationRefuses(t *testing.T) {
	inWorld(t, func(w *world) {
		first := w.fake.order[0]
		w.create(1, "web")
		w.untilState(cluster.Active, 1)
		refused := func(what string, err, class error) {
			t.Helper()
			if !errors.Is(err, class) {
				t.Errorf("%s: %v, want %v", what, err, class)
			}
		}
		_, err := w.c.EvacuateNode(w.ctx, first, false)
		refused("nowhere to go", err, cluster.ErrConflict)
		_, err = w.c.EvacuateNode(w.ctx, first, true)
		refused("lost but connected", err, cluster.ErrConflict)
		_, err = w.c.EvacuateNode(w.ctx, "nobody", false)
		refused("unknown", err, cluster.ErrNotFound)
		w.fake.addNode(2)
		w.until("the second is ready", func() bool { n, _ := w.c.Nodes(w.ctx); return len(n) == 2 && n[1].State == cluster.NodeReady })
		refused("delete of a connected one", w.c.DeleteNode(w.ctx, first), cluster.ErrConflict)
		w.fake.disconnect(first)
		w.untilState(cluster.Missing, 1)
		_, err = w.c.EvacuateNode(w.ctx, first, false)
		refused("not connected", err, cluster.ErrConflict)
		refused("delete of one with instances", w.c.DeleteNode(w.ctx, first), cluster.ErrConflict)
		w.fake.reconnect(first)
		w.untilState(cluster.Active, 1)
	})
}

func TestLostNodeIsReplaced(t *testing.T) {
	inWorld(t, func(w *world) {
		first := w.fake.order[0]
		w.create(3, "web")
		w.untilState(cluster.Active, 3)
		second := w.fake.addNode(2)
		w.fake.disconnect(first)
		w.untilState(cluster.Missing, 3)
		relic := map[string]*fakeInstance{}
		w.fake.with(func() { // its power has failed
			for id, i := range w.fake.nodes[first].instances {
				relic[id] = i
			}
			clear(w.fake.nodes[first].instances)
			clear(w.fake.agents)
		})
		w.evacuate(first, true)
		w.untilState(cluster.Active, 3)
		for _, i := range w.instances() {
			if i.Node != second {
				t.Errorf("%s is on %s", i.Name, i.Node)
			}
		}
		w.fake.with(func() { w.fake.nodes[first].instances = relic }) // it was a failure of the network after all
		w.fake.reconnect(first)
		w.until("the copies of before are deleted", func() bool {
			left := 0
			w.fake.with(func() { left = len(w.fake.nodes[first].instances) })
			return left == 0
		})
		w.until("it takes nothing new", func() bool { n, err := w.c.Node(w.ctx, first); return err == nil && n.State == cluster.NodeMaintenance })
		w.untilState(cluster.Active, 3)
		w.fake.disconnect(first)
		w.until("it can be forgotten", func() bool { return w.c.DeleteNode(w.ctx, first) == nil })
		if _, err := w.c.Node(w.ctx, first); !errors.Is(err, cluster.ErrNotFound) {
			t.Errorf("the deleted node is there: %v", err)
		}
	})
}

// TestNodeThatComesBackKeepsWhatItStillHas: nobody would tell it to delete what is taken from it after it has said what it has.
func TestNodeThatComesBackKeepsWhatItStillHas(t *testing.T) {
	inWorld(t, func(w *world) {
		first := w.fake.order[0]
		w.create(2, "web")
		w.untilState(cluster.Active, 2)
		w.fake.addNode(2)
		if err := w.c.abandon(w.ctx, first); !errors.Is(err, cluster.ErrConflict) { // as if it had come back since its loss was judged
			t.Errorf("%v, want a conflict", err)
		}
		w.untilState(cluster.Active, 2)
		for _, i := range w.instances() {
			if i.Node != first || i.Generation != 1 {
				t.Errorf("%s is on %s, generation %d", i.Name, i.Node, i.Generation)
			}
		}
	})
}

func TestReportsOfLostCopiesAreStray(t *testing.T) {
	i := cluster.Instance{ID: "i", Node: "new", Generation: 3, State: cluster.Active, Desired: cluster.WantActive}
	report := payload.InstanceReport{Instance: "i", Generation: 2, State: cluster.Active}
	if _, verdict := record(i, "old", report, false, i.Changed); verdict != stray {
		t.Errorf("an old copy elsewhere: verdict %d, want stray", verdict)
	}
	report.State = cluster.Gone
	if _, verdict := record(i, "old", report, false, i.Changed); verdict != nothing {
		t.Errorf("the end of an old copy: verdict %d, want nothing", verdict)
	}
}
