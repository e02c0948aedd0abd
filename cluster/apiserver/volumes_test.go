package apiserver_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/api"
	"github.com/ciaocloud/ciao/cluster/apiserver/apiservertest"
	"github.com/ciaocloud/ciao/cluster/client"
	"github.com/ciaocloud/ciao/require"
)

func createVolume(t *testing.T, c *client.Client, request api.CreateVolume) api.Volume {
	t.Helper()
	v, err := c.CreateVolume(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// settled waits until a volume has come to a state; empty until it is gone.
func settled(t *testing.T, a *apiservertest.API, c *client.Client, ref string, state cluster.VolumeState) (v api.Volume) {
	t.Helper()
	a.Until("volume "+ref+" is "+string(state), func() bool {
		var err error
		v, err = c.Volume(t.Context(), ref)
		switch {
		case errors.Is(err, cluster.ErrNotFound) && state == "":
			return true
		case err != nil:
			t.Fatalf("volume %s: %v", ref, err)
		case v.State == cluster.VolumeFailed && state != cluster.VolumeFailed:
			t.Fatalf("volume %s failed: %s", ref, v.Reason)
		}
		return v.State == state
	})
	return v
}

// run creates an instance and waits until it is active.
func run(t *testing.T, c *client.Client, request api.CreateInstances) api.Instance {
	t.Helper()
	created, err := c.CreateInstances(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	active, err := c.Wait(t.Context(), created, client.Active, nil)
	if err != nil {
		t.Fatal(err)
	}
	return active[0]
}

func stop(t *testing.T, c *client.Client, i api.Instance) {
	t.Helper()
	_, err := c.StopInstance(t.Context(), i.ID)
	if err == nil {
		_, err = c.Wait(t.Context(), []api.Instance{i}, client.Inactive, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, c *client.Client, i api.Instance) {
	t.Helper()
	_, err := c.DeleteInstance(t.Context(), i.ID)
	if err == nil {
		_, err = c.Wait(t.Context(), []api.Instance{i}, client.Deleted, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// refusedFor wants a refusal of a class that says something.
func refusedFor(t *testing.T, what string, err, class error, says string) {
	t.Helper()
	if !errors.Is(err, class) || !strings.Contains(err.Error(), says) {
		t.Errorf("%s: %v, want %v, saying %q", what, err, class, says)
	}
}

func TestLifeOfAVolume(t *testing.T) {
	a := apiservertest.NewCluster(t)
	blue := a.Client(a.Tenant(apiservertest.Blue))
	workload := sleeper("web")
	workload.Command = nil
	if _, err := blue.CreateWorkload(t.Context(), workload); err != nil {
		t.Fatal(err)
	}
	data := createVolume(t, blue, api.CreateVolume{Name: "data", SizeMiB: 10})
	if data.State != cluster.VolumeAvailable || data.Node != "" || data.Content != "" {
		t.Errorf("created: %+v", data)
	}
	first := run(t, blue, api.CreateInstances{Workload: "web", Name: "first", Volumes: []api.InstanceVolume{{Volume: "data", Target: "/data"}}})
	data = settled(t, a, blue, "data", cluster.VolumeAttached)
	if data.Instance != first.ID || data.Node != first.Node || data.Content != cluster.ContentFiles || data.Target != "/data" {
		t.Errorf("attached: %+v", data)
	}
	refusedFor(t, "attach twice", second(blue.AttachVolume(t.Context(), "data", api.AttachVolume{Instance: "first", Target: "/x"})), cluster.ErrConflict, "first")
	refusedFor(t, "detach from what runs", second(blue.DetachVolume(t.Context(), "data")), cluster.ErrConflict, "stop it first")
	refusedFor(t, "delete in use", blue.DeleteVolume(t.Context(), "data"), cluster.ErrConflict, "detach it first")
	refusedFor(t, "copy in use", second(blue.CreateVolume(t.Context(), api.CreateVolume{Volume: "data"})), cluster.ErrConflict, "must be available")
	refusedFor(t, "second instance", second(blue.CreateInstances(t.Context(), api.CreateInstances{Workload: "web", Volumes: []api.InstanceVolume{{Volume: "data", Target: "/data"}}})),
		cluster.ErrConflict, "instance first has it")

	stop(t, blue, first)
	settled(t, a, blue, "data", cluster.VolumeAttached)
	if _, err := blue.DetachVolume(t.Context(), "data"); err != nil {
		t.Fatal(err)
	}
	refusedFor(t, "detach twice", second(blue.DetachVolume(t.Context(), "data")), cluster.ErrConflict, "no instance has it")
	settled(t, a, blue, "data", cluster.VolumeAvailable)
	copied := createVolume(t, blue, api.CreateVolume{Name: "copy", Volume: "data", SizeMiB: 20})
	if copied.Node != first.Node || copied.Source != data.ID {
		t.Errorf("copy: %+v", copied)
	}
	settled(t, a, blue, "copy", cluster.VolumeAvailable)
	refusedFor(t, "without a target", second(blue.AttachVolume(t.Context(), "copy", api.AttachVolume{Instance: "first"})), cluster.ErrInvalid, "target")
	if _, err := blue.AttachVolume(t.Context(), "copy", api.AttachVolume{Instance: "first", Target: "/copy"}); err != nil {
		t.Fatal(err)
	}
	refusedFor(t, "same target", second(blue.AttachVolume(t.Context(), "data", api.AttachVolume{Instance: "first", Target: "/copy"})), cluster.ErrInvalid, "finds volume copy")
	if _, err := blue.StartInstance(t.Context(), "first"); err != nil {
		t.Fatal(err)
	}
	remove(t, blue, first)
	for _, name := range []string{"data", "copy"} {
		settled(t, a, blue, name, cluster.VolumeAvailable)
		if err := blue.DeleteVolume(t.Context(), name); err != nil {
			t.Error(err)
		}
		settled(t, a, blue, name, "")
	}
	quota, err := blue.Quota(t.Context(), "blue")
	if err != nil {
		t.Fatal(err)
	}
	for _, item := range quota.Items {
		if item.Used != 0 {
			t.Errorf("quota %s: %v are in use of nothing", item.Name, item.Used)
		}
	}
}

func TestVolumesThatAreMadeWithInstances(t *testing.T) {
	a := apiservertest.NewCluster(t)
	blue := a.Client(a.Tenant(apiservertest.Blue))
	upload(t, blue, api.CreateImage{Name: "seed"}, rootfs(t, "hello"))
	workload := sleeper("db")
	workload.Command = nil
	workload.Volumes = []api.VolumeSpec{{SizeMiB: 5, Target: "/scratch", Ephemeral: true}, {Image: "seed", SizeMiB: 7, Target: "/seed"}}
	if _, err := blue.CreateWorkload(t.Context(), workload); err != nil {
		t.Fatal(err)
	}
	refusedFor(t, "delete its image", blue.DeleteImage(t.Context(), "seed"), cluster.ErrConflict, "workload db")
	created, err := blue.CreateInstances(t.Context(), api.CreateInstances{Workload: "db", Name: "db", Count: 2})
	if err != nil {
		t.Fatal(err)
	}
	active, err := blue.Wait(t.Context(), created, client.Active, nil)
	if err != nil {
		t.Fatal(err)
	}
	list, err := blue.Volumes(t.Context())
	if err != nil || len(list) != 4 {
		t.Fatalf("%d volumes, %v, want two for each of two instances", len(list), err)
	}
	for _, i := range active {
		remove(t, blue, i)
	}
	var kept []api.Volume
	a.Until("two volumes are left", func() bool { // the others are gone when their node has said so
		if kept, err = blue.Volumes(t.Context()); err != nil || len(kept) < 2 {
			t.Fatalf("%d volumes left, %v", len(kept), err)
		}
		return len(kept) == 2
	})
	for _, v := range kept {
		if v.State != cluster.VolumeAvailable || v.Image != "seed" || v.Ephemeral {
			t.Errorf("left: %+v", v)
		}
	}
}

// TestBootVolume: a VM without an image has the first of its volumes to boot from; it cannot be taken from it, outlives it, and boots
// another one.
func TestBootVolume(t *testing.T) {
	require.Command(t, "qemu-img")
	a := apiservertest.NewCluster(t)
	blue := a.Client(a.Tenant(apiservertest.Blue))
	upload(t, blue, api.CreateImage{Name: "system"}, bytes.Repeat([]byte{1}, 1<<20))
	made := api.CreateWorkload{Name: "made", Kind: cluster.KindVM, Volumes: []api.VolumeSpec{{Image: "system", SizeMiB: 8}, {SizeMiB: 1, Ephemeral: true}}}
	if _, err := blue.CreateWorkload(t.Context(), made); err != nil {
		t.Fatal(err)
	}
	first := run(t, blue, api.CreateInstances{Workload: "made", Name: "first"})
	list, err := blue.Volumes(t.Context())
	if err != nil || len(list) != 2 {
		t.Fatalf("%+v, %v, want a volume to boot from and one beside", list, err)
	}
	stop(t, blue, first)
	var root string
	for _, v := range list {
		if v.Image == "system" {
			root = v.ID
			refusedFor(t, "detach what it boots from", second(blue.DetachVolume(t.Context(), v.ID)), cluster.ErrConflict, "boots from it")
		} else if _, err := blue.DetachVolume(t.Context(), v.ID); err != nil {
			t.Errorf("detach the other one: %v", err)
		}
	}
	remove(t, blue, first)
	settled(t, a, blue, root, cluster.VolumeAvailable)
	again := api.CreateWorkload{Name: "again", Kind: cluster.KindVM, Volumes: []api.VolumeSpec{{Volume: root}}}
	if _, err := blue.CreateWorkload(t.Context(), again); err != nil {
		t.Fatal(err)
	}
	other := run(t, blue, api.CreateInstances{Workload: "again", Name: "other"})
	if v := settled(t, a, blue, root, cluster.VolumeAttached); v.Instance != other.ID || v.Node != other.Node {
		t.Errorf("the volume of instance %s on node %s: %+v", other.ID, other.Node, v)
	}
}

// TestVolumesOfARunningVM: it is given volumes and relieved of them while it runs, also of one that it was started with.
func TestVolumesOfARunningVM(t *testing.T) {
	require.Command(t, "qemu-img")
	a := apiservertest.NewCluster(t)
	blue := a.Client(a.Tenant(apiservertest.Blue))
	upload(t, blue, api.CreateImage{Name: "system"}, bytes.Repeat([]byte{1}, 1<<20))
	if _, err := blue.CreateWorkload(t.Context(), api.CreateWorkload{Name: "machine", Kind: cluster.KindVM, Image: "system"}); err != nil {
		t.Fatal(err)
	}
	createVolume(t, blue, api.CreateVolume{Name: "first", SizeMiB: 1})
	createVolume(t, blue, api.CreateVolume{Name: "data", SizeMiB: 1})
	vm := run(t, blue, api.CreateInstances{Workload: "machine", Name: apiservertest.Clinging, Volumes: []api.InstanceVolume{{Volume: "first"}}})
	attach := func(volume string) {
		t.Helper()
		v, err := blue.AttachVolume(t.Context(), volume, api.AttachVolume{Instance: vm.Name})
		if err != nil || v.State != cluster.VolumeAttaching || v.Instance != vm.ID {
			t.Fatalf("attach: %+v, %v", v, err)
		}
		if v, err = blue.AwaitVolume(t.Context(), volume, cluster.VolumeAttached); err != nil || v.Instance != vm.ID || v.Node != vm.Node || v.Content != cluster.ContentDisk {
			t.Errorf("attached: %+v, %v", v, err)
		}
	}
	detach := func(volume string) (api.Volume, error) {
		t.Helper()
		if v, err := blue.DetachVolume(t.Context(), volume); err != nil || v.State != cluster.VolumeDetaching {
			t.Fatalf("detach: %+v, %v", v, err)
		}
		return blue.AwaitVolume(t.Context(), volume, cluster.VolumeAvailable)
	}
	attach("data")
	held, err := detach("data")
	refusedFor(t, "a guest that does not let go", err, cluster.ErrConflict, "the guest does not let go")
	if held.State != cluster.VolumeAttached || held.Instance != vm.ID {
		t.Errorf("held: %+v", held)
	}
	for _, volume := range []string{"data", "first"} {
		if v, err := detach(volume); err != nil || v.Instance != "" || v.Node != vm.Node || v.Reason != "" {
			t.Errorf("detached: %+v, %v", v, err)
		}
	}
	attach("first")
	stop(t, blue, vm)
	if v := settled(t, a, blue, "first", cluster.VolumeAttached); v.Instance != vm.ID {
		t.Errorf("of the stopped machine: %+v", v)
	}
	remove(t, blue, vm)
	settled(t, a, blue, "first", cluster.VolumeAvailable)
}

func TestVolumesThatAreRefused(t *testing.T) {
	a := apiservertest.New(t)
	blue, green, operator := a.Client(a.Tenant(apiservertest.Blue)), a.Client(a.Tenant(apiservertest.Green)), a.Client(a.Operator())
	createVolume(t, blue, api.CreateVolume{Name: "data", SizeMiB: 10})
	disk := upload(t, blue, api.CreateImage{Name: "disk"}, bytes.Repeat([]byte{1}, 3<<20))
	createVolume(t, blue, api.CreateVolume{Name: "root", Image: disk.ID})
	for name, test := range map[string]struct {
		request api.CreateVolume
		class   error
		says    string
	}{
		"no size":         {api.CreateVolume{Name: "x"}, cluster.ErrInvalid, "size_mib"},
		"negative":        {api.CreateVolume{Name: "x", SizeMiB: -1}, cluster.ErrInvalid, "must be from 1"},
		"name":            {api.CreateVolume{Name: "X", SizeMiB: 1}, cluster.ErrInvalid, "lower-case"},
		"taken":           {api.CreateVolume{Name: "data", SizeMiB: 1}, cluster.ErrExists, "choose another"},
		"two origins":     {api.CreateVolume{Name: "x", Image: "disk", Volume: "data"}, cluster.ErrInvalid, "not of both"},
		"no such image":   {api.CreateVolume{Name: "x", Image: "nothing"}, cluster.ErrNotFound, "nothing"},
		"no such volume":  {api.CreateVolume{Name: "x", Volume: "nothing"}, cluster.ErrNotFound, "nothing"},
		"smaller than it": {api.CreateVolume{Name: "x", Image: "disk", SizeMiB: 2}, cluster.ErrInvalid, "has 3 MiB"},
	} {
		_, err := blue.CreateVolume(t.Context(), test.request)
		refusedFor(t, name, err, test.class, test.says)
	}
	refusedFor(t, "delete an image that a volume is to begin as", blue.DeleteImage(t.Context(), "disk"), cluster.ErrConflict, "volume root")
	for what, err := range map[string]error{
		"show":   second(green.Volume(t.Context(), "data")),
		"attach": second(green.AttachVolume(t.Context(), "data", api.AttachVolume{Instance: "x", Target: "/x"})),
		"detach": second(green.DetachVolume(t.Context(), "data")),
		"delete": green.DeleteVolume(t.Context(), "data"),
		"copy":   second(green.CreateVolume(t.Context(), api.CreateVolume{Volume: "data"})),
	} {
		refusedFor(t, what+" of another tenant's", err, cluster.ErrNotFound, "not found")
	}
	if _, err := operator.UpdateQuota(t.Context(), "blue", api.UpdateQuota{Limits: map[string]string{"volumes": "3", "disk_mib": "20"}}); err != nil {
		t.Fatal(err)
	}
	refusedFor(t, "disk quota", second(blue.CreateVolume(t.Context(), api.CreateVolume{SizeMiB: 8})), cluster.ErrOverQuota, "quota disk_mib")
	createVolume(t, blue, api.CreateVolume{SizeMiB: 1})
	refusedFor(t, "quota", second(blue.CreateVolume(t.Context(), api.CreateVolume{SizeMiB: 1})), cluster.ErrOverQuota, "quota volumes")
	refusedFor(t, "delete the tenant", operator.DeleteTenant(t.Context(), "blue"), cluster.ErrConflict, "3 volumes")

	workload := sleeper("web")
	if _, err := blue.CreateWorkload(t.Context(), workload); err != nil {
		t.Fatal(err)
	}
	refusedFor(t, "a disk for a container", second(blue.CreateInstances(t.Context(), api.CreateInstances{Workload: "web", Volumes: []api.InstanceVolume{{Volume: "root", Target: "/x"}}})),
		cluster.ErrInvalid, "a container needs a filesystem")
	refusedFor(t, "one volume for two", second(blue.CreateInstances(t.Context(), api.CreateInstances{Workload: "web", Count: 2, Volumes: []api.InstanceVolume{{Volume: "data", Target: "/x"}}})),
		cluster.ErrInvalid, "one instance's at a time")
	if instances, err := blue.Instances(t.Context(), client.InstanceFilter{}); err != nil || len(instances) != 0 {
		t.Errorf("refusals left %d instances, %v", len(instances), err)
	}
}
