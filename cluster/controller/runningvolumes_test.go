package controller

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/payload"
	"github.com/ciaocloud/ciao/cluster/store"
	"github.com/ciaocloud/ciao/ssntp"
)

// machine runs a VM, and makes the volume data.
func (w *world) machine() (vm cluster.Instance) {
	w.t.Helper()
	w.write(func(tx store.Tx) error {
		root := activeImage(w.tenant.ID)
		return errors.Join(claims.Put(tx, claim{imageClaim(root.Tenant, root.Name), root.ID}), images.Put(tx, root))
	})
	_, err := w.c.CreateWorkload(w.ctx, w.tenant.ID, WorkloadRequest{Name: "machine", Spec: cluster.WorkloadSpec{Kind: cluster.KindVM, Image: "root"}.WithDefaults()})
	if err == nil {
		_, err = w.c.CreateInstances(w.ctx, w.tenant.ID, InstanceRequest{Workload: "machine", Name: "vm", Count: 1})
	}
	if err != nil {
		w.t.Fatal(err)
	}
	w.volume("data")
	w.untilState(cluster.Active, 1)
	return w.instance("vm")
}

func (w *world) volume(name string) cluster.Volume {
	w.t.Helper()
	v, err := w.c.CreateVolume(w.ctx, w.tenant.ID, VolumeRequest{Name: name, SizeMiB: 1})
	if err != nil {
		w.t.Fatal(err)
	}
	return v
}

func (w *world) attach(name, instance string, want cluster.VolumeState) {
	w.t.Helper()
	if v, err := w.c.AttachVolume(w.ctx, w.tenant.ID, name, instance, cluster.VolumePlace{}); err != nil || v.State != want {
		w.t.Fatalf("attach: %+v, %v, want %s", v, err, want)
	}
}

func (w *world) detach(name string, want cluster.VolumeState) {
	w.t.Helper()
	if v, err := w.c.DetachVolume(w.ctx, w.tenant.ID, name); err != nil || v.State != want {
		w.t.Fatalf("detach: %+v, %v, want %s", v, err, want)
	}
}

// untilVolume waits until a volume is in a state.
func (w *world) untilVolume(name string, state cluster.VolumeState) (v cluster.Volume) {
	w.t.Helper()
	w.until(fmt.Sprintf("volume %s %s", name, state), func() bool {
		var err error
		v, err = w.c.Volume(w.ctx, w.tenant.ID, name)
		return err == nil && v.State == state
	})
	return v
}

// present says whether the node of a running instance has a volume in it.
func (w *world) present(v cluster.Volume, i cluster.Instance) (present bool) {
	w.fake.with(func() { present = w.fake.nodes[i.Node].volumes[v.ID] == i.ID })
	return present
}

// clear removes all instances and volumes, which then are not counted any more.
func (w *world) clear() {
	w.t.Helper()
	w.fake.with(func() { w.fake.drop = nil })
	for _, i := range w.instances() {
		if _, err := w.c.DeleteInstance(w.ctx, w.tenant.ID, i.ID); err != nil {
			w.t.Fatal(err)
		}
	}
	w.untilGone()
	w.until("all volumes gone", func() bool {
		list, _, err := w.c.Volumes(w.ctx, Operator, Page{})
		for _, v := range list {
			if v.State == cluster.VolumeAvailable {
				_, err = w.c.DeleteVolume(w.ctx, w.tenant.ID, v.ID)
			}
			if err != nil {
				w.t.Fatal(err)
			}
		}
		return err == nil && len(list) == 0
	})
}

func (w *world) told(reason string) bool {
	list, _, err := w.c.Events(w.ctx, w.tenant.ID, EventFilter{})
	return err == nil && slices.ContainsFunc(list, func(e cluster.Event) bool { return e.Reason == reason })
}

func (w *world) onChange(do func(node string, o payload.VolumeOrder) string) {
	w.fake.with(func() { w.fake.onChange = do })
}

