package controller

import (
	"fmt"
	"iter"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

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

// TestRestoredStoreDoesNotMoveBack: who comes back when its instance has long been started where the store has it, stops its own.
func TestRestoredStoreDoesNotMoveBack(t *testing.T) {
	i := cluster.Instance{ID: "i", Node: "first", Generation: 1, State: cluster.Active, Desired: cluster.WantActive}
	report := payload.InstanceReport{Instance: "i", Generation: 2, State: cluster.Active}
	if !outrun(i, "second", report, true) || outrun(i, "second", report, false) {
		t.Error("a move counts while nodes have time to speak, and only then")
	}
	for what, stays := range map[string]payload.InstanceReport{
		"the same generation": {Instance: "i", Generation: 1, State: cluster.Active},
		"one that is gone":    {Instance: "i", Generation: 2, State: cluster.Gone},
	} {
		if outrun(i, "second", stays, true) {
			t.Errorf("%s moves it", what)
		}
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
