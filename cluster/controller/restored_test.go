package controller

import (
	"fmt"
	"iter"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/payload"
	"github.com/ciaocloud/ciao/cluster/store"
	"github.com/ciaocloud/ciao/cluster/store/memstore"
)

// backUp keeps the rows of now.
func (w *world) backUp() iter.Seq2[store.RawRow, error] {
	w.t.Helper()
	s, err := w.db.Snapshot(w.ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	return s.Rows
}

// restore replaces the controller by one whose store is restored from a backup. The cluster knows nothing of that.
func (w *world) restore(rows iter.Seq2[store.RawRow, error]) {
	w.t.Helper()
	w.halt()
	w.memory = memstore.New()
	if _, err := store.Replace(w.ctx, w.memory.Backend(), MarkRestored(rows, time.Now(), time.Now()), false); err != nil {
		w.t.Fatal(err)
	}
	w.fake.with(func() { clear(w.fake.started) }) // the store has forgotten starts; that no two copies run is still watched
	w.open(w.memory.Backend())
	w.lead()
}

func (w *world) settle() {
	w.t.Helper()
	if err := w.c.SettleStore(w.ctx); err != nil {
		w.t.Fatal(err)
	}
}

// on is what nodes have of an instance.
func (w *world) copiesOf(id string) (copies []fakeInstance) {
	w.fake.with(func() {
		for _, node := range w.fake.nodes {
			if i := node.instances[id]; i != nil {
				copies = append(copies, *i)
			}
		}
	})
	return copies
}

func (w *world) hasEvent(reason string) (n int) {
	w.t.Helper()
	all, _, err := w.c.Events(w.ctx, Operator, EventFilter{})
	if err != nil {
		w.t.Fatal(err)
	}
	for _, e := range all {
		if e.Reason == reason {
			n++
		}
	}
	return n
}

// TestRestoredStoreKeepsWhatItDoesNotKnow: instances that are younger than the backup are stopped and kept; what the backup has goes on
// undisturbed. Once the operator says so, they are deleted.
func TestRestoredStoreKeepsWhatItDoesNotKnow(t *testing.T) {
	inWorld(t, func(w *world) {
		w.create(1, "old")
		w.untilState(cluster.Active, 1)
		backup := w.backUp()
		young := w.create(2, "young")
		w.untilState(cluster.Active, 3)
		w.restore(backup)
		w.until("the young are stopped", func() bool {
			for _, i := range young {
				if copies := w.copiesOf(i.ID); len(copies) == 1 && copies[0].State != cluster.Stopped {
					return false
				}
			}
			return w.hasEvent("Unknown") == 2
		})
		time.Sleep(10 * time.Minute)
		for _, i := range young {
			if copies := w.copiesOf(i.ID); len(copies) != 1 || copies[0].State != cluster.Stopped {
				t.Errorf("%s: nodes have %+v", i.Name, copies)
			}
		}
		if old := w.instance("old"); old.State != cluster.Active || old.Generation != 1 || w.fake.live() != 1 {
			t.Errorf("the old one was disturbed: %+v", old)
		}
		if n := w.hasEvent("Unknown"); n != 2 {
			t.Errorf("%d events tell of the two", n)
		}
		w.settle()
		settled := time.Now()
		w.until("the young are gone", func() bool { return len(w.copiesOf(young[0].ID))+len(w.copiesOf(young[1].ID)) == 0 })
		if took := time.Since(settled); took > 5*time.Second {
			t.Errorf("they were gone after %v", took)
		}
		if err := w.c.SettleStore(w.ctx); err == nil {
			t.Error("it is settled twice")
		}
		w.check()
	})
}

// TestRestoredStoreFindsWhatWasPlacedSince: an instance that waited for a node at the time of the backup and has one now is found there,
// and not started again elsewhere.
func TestRestoredStoreFindsWhatWasPlacedSince(t *testing.T) {
	inWorld(t, func(w *world) {
		w.fake.addNode(2)
		w.create(1, "first") // for the CNCI to be there
		w.untilState(cluster.Active, 1)
		created := w.create(3, "web")
		backup := w.backUp() // a batch, not even unfolded
		w.untilState(cluster.Active, 4)
		before := map[string]string{}
		for _, i := range w.instances() {
			before[i.ID] = i.Node
		}
		empty := w.fake.addNode(3) // the scheduler would choose it now
		for _, node := range w.fake.order {
			if node != empty {
				w.fake.disconnect(node)
			}
		}
		w.restore(backup)
		time.Sleep(10 * time.Second)
		for _, node := range w.fake.order {
			if node != empty {
				w.fake.reconnect(node)
			}
		}
		w.untilState(cluster.Active, 4)
		for _, i := range w.instances() {
			if i.Node != before[i.ID] || i.Generation != 1 {
				t.Errorf("%s was on %s and is on %s, generation %d", i.Name, before[i.ID], i.Node, i.Generation)
			}
		}
		if n := len(w.copiesOf(created[0].ID)); n != 1 || w.fake.live() != 4 || w.hasEvent("Unknown") != 0 {
			t.Errorf("%d copies, %d live", n, w.fake.live())
		}
	})
}

// TestRestoredStoreFindsWhatHasMovedSince: an instance that was moved off its node after the backup is found where it is now, and not
// started again where it was, whichever of the nodes speaks first.
func TestRestoredStoreFindsWhatHasMovedSince(t *testing.T) {
	for _, silent := range []int{-1, 0, 1} {
		t.Run(fmt.Sprintf("node %d is late", silent), func(t *testing.T) {
			inWorld(t, func(w *world) {
				first := w.fake.order[0]
				w.create(2, "web")
				w.untilState(cluster.Active, 2)
				second := w.fake.addNode(2)
				w.until("the second is ready", func() bool { n, _ := w.c.Nodes(w.ctx); return len(n) == 2 && n[1].State == cluster.NodeReady })
				backup := w.backUp()
				w.evacuate(first, false)
				w.until("all have moved", func() bool { return len(w.heldBy(first)) == 0 })
				w.untilState(cluster.Active, 2)
				if silent >= 0 {
					w.fake.disconnect(w.fake.order[silent])
				}
				w.restore(backup)
				time.Sleep(10 * time.Second)
				if silent >= 0 {
					w.fake.reconnect(w.fake.order[silent])
				}
				time.Sleep(5 * time.Minute)
				w.untilState(cluster.Active, 2)
				for _, i := range w.instances() {
					if i.Node != second || i.Generation != 2 || len(w.copiesOf(i.ID)) != 1 {
						t.Errorf("%s is on %s, generation %d; nodes have %+v", i.Name, i.Node, i.Generation, w.copiesOf(i.ID))
					}
				}
			})
		})
	}
}

// TestBeliefOfNodes: a node's word on what a restored store has elsewhere counts when the node that the store names has none of it, while
// nothing is started again; whoever comes later stops its own.
func TestBeliefOfNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here := cluster.Instance{ID: "i", Kind: cluster.KindContainer, Node: "first", Generation: 1, State: cluster.Active, Desired: cluster.WantActive}
		newer := payload.InstanceReport{Instance: "i", Generation: 2, State: cluster.Active}
		host, waiting, unwanted := here, here, here
		host.Kind, waiting.Node, waiting.State, unwanted.Desired = cluster.KindCNCI, "", cluster.Pending, cluster.WantStopped
		for what, c := range map[string]struct {
			instance      cluster.Instance
			report        payload.InstanceReport
			spoken, lacks bool
			late          time.Duration
			want          belief
		}{
			"its node has not spoken":      {instance: here, report: newer, want: undecided},
			"its node has it":              {instance: here, report: newer, spoken: true, want: refuted},
			"its node has it not":          {instance: here, report: newer, spoken: true, lacks: true, want: believed},
			"too late":                     {instance: here, report: newer, spoken: true, lacks: true, late: time.Hour, want: refuted},
			"too late, and nobody spoke":   {instance: here, report: newer, late: time.Hour, want: refuted},
			"the same generation":          {instance: here, report: payload.InstanceReport{Instance: "i", Generation: 1, State: cluster.Active}, lacks: true, want: refuted},
			"gone there, too":              {instance: here, report: payload.InstanceReport{Instance: "i", Generation: 2, State: cluster.Gone}, lacks: true, want: refuted},
			"a CNCI":                       {instance: host, report: newer, spoken: true, lacks: true, want: refuted},
			"one that is not to run":       {instance: unwanted, report: newer, spoken: true, lacks: true, want: refuted},
			"one that waited for its node": {instance: waiting, report: newer, want: believed},
		} {
			r := &reconciler{restored: true, since: time.Now().Add(-c.late), timing: Timing{NodeGrace: time.Minute}, peers: map[string]*peer{}, aftermath: newAftermath()}
			r.absent["i"] = c.lacks
			r.peer("first").spoken = c.spoken
			if got := r.believe(c.instance, "second", c.report, time.Now()); got != c.want {
				t.Errorf("%s: %d, not %d", what, got, c.want)
			}
		}
	})
}