// A VM that runs is given a volume and relieved of it by its node; what either refuses leaves all as it was, and may be tried again.
func TestVolumesOfARunningMachine(t *testing.T) {
	inWorld(t, func(w *world) {
		vm := w.machine()
		w.onChange(func(string, payload.VolumeOrder) string { return "QEMU has no room" })
		w.attach("data", "vm", cluster.VolumeAttaching)
		v := w.untilVolume("data", cluster.VolumeAvailable)
		if v.Reason != "QEMU has no room" || v.Instance != "" || !w.told("VolumeNotAttached") {
			t.Errorf("refused: %+v", v)
		}
		w.onChange(nil)
		w.attach("data", "vm", cluster.VolumeAttaching)
		v = w.untilVolume("data", cluster.VolumeAttached)
		if !w.present(v, vm) || v.Reason != "" || !v.Made || v.Node != vm.Node || v.Instance != vm.ID || v.Content != cluster.ContentDisk || !w.told("VolumeAttached") {
			t.Errorf("attached: %+v", v)
		}

		w.onChange(func(string, payload.VolumeOrder) string { return "the guest does not let go of it" })
		w.detach("data", cluster.VolumeDetaching)
		if v = w.untilVolume("data", cluster.VolumeAttached); v.Reason != "the guest does not let go of it" || v.Instance != vm.ID || !w.told("VolumeNotDetached") {
			t.Errorf("held: %+v", v)
		}
		w.onChange(nil)
		w.detach("data", cluster.VolumeDetaching)
		v = w.untilVolume("data", cluster.VolumeAvailable)
		if w.present(v, vm) || v.Instance != "" || v.Reason != "" || v.Node != vm.Node || !w.told("VolumeDetached") {
			t.Errorf("detached: %+v", v)
		}
		w.clear()
	})
}

// What cannot be is refused in one sentence, and changes nothing.
func TestVolumesThatARunningMachineIsRefused(t *testing.T) {
	inWorld(t, func(w *world) {
		w.machine()
		w.create(1, "box")
		w.untilState(cluster.Active, 2)
		w.attach("data", "vm", cluster.VolumeAttaching)
		w.untilVolume("data", cluster.VolumeAttached)
		w.volume("spare")
		elsewhere := w.volume("elsewhere")
		elsewhere.Node, elsewhere.Made, elsewhere.Content = w.fake.addNode(9), true, cluster.ContentDisk
		w.write(func(tx store.Tx) error { return volumes.Put(tx, elsewhere) })
		blue := w.addTenant("blue")

		attach := func(tenant, volume, instance string, place cluster.VolumePlace) error {
			_, err := w.c.AttachVolume(w.ctx, tenant, volume, instance, place)
			return err
		}
		detach := func(tenant, volume string) error {
			_, err := w.c.DetachVolume(w.ctx, tenant, volume)
			return err
		}
		none := cluster.VolumePlace{}
		w.refused("attach twice", attach(w.tenant.ID, "data", "vm", none), cluster.ErrConflict, "instance vm has it; detach it first")
		w.refused("detach what nothing has", detach(w.tenant.ID, "spare"), cluster.ErrConflict, "no instance has it")
		w.refused("to a running container", attach(w.tenant.ID, "spare", "box", cluster.VolumePlace{Target: "/x"}), cluster.ErrConflict, "stop it first")
		w.refused("with a target", attach(w.tenant.ID, "spare", "vm", cluster.VolumePlace{Target: "/x"}), cluster.ErrInvalid, "a VM sees a disk")
		w.refused("of another node", attach(w.tenant.ID, "elsewhere", "vm", none), cluster.ErrConflict, "it is on node "+elsewhere.Node)
		w.refused("of another tenant", attach(blue.ID, "spare", "vm", none), cluster.ErrNotFound, "not found")
		w.refused("detach another tenant's", detach(blue.ID, "data"), cluster.ErrNotFound, "data")
		w.refused("delete what it has", second(w.c.DeleteVolume(w.ctx, w.tenant.ID, "data")), cluster.ErrConflict, "detach it first")
		for k := range cluster.MaxVolumesPerInstance - 1 {
			name := fmt.Sprint("more-", k)
			w.volume(name)
			w.attach(name, "vm", cluster.VolumeAttaching)
		}
		w.refused("more than the limit", attach(w.tenant.ID, "spare", "vm", none), cluster.ErrConflict, "has 16 volumes, which is the most")
		w.onChange(func(string, payload.VolumeOrder) string { return "no" })
		if _, err := w.c.StopInstance(w.ctx, w.tenant.ID, "vm"); err != nil {
			t.Fatal(err)
		}
		w.refused("while it stops", attach(w.tenant.ID, "spare", "vm", none), cluster.ErrConflict, "wait until it is active, or stopped")
		w.refused("detach while it stops", detach(w.tenant.ID, "data"), cluster.ErrConflict, "wait until it is active, or stopped")
		w.until("stopped", func() bool { return w.instance("vm").State == cluster.Stopped })
		w.clear()
	})
}

