package controller

import (
	"errors"
	"strings"
	"testing"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/payload"
	"github.com/ciaocloud/ciao/cluster/store"
	"github.com/ciaocloud/ciao/ssntp"
)

// keepDisks has the world keep disks somewhere, with a machine that boots from one of them.
func (w *world) keepDisks(where cluster.Storage) {
	w.t.Helper()
	w.disks = where
	w.restart()
	spec := cluster.WorkloadSpec{
		Kind: cluster.KindVM, Volumes: []cluster.VolumeSpec{{SizeMiB: 8}}, Requirements: cluster.Requirements{VCPUs: 500, MemoryMiB: 64},
	}
	if _, err := w.c.CreateWorkload(w.ctx, Operator, WorkloadRequest{Name: "machine", Spec: spec}); err != nil {
		w.t.Fatal(err)
	}
	w.createOf("machine", "vm", 1)
	w.untilState(cluster.Active, 1)
}

// onlyVolume is the one volume that there is.
func (w *world) onlyVolume() cluster.Volume {
	w.t.Helper()
	list, _, err := w.c.Volumes(w.ctx, Operator, Page{})
	if err != nil || len(list) != 1 {
		w.t.Fatalf("volumes: %+v, %v, want one", list, err)
	}
	return list[0]
}

// TestSharedVolumesAreEverywhere: a machine takes its disk along, from a node that is evacuated and from one that is lost, and each node gets
// a larger token to take it over with. Whichever node is there deletes it.
func TestSharedVolumesAreEverywhere(t *testing.T) {
	inWorld(t, func(w *world) {
		starts := map[string]payload.Volume{} // the last one of each node
		w.fake.with(func() {
			w.fake.onStart = func(node string, s payload.Start) (cluster.State, string, bool) {
				if s.Kind == cluster.KindVM {
					starts[node] = s.Volumes[0]
				}
				return "", "", false
			}
		})
		told := func(node string) (v payload.Volume) {
			w.fake.with(func() { v = starts[node] })
			return v
		}
		first := w.fake.order[0]
		w.keepDisks(cluster.StorageCeph)
		if v := w.onlyVolume(); !v.Shared() || v.Node != "" || !v.Made || told(first).Storage != cluster.StorageCeph || told(first).Token != v.Token || v.Token == 0 {
			t.Fatalf("%+v, and its node was told of %+v", v, told(first))
		}
		second := w.fake.addNode(2)
		w.until("the second is ready", func() bool { n, _ := w.c.Nodes(w.ctx); return len(n) == 2 && n[1].State == cluster.NodeReady })

		w.evacuate(first, false)
		w.until("it is on the second", func() bool { i := w.instance("vm"); return i.State == cluster.Active && i.Node == second })
		if !told(second).Made || told(second).Token <= told(first).Token {
			t.Errorf("the second was told of %+v, the first of %+v", told(second), told(first))
		}
		if _, err := w.c.RestoreNode(w.ctx, first); err != nil {
			t.Fatal(err)
		}
		w.fake.disconnect(second)
		w.untilState(cluster.Missing, 1)
		w.fake.with(func() { // its power has failed
			clear(w.fake.nodes[second].instances)
			clear(w.fake.agents)
		})
		w.evacuate(second, true)
		w.until("it is on the first", func() bool { i := w.instance("vm"); return i.State == cluster.Active && i.Node == first })
		if told(first).Token <= told(second).Token {
			t.Errorf("the first was told of %+v, the second of %+v", told(first), told(second))
		}

		if _, err := w.c.DeleteInstance(w.ctx, w.tenant.ID, "vm"); err != nil {
			t.Fatal(err)
		}
		w.untilGone()
		if _, err := w.c.DeleteVolume(w.ctx, w.tenant.ID, w.onlyVolume().ID); err != nil {
			t.Fatal(err)
		}
		w.until("the volume is gone", func() bool { return w.countVolumes() == 0 })
		w.fake.with(func() {
			if len(w.fake.orders) != 1 || w.fake.orders[0].node != first || !w.fake.orders[0].Delete {
				t.Errorf("ordered: %+v, want a delete by the first", w.fake.orders)
			}
		})
	})
}

