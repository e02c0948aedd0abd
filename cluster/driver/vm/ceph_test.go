package vm

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/ciaocloud/ciao/ccloudvm/qemu"
	"github.com/ciaocloud/ciao/ccloudvm/vmtest"
	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/driver"
	"github.com/ciaocloud/ciao/cluster/storage"
	"github.com/ciaocloud/ciao/cluster/storage/ceph"
	"github.com/ciaocloud/ciao/cluster/storage/ceph/cephtest"
)

// TestVolumesInCeph runs everything on one Ceph cluster, which takes seconds to make.
func TestVolumesInCeph(t *testing.T) {
	c := cephtest.Start(t)
	disks, err := ceph.Open(ceph.Config{Pool: cephtest.Pool, Configuration: c.Configuration, User: cephtest.User, Keyring: c.Keyring})
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]func(*testing.T, cephtest.Cluster, *ceph.Driver){"Boot": testBootFromCeph, "Attach": testAttachOfCeph} {
		t.Run(name, func(t *testing.T) { test(t, c, disks) })
	}
}

// inCeph makes a volume in Ceph that begins as an image in a file.
func inCeph(t *testing.T, disks *ceph.Driver, name, image string) driver.Volume {
	t.Helper()
	v := driver.Volume{ID: uuid.NewString(), Name: name}
	err := disks.Create(t.Context(), storage.Volume{ID: v.ID, Content: cluster.ContentDisk, SizeMiB: 2},
		storage.Origin{Image: &storage.Image{Path: image, Format: cluster.FormatRaw}})
	if err == nil {
		v.Place, err = disks.Find(t.Context(), v.ID)
	}
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// lettered is an image that begins with a word.
func lettered(t *testing.T, word string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "data.raw")
	if err := os.WriteFile(path, append([]byte(word), make([]byte, 1<<20-len(word))...), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// testBootFromCeph: a guest boots from a volume in Ceph, reads and writes another one, and nobody sees the key.
func testBootFromCeph(t *testing.T, c cephtest.Cluster, disks *ceph.Driver) {
	b := newBench(t)
	boot := filepath.Join(t.TempDir(), "boot.raw")
	vmtest.DiskSector(t, boot)
	instance := b.instance()
	instance.Spec.Image = ""
	instance.Volumes = []driver.Volume{inCeph(t, disks, "boot", boot), inCeph(t, disks, "data", lettered(t, "mine"))}
	t.Cleanup(func() {
		if err := b.Delete(context.Background(), instance.ID); err != nil {
			t.Error(err)
		}
	})
	if err := b.Create(t.Context(), instance, nil); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := b.Start(t.Context(), instance.ID); err != nil {
			t.Fatal(err)
		}
		b.becomes(t, instance.ID, driver.Ended)
		var said bytes.Buffer
		if err := b.Logs(t.Context(), instance.ID, -1, false, &said); err != nil {
			t.Fatal(err)
		}
		if !bytes.HasSuffix(said.Bytes(), []byte("mineW\n")) {
			t.Fatalf("the guest says %q, want mineW at the end", said.String())
		}
	}
	written := filepath.Join(t.TempDir(), "written")
	c.RBD(t, "export", "--no-progress", cephtest.Pool+"/"+instance.Volumes[1].ID, written)
	if read, err := os.ReadFile(written); err != nil || string(read[512:516]) != "mine" {
		t.Errorf("the guest wrote %.516q, %v", read, err)
	}
}

// testAttachOfCeph: a running machine is given a disk in Ceph and has that taken from it; neither QEMU nor Ceph keeps anything of it.
func testAttachOfCeph(t *testing.T, c cephtest.Cluster, disks *ceph.Driver) {
	b := newBench(t)
	cold, hot := inCeph(t, disks, "cold", lettered(t, "cold")), inCeph(t, disks, "hot", lettered(t, "hot "))
	instance := b.instance()
	instance.Volumes = []driver.Volume{cold}
	b.begin(t, instance)
	_, _, files := b.blocks(t, instance.ID)

	missing := hot
	missing.ID, missing.Place.RBD.Image = uuid.NewString(), "missing"
	if err := b.Attach(t.Context(), instance.ID, missing); !errors.Is(err, cluster.ErrConflict) {
		t.Errorf("what is not in Ceph: %v, want a conflict", err)
	}
	b.has(t, "refused", instance.ID, cold)
	b.wantKeys(t, instance.ID, cold)
	b.killedAfter(t, instance.ID, func(monitor *qemu.Monitor) error { // a key without a disk
		return monitor.Execute(t.Context(), "object-add", map[string]any{"qom-type": "secret", "id": diskID(hot.ID) + "-key", "data": "none"}, nil)
	})
	for _, before := range []bool{false, true} { // again, it changes nothing
		if has, err := b.Attached(t.Context(), instance.ID, hot.ID); has != before || err != nil {
			t.Errorf("it has the volume: %t, %v, want %t", has, err, before)
		}
		b.attached(t, instance.ID, hot)
		b.has(t, "attached", instance.ID, cold, hot)
	}
	b.wantKeys(t, instance.ID, cold)
	if _, _, now := b.blocks(t, instance.ID); now != files {
		t.Errorf("QEMU has %d files, had %d", now, files)
	}
	patient := b.config.TimeScale
	b.config.TimeScale = 0.1 // with a guest that does not let go by itself
	for _, v := range []driver.Volume{cold, hot} {
		if err := b.Detach(t.Context(), instance.ID, v.ID); !errors.Is(err, cluster.ErrConflict) {
			t.Errorf("detach: %v, want a conflict: the guest knows nothing of it", err)
		}
	}
	b.has(t, "held", instance.ID, cold, hot)
	b.config.TimeScale = patient
	b.killedAfter(t, instance.ID, func(monitor *qemu.Monitor) error { // it has let go with its next boot
		return monitor.Execute(t.Context(), "system_reset", nil, nil)
	})
	for _, v := range []driver.Volume{cold, hot} {
		if err := b.Detach(t.Context(), instance.ID, v.ID); err != nil {
			t.Error(err)
		}
		if watched := c.RBD(t, "status", cephtest.Pool+"/"+v.ID); !strings.Contains(watched, "Watchers: none") {
			t.Errorf("%s is open: %s", v.Name, watched)
		}
	}
	b.has(t, "detached", instance.ID)
	b.wantKeys(t, instance.ID)
}

// wantKeys wants QEMU to keep the keys of these volumes.
func (b bench) wantKeys(t *testing.T, id string, volumes ...driver.Volume) {
	t.Helper()
	var want, got []string
	for _, v := range volumes {
		want = append(want, diskID(v.ID)+"-key")
	}
	b.killedAfter(t, id, func(monitor *qemu.Monitor) error {
		var listed []struct{ Name string }
		err := monitor.Execute(t.Context(), "qom-list", map[string]any{"path": "/objects"}, &listed)
		for _, one := range listed {
			if strings.HasPrefix(one.Name, "volume-") {
				got = append(got, one.Name)
			}
		}
		return err
	})
	if !slices.Equal(got, want) {
		t.Errorf("QEMU has the keys %v, want %v", got, want)
	}
}

// TestKeysAreNotOnTheCommandLine: whoever lists processes sees the command line.
func TestKeysAreNotOnTheCommandLine(t *testing.T) {
	b := newBench(t)
	instance := b.instance()
	place := storage.Place{RBD: storage.RBD{Configuration: "/nowhere/ceph.conf", Pool: "p", Image: "i", User: "u", Key: "c2VjcmV0"}}
	instance.Volumes = []driver.Volume{{ID: uuid.NewString(), Name: "far", Place: place}}
	t.Cleanup(func() { b.Delete(context.Background(), instance.ID) })
	if err := b.Create(t.Context(), instance, nil); err != nil {
		t.Fatal(err)
	}
	var h handed
	defer h.close()
	described, err := b.carrier(instance.ID).describe()
	if err != nil {
		t.Fatal(err)
	}
	accelerator, err := b.choose(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	machine, err := b.carrier(instance.ID).open(described, accelerator, nil, &h)
	if err != nil {
		t.Fatal(err)
	}
	line, err := b.carrier(instance.ID).command(machine, nil)
	if err != nil {
		t.Fatal(err)
	}
	if all := strings.Join(line, " "); strings.Contains(all, "c2VjcmV0") || !strings.Contains(all, `"image":"i"`) {
		t.Errorf("the command line is %s", all)
	}
	// Where Ceph cannot be reached, QEMU says so.
	if err := b.Start(t.Context(), instance.ID); err == nil {
		t.Error("it started without its volume")
	} else {
		t.Log(err)
	}
}