func second[T any](_ T, err error) error { return err }

// Whatever is lost on the way, and whenever the controller is killed, a change comes to its end.
func TestVolumesOfARunningMachineInAdversity(t *testing.T) {
	for _, operand := range []ssntp.Operand{ssntp.Volume, ssntp.VolumeState} {
		for lost := range 3 {
			for _, killed := range []bool{false, true} {
				t.Run(fmt.Sprintf("%v %d lost, killed %t", operand, lost, killed), func(t *testing.T) {
					inWorld(t, func(w *world) {
						vm := w.machine()
						story := func(do func(), want cluster.VolumeState, present bool) {
							left := lost
							w.fake.with(func() {
								w.fake.drop = func(_ int, f ssntp.Frame, _ bool) bool {
									if f.Operand != operand || left == 0 {
										return false
									}
									left--
									return true
								}
							})
							do()
							if killed {
								w.restart()
							}
							if v := w.untilVolume("data", want); w.present(v, vm) != present {
								t.Errorf("the volume is %s, and in the machine: %t", v.State, !present)
							}
						}
						for range 2 {
							story(func() { w.attach("data", "vm", cluster.VolumeAttaching) }, cluster.VolumeAttached, true)
							story(func() { w.detach("data", cluster.VolumeDetaching) }, cluster.VolumeAvailable, false)
						}
						w.clear()
					})
				})
			}
		}
	}
}

// A node that was away does it when it is back; meanwhile the volume says why it waits, and another wish may replace it.
func TestVolumesOfARunningMachineWhoseNodeIsAway(t *testing.T) {
	inWorld(t, func(w *world) {
		vm := w.machine()
		w.fake.disconnect(vm.Node)
		w.attach("data", "vm", cluster.VolumeAttaching)
		w.until("why it waits", func() bool {
			v, err := w.c.Volume(w.ctx, w.tenant.ID, "data")
			return err == nil && v.Reason != ""
		})
		w.detach("data", cluster.VolumeDetaching)
		time.Sleep(time.Second)
		w.fake.reconnect(vm.Node)
		if v := w.untilVolume("data", cluster.VolumeAvailable); w.present(v, vm) || v.Reason != "" {
			t.Errorf("it is %+v", v)
		}
		w.clear()
	})
}