// TestRestoredStoreIsNotRobbed: a node that says that it has newer copies of instances does not get those that their nodes have, whichever
// speaks first; what it says that nobody knows does not fill the controller's memory.
func TestRestoredStoreIsNotRobbed(t *testing.T) {
	for _, late := range []bool{false, true} {
		inWorld(t, func(w *world) {
			first := w.fake.order[0]
			w.create(2, "web")
			w.untilState(cluster.Active, 2)
			robber := w.fake.addNode(2)
			w.until("the robber is ready", func() bool { n, _ := w.c.Nodes(w.ctx); return len(n) == 2 && n[1].State == cluster.NodeReady })
			backup, all := w.backUp(), w.instances()
			w.fake.with(func() {
				for _, i := range all {
					w.fake.nodes[robber].instances[i.ID] = &fakeInstance{InstanceReport: payload.InstanceReport{
						Instance: i.ID, Kind: i.Kind, Generation: i.Generation + 1, State: cluster.Stopped}}
				}
				for range 2 * maxHeld {
					id := uuid.NewString()
					w.fake.nodes[robber].instances[id] = &fakeInstance{InstanceReport: payload.InstanceReport{
						Instance: id, Kind: cluster.KindContainer, Generation: 1, State: cluster.Stopped}}
				}
			})
			if late {
				w.fake.disconnect(first)
			}
			w.restore(backup)
			time.Sleep(10 * time.Second)
			if late {
				w.fake.reconnect(first)
			}
			time.Sleep(5 * time.Minute)
			w.untilState(cluster.Active, 2)
			for _, i := range w.instances() {
				if i.Node != first || i.Generation != 1 {
					t.Errorf("%s is on %s, generation %d", i.Name, i.Node, i.Generation)
				}
			}
			if n := w.hasEvent("Unknown"); n > maxHeld+store.MaxOperations {
				t.Errorf("%d events tell of what it says", n)
			}
		})
	}
}