// TestSharedVolumesOfARunningMachine: whichever node has the machine gives it the volume, with a token that is larger each time; a node that had it
// before is not heard any more.
func TestSharedVolumesOfARunningMachine(t *testing.T) {
	inWorld(t, func(w *world) {
		told := map[string]payload.VolumeOrder{} // the last one of each node
		w.onChange(func(node string, o payload.VolumeOrder) string { told[node] = o; return "" })
		order := func(node string) (o payload.VolumeOrder) {
			w.fake.with(func() { o = told[node] })
			return o
		}
		first := w.fake.order[0]
		w.keepDisks(cluster.StorageCeph)
		w.volume("data")
		w.attach("data", "vm", cluster.VolumeAttaching)
		v := w.untilVolume("data", cluster.VolumeAttached)
		if !v.Shared() || v.Node != "" || v.Token == 0 || order(first).Volume.Token != v.Token || !w.present(v, w.instance("vm")) {
			t.Errorf("attached: %+v, and its node was told %+v", v, order(first))
		}
		w.detach("data", cluster.VolumeDetaching)
		w.untilVolume("data", cluster.VolumeAvailable)

		second := w.fake.addNode(2)
		w.until("the second is ready", func() bool { n, _ := w.c.Nodes(w.ctx); return len(n) == 2 && n[1].State == cluster.NodeReady })
		w.evacuate(first, false)
		w.until("it is on the second", func() bool { i := w.instance("vm"); return i.State == cluster.Active && i.Node == second })
		w.fake.with(func() { w.fake.drop = func(_ int, f ssntp.Frame, _ bool) bool { return f.Operand == ssntp.Volume } })
		w.attach("data", "vm", cluster.VolumeAttaching)
		now := w.untilVolume("data", cluster.VolumeAttaching)
		w.fake.with(func() {
			w.fake.tell(first, ssntp.VolumeState, payload.VolumeReport{Volume: now.ID, Revision: now.Revision, State: cluster.VolumeFailed, Reason: "late"})
			w.fake.drop = nil
		})
		now = w.untilVolume("data", cluster.VolumeAttached)
		if now.Token <= v.Token || order(second).Volume.Token != now.Token || w.told("VolumeNotAttached") {
			t.Errorf("attached on the second: %+v, which was told %+v", now, order(second))
		}
		if _, err := w.c.RestoreNode(w.ctx, first); err != nil {
			t.Fatal(err)
		}
		w.fake.disconnect(second)
		w.detach("data", cluster.VolumeDetaching)
		w.until("it says why it waits", func() bool {
			v, err := w.c.Volume(w.ctx, w.tenant.ID, "data")
			return err == nil && strings.Contains(v.Reason, second)
		})
		w.fake.reconnect(second)
		w.untilVolume("data", cluster.VolumeAvailable)
	})
}

// TestSharedVolumesWaitForANode: what no node can do now is done when one is there, and says so until then.
func TestSharedVolumesWaitForANode(t *testing.T) {
	inWorld(t, func(w *world) {
		w.keepDisks(cluster.StorageCeph)
		if _, err := w.c.DeleteInstance(w.ctx, w.tenant.ID, "vm"); err != nil {
			t.Fatal(err)
		}
		w.untilGone()
		v := w.onlyVolume()
		copied, err := w.c.CreateVolume(w.ctx, w.tenant.ID, VolumeRequest{Name: "copy", Volume: v.ID})
		if err != nil || copied.Node != "" || !copied.Shared() {
			t.Fatalf("%+v, %v", copied, err)
		}
		w.until("the copy is made", func() bool {
			v, err := w.c.Volume(w.ctx, Operator, copied.ID)
			return err == nil && v.State == cluster.VolumeAvailable
		})
		w.fake.disconnect(w.fake.order[0])
		if _, err := w.c.DeleteVolume(w.ctx, w.tenant.ID, copied.ID); err != nil {
			t.Fatal(err)
		}
		w.until("it says why it waits", func() bool {
			v, err := w.c.Volume(w.ctx, Operator, copied.ID)
			return err == nil && v.State == cluster.VolumeDeleting && strings.Contains(v.Reason, "no node is connected")
		})
		w.fake.reconnect(w.fake.order[0])
		w.until("the copy is gone", func() bool { return w.countVolumes() == 1 })
	})
}

func (w *world) countVolumes() int {
	w.t.Helper()
	list, _, err := w.c.Volumes(w.ctx, Operator, Page{})
	if err != nil {
		w.t.Fatal(err)
	}
	return len(list)
}