// An instance that stops ends the change: it has what it was to get from its next start on, and has no more what it was to give back. One that is
// deleted leaves both.
func TestVolumesOfAMachineThatStopsMeanwhile(t *testing.T) {
	for _, end := range []string{"stop", "delete"} {
		t.Run(end, func(t *testing.T) {
			inWorld(t, func(w *world) {
				vm := w.machine()
				w.volume("more")
				w.attach("more", "vm", cluster.VolumeAttaching)
				w.untilVolume("more", cluster.VolumeAttached)
				deaf := func(_ int, f ssntp.Frame, _ bool) bool { return f.Operand == ssntp.Volume }
				w.fake.with(func() { w.fake.drop = deaf })
				w.attach("data", "vm", cluster.VolumeAttaching)
				w.detach("more", cluster.VolumeDetaching)
				w.refused("detach twice", second(w.c.DetachVolume(w.ctx, w.tenant.ID, "more")), cluster.ErrConflict, "it is being detached")
				var err error
				switch end {
				case "stop":
					_, err = w.c.StopInstance(w.ctx, w.tenant.ID, "vm")
				case "delete":
					_, err = w.c.DeleteInstance(w.ctx, w.tenant.ID, "vm")
				}
				if err != nil {
					t.Fatal(err)
				}
				if end == "delete" {
					w.untilVolume("data", cluster.VolumeAvailable)
					w.untilVolume("more", cluster.VolumeAvailable)
					w.clear()
					return
				}
				w.untilVolume("data", cluster.VolumeAttached)
				w.untilVolume("more", cluster.VolumeAvailable)
				if _, err := w.c.StartInstance(w.ctx, w.tenant.ID, "vm"); err != nil {
					t.Fatal(err)
				}
				w.until("the next generation", func() bool { i := w.instance("vm"); return i.State == cluster.Active && i.Generation > vm.Generation })
				w.fake.with(func() { w.fake.drop = nil })
				data, more := w.untilVolume("data", cluster.VolumeAttached), w.untilVolume("more", cluster.VolumeAvailable)
				if !w.present(data, vm) || w.present(more, vm) {
					t.Errorf("the machine has data: %t, more: %t", w.present(data, vm), w.present(more, vm))
				}
				w.clear()
			})
		})
	}
}

// TestRecordChange: a node's word counts for the change that it is about, and for no other.
func TestRecordChange(t *testing.T) {
	const node = "n"
	for name, test := range map[string]struct {
		state    cluster.VolumeState
		report   cluster.VolumeState
		revision uint64
		want     cluster.VolumeState
	}{
		"attached":            {cluster.VolumeAttaching, cluster.VolumeAttached, 7, cluster.VolumeAttached},
		"not attached":        {cluster.VolumeAttaching, cluster.VolumeFailed, 7, cluster.VolumeAvailable},
		"detached":            {cluster.VolumeDetaching, cluster.VolumeAvailable, 7, cluster.VolumeAvailable},
		"not detached":        {cluster.VolumeDetaching, cluster.VolumeFailed, 7, cluster.VolumeAttached},
		"late":                {cluster.VolumeAttaching, cluster.VolumeFailed, 6, cluster.VolumeAttaching},
		"late, of a detach":   {cluster.VolumeDetaching, cluster.VolumeFailed, 6, cluster.VolumeDetaching},
		"of an older node":    {cluster.VolumeAttaching, cluster.VolumeAvailable, 0, cluster.VolumeAttaching},
		"of the other kind":   {cluster.VolumeAttaching, cluster.VolumeAvailable, 7, cluster.VolumeAttaching},
		"gone":                {cluster.VolumeDetaching, cluster.VolumeGone, 7, cluster.VolumeDetaching},
		"when all is settled": {cluster.VolumeAttached, cluster.VolumeFailed, 7, cluster.VolumeAttached},
	} {
		v := cluster.Volume{Node: node, State: test.state, Revision: 7, Instance: "i"}
		got, what := recordVolume(v, node, payload.VolumeReport{State: test.report, Revision: test.revision, Reason: "why"})
		if got.State != test.want || (what == changed) != (test.state != test.want) || !test.state.May(got.State) {
			t.Errorf("%s: %s, %v, want %s", name, got.State, what, test.want)
		}
		if (got.Instance == "") != (got.State == cluster.VolumeAvailable) {
			t.Errorf("%s: %s with instance %q", name, got.State, got.Instance)
		}
	}
}