// TestRestoredStoreRevivesWhatWasDeletedSince: the nodes remember the delete, and start it all the same.
func TestRestoredStoreRevivesWhatWasDeletedSince(t *testing.T) {
	inWorld(t, func(w *world) {
		w.create(2, "web")
		w.untilState(cluster.Active, 2)
		backup := w.backUp()
		if _, err := w.c.DeleteInstances(w.ctx, w.tenant.ID, InstanceFilter{}); err != nil {
			t.Fatal(err)
		}
		w.untilGone()
		w.until("the idle CNCI is gone", func() bool { return w.fake.held() == 0 })
		w.restore(backup)
		w.untilState(cluster.Active, 2)
		w.until("both live", func() bool { return w.fake.live() == 2 })
	})
}

// TestRestoredStoreConverges does random things, backs up among them, does more, and restores: whatever that was, the instances of
// the backup come to rest, no instance runs twice, and the cluster works.
func TestRestoredStoreConverges(t *testing.T) {
	for seed := range uint64(20) {
		inWorld(t, func(w *world) {
			w.fake.addNode(2)
			random := rand.New(rand.NewPCG(seed, 3))
			w.randomly(random, 8)
			backup := w.backUp()
			w.randomly(random, 8)
			w.restore(backup)
			w.until("all are at rest", func() bool {
				for _, i := range w.instances() {
					if !i.State.Settled() || i.State == cluster.Missing {
						return false
					}
				}
				return true
			})
			w.settle()
			w.until("nodes have what the store has", func() bool { return w.fake.live() == w.count(cluster.Active) })
			w.story2()
		})
		if t.Failed() {
			t.Fatalf("with seed %d", seed)
		}
	}
}

// randomly makes, starts, stops and deletes instances, and waits now and then.
func (w *world) randomly(random *rand.Rand, steps int) {
	w.t.Helper()
	for range steps {
		all := w.instances()
		pick := func() string { return all[random.IntN(len(all))].ID }
		switch what := random.IntN(6); {
		case what < 2 || len(all) == 0:
			w.create(1+random.IntN(3), fmt.Sprintf("i%d", random.Uint32()))
		case what == 2: // whether it may be does not matter here, nor below
			_, _ = w.c.StopInstance(w.ctx, Operator, pick())
		case what == 3:
			_, _ = w.c.StartInstance(w.ctx, Operator, pick())
		case what == 4:
			_, _ = w.c.DeleteInstance(w.ctx, Operator, pick())
		default:
			time.Sleep(time.Duration(random.IntN(3000)) * time.Millisecond)
		}
		time.Sleep(time.Duration(random.IntN(40)) * time.Millisecond)
	}
}

// story2 has the cluster delete all and make one more.
func (w *world) story2() {
	w.t.Helper()
	if _, err := w.c.DeleteInstances(w.ctx, w.tenant.ID, InstanceFilter{}); err != nil {
		w.t.Fatal(err)
	}
	w.untilGone()
	w.create(1, "last")
	w.untilState(cluster.Active, 1)
	w.until("it lives alone", func() bool { return w.fake.live() == 1 })
}

// TestMarkRestoredReplacesTheMark: a backup of a restored store restores to one mark.
func TestMarkRestoredReplacesTheMark(t *testing.T) {
	none := func(func(store.RawRow, error) bool) {}
	marks := 0
	for row, err := range MarkRestored(MarkRestored(none, time.Now(), time.Now()), time.Now(), time.Now()) {
		if err != nil || !strings.HasPrefix(row.Path, "restorations/") {
			t.Errorf("%s, %v", row.Path, err)
		}
		marks++
	}
	if marks != 1 {
		t.Errorf("%d marks", marks)
	}
}