// TestStorageIsChosen: a volume is kept where it is wanted, also beside others, and what cannot be is refused in one sentence.
func TestStorageIsChosen(t *testing.T) {
	inWorld(t, func(w *world) {
		w.keepDisks(cluster.StorageCeph)
		near, far := VolumeRequest{Name: "near", SizeMiB: 1, Storage: cluster.StorageLocal}, VolumeRequest{Name: "far", SizeMiB: 1, Storage: cluster.StorageCeph}
		for _, request := range []VolumeRequest{near, far} {
			if v, err := w.c.CreateVolume(w.ctx, w.tenant.ID, request); err != nil || v.Storage != request.Storage {
				t.Fatalf("%+v, %v", v, err)
			}
			w.attach(request.Name, "vm", cluster.VolumeAttaching)
			v := w.untilVolume(request.Name, cluster.VolumeAttached)
			if v.Storage != request.Storage || (v.Node == "") != v.Shared() {
				t.Errorf("attached: %+v", v)
			}
			w.detach(request.Name, cluster.VolumeDetaching)
			w.untilVolume(request.Name, cluster.VolumeAvailable)
		}
		copied, err := w.c.CreateVolume(w.ctx, w.tenant.ID, VolumeRequest{Name: "copy", Volume: "near"})
		if err != nil || copied.Storage != cluster.StorageLocal {
			t.Errorf("a copy of what is on a node: %+v, %v", copied, err)
		}
		w.create(1, "box")
		w.untilState(cluster.Active, 2)
		if _, err := w.c.StopInstance(w.ctx, w.tenant.ID, "box"); err != nil {
			t.Fatal(err)
		}
		w.untilState(cluster.Stopped, 1)
		w.write(func(tx store.Tx) error {
			files := activeImage(w.tenant.ID)
			files.Name, files.Format = "files", cluster.FormatTar
			return errors.Join(claims.Put(tx, claim{imageClaim(files.Tenant, files.Name), files.ID}), images.Put(tx, files))
		})
		w.volume("any")
		if _, err := w.c.AttachVolume(w.ctx, w.tenant.ID, "any", "box", cluster.VolumePlace{Target: "/any"}); err != nil {
			t.Errorf("files are on nodes, whatever the cluster has: %v", err)
		}
		refused := func(what string, err error, want string) {
			t.Helper()
			w.refused(what, err, cluster.ErrInvalid, want)
		}
		create := func(request VolumeRequest) error {
			request.Name = "refused"
			return second(w.c.CreateVolume(w.ctx, w.tenant.ID, request))
		}
		refused("a copy elsewhere", create(VolumeRequest{Volume: "near", Storage: cluster.StorageCeph}), "it is kept in storage local, and so is a copy of it")
		refused("unknown", create(VolumeRequest{SizeMiB: 1, Storage: "tape"}), `"tape" keeps no volumes`)
		refused("files in Ceph", create(VolumeRequest{Image: "files", Storage: cluster.StorageCeph}), "ceph keeps disks of VMs")
		spec := cluster.WorkloadSpec{Kind: cluster.KindContainer, Image: "box", Volumes: []cluster.VolumeSpec{{SizeMiB: 1, Target: "/a", Storage: cluster.StorageCeph}}}
		_, err = w.c.CreateWorkload(w.ctx, w.tenant.ID, WorkloadRequest{Name: "files", Spec: spec})
		refused("a container's", err, "ceph keeps disks of VMs")
		_, err = w.c.AttachVolume(w.ctx, w.tenant.ID, "far", "box", cluster.VolumePlace{Target: "/far"})
		refused("a container's own", err, "disk")
		if _, err = w.c.CreateVolume(w.ctx, w.tenant.ID, VolumeRequest{Name: "fresh", SizeMiB: 1, Storage: cluster.StorageCeph}); err != nil {
			t.Fatal(err)
		}
		_, err = w.c.AttachVolume(w.ctx, w.tenant.ID, "fresh", "box", cluster.VolumePlace{Target: "/fresh"})
		refused("a container's new one", err, "it is kept in storage ceph, which keeps disks of VMs")
		w.disks = ""
		w.restart()
		refused("no Ceph", create(VolumeRequest{SizeMiB: 1, Storage: cluster.StorageCeph}), "this cluster has no Ceph")
		spec = cluster.WorkloadSpec{Kind: cluster.KindVM, Volumes: []cluster.VolumeSpec{{SizeMiB: 1, Storage: cluster.StorageCeph}}}
		_, err = w.c.CreateWorkload(w.ctx, w.tenant.ID, WorkloadRequest{Name: "far", Spec: spec})
		refused("a workload's without Ceph", err, "volumes[0].storage")
	})
}

// TestDisksOfNodesStay: without Ceph a machine stays where its disk is.
func TestDisksOfNodesStay(t *testing.T) {
	inWorld(t, func(w *world) {
		first := w.fake.order[0]
		w.keepDisks("")
		w.fake.addNode(2)
		w.until("the second is ready", func() bool { n, _ := w.c.Nodes(w.ctx); return len(n) == 2 && n[1].State == cluster.NodeReady })
		w.evacuate(first, false)
		n, err := w.c.Node(w.ctx, first)
		if err != nil || len(n.Staying) != 1 || !strings.Contains(n.Staying[0].Reason, "without its volume") {
			t.Errorf("what stays: %+v, %v", n.Staying, err)
		}
		if v := w.onlyVolume(); v.Shared() || v.Node != first || v.Token != 0 {
			t.Errorf("its disk: %+v", v)
		}
	})
}
