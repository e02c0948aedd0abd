package controller

import (
	"errors"
	"iter"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/store"
	"github.com/ciaocloud/ciao/ssntp"
)

// keep puts volumes on a node's disk.
func (w *world) keep(node string, ids ...string) {
	w.fake.with(func() { w.fake.nodes[node].kept = append(w.fake.nodes[node].kept, ids...) })
}

func (w *world) kept(node string) (ids []string) {
	w.fake.with(func() { ids = slices.Clone(w.fake.nodes[node].kept) })
	return ids
}

// A node deletes the volumes that nobody knows, and it is told once; what has a row stays, whatever its state.
func TestStraysAreDeleted(t *testing.T) {
	inWorld(t, func(w *world) {
		node := w.fake.order[0]
		known := w.volume("data")
		w.keep(node, known.ID, uuid.NewString(), uuid.NewString(), "no id")
		w.until("the strays deleted", func() bool { return slices.Equal(w.kept(node), []string{known.ID, "no id"}) })
		for range maxStrays + 5 {
			w.keep(node, uuid.NewString())
		}
		w.until("many strays deleted", func() bool { return slices.Equal(w.kept(node), []string{known.ID, "no id"}) })
		if n := w.hasEvent("StrayVolumes"); n != 3 { // many are told in two steps
			t.Errorf("%d events tell of the strays", n)
		}
	})
}

// A volume whose node was given up is deleted at once; when that returns after all, so is what it still had.
func TestStraysOfANodeThatReturns(t *testing.T) {
	inWorld(t, func(w *world) {
		node := w.fake.order[0]
		w.machine()
		w.attach("data", "vm", cluster.VolumeAttaching)
		v := w.untilVolume("data", cluster.VolumeAttached)
		w.keep(node, v.ID)
		w.fake.addNode(2)
		w.fake.disconnect(node)
		w.until("its node is missing", func() bool { n, err := w.c.Node(w.ctx, node); return err == nil && n.State == cluster.NodeMissing })
		w.evacuate(node, true)
		w.detach("data", cluster.VolumeAvailable)
		if _, err := w.c.DeleteVolume(w.ctx, w.tenant.ID, "data"); err != nil {
			t.Fatal(err)
		}
		w.until("the volume gone", func() bool { return w.countVolumes() == 0 })
		returned := time.Now()
		w.fake.with(func() { // it takes its time to delete the instance that had it
			w.fake.drop = func(_ int, f ssntp.Frame, _ bool) bool {
				return f.Operand == ssntp.Delete && time.Since(returned) < 3*time.Second
			}
		})
		w.fake.reconnect(node)
		w.until("what was left of it deleted", func() bool { return len(w.kept(node)) == 0 })
		if took := time.Since(returned); took > 20*time.Second {
			t.Errorf("it was gone after %v", took)
		}
		w.fake.with(func() {
			for _, i := range w.fake.nodes[node].instances {
				if i.Kind == cluster.KindVM {
					t.Errorf("it was deleted while %s had it", i.Instance)
				}
			}
		})
	})
}

// What a restored store does not know is kept until it is settled, and until its batches are unfolded. Before a store is restored, nothing that is
// about to be made is a stray.
func TestStraysOfARestoredStore(t *testing.T) {
	inWorld(t, func(w *world) {
		node := w.fake.order[0]
		backup := w.backUp()
		young := w.volume("young")
		w.keep(node, young.ID)
		w.restore(backup)
		time.Sleep(10 * time.Minute)
		if got := w.kept(node); len(got) != 1 || w.hasEvent("Unknown") != 1 || w.hasEvent("StrayVolumes") != 0 {
			t.Errorf("kept %v, told %d times", got, w.hasEvent("Unknown"))
		}
		w.settle()
		settled := time.Now()
		w.until("the volume deleted", func() bool { return len(w.kept(node)) == 0 })
		if took := time.Since(settled); took > 5*time.Second {
			t.Errorf("it was gone after %v", took)
		}
	})
}

// A VM that was placed after the backup is found with its volumes, which are where it is.
func TestRestoredStoreFindsVolumes(t *testing.T) {
	inWorld(t, func(w *world) {
		w.fake.addNode(2)
		w.machine()
		backup := w.waitingWithDisk()
		w.until("all active", func() bool { return w.count(cluster.Active) == 2 })
		before := w.onlyDisk()
		w.restore(backup)
		w.until("found", func() bool { return w.count(cluster.Active) == 2 })
		w.settle()
		time.Sleep(10 * time.Minute)
		if after := w.onlyDisk(); after.Node != before.Node || !after.Made || before.Node == "" || w.instance("late").Node != before.Node {
			t.Errorf("its disk was %+v and is %+v", before, after)
		}
	})
}

// waitingWithDisk creates an instance with a volume, and returns a backup of the moment at which that waits for a node.
func (w *world) waitingWithDisk() iter.Seq2[store.RawRow, error] {
	w.t.Helper()
	spec := cluster.WorkloadSpec{Kind: cluster.KindVM, Volumes: []cluster.VolumeSpec{{SizeMiB: 8}}, Requirements: cluster.Requirements{VCPUs: 500, MemoryMiB: 64}}
	_, err := w.c.CreateWorkload(w.ctx, Operator, WorkloadRequest{Name: "disk", Spec: spec})
	if err == nil {
		_, err = w.c.CreateInstances(w.ctx, w.tenant.ID, InstanceRequest{Workload: "disk", Name: "late", Count: 1})
	}
	if err == nil {
		err = w.c.unfoldAll(w.ctx, Operator)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return w.backUp()
}

func (w *world) onlyDisk() (disk cluster.Volume) {
	w.t.Helper()
	err := w.db.View(w.ctx, func(r store.Reader) error {
		for v := range volumes.By(r, byInstance, w.instance("late").ID) {
			disk = v
			return nil
		}
		return errors.New("there is no disk")
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return disk
}
