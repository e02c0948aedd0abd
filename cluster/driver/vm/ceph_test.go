package vm

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/ciaocloud/ciao/ccloudvm/vmtest"
	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/driver"
	"github.com/ciaocloud/ciao/cluster/storage"
	"github.com/ciaocloud/ciao/cluster/storage/ceph"
	"github.com/ciaocloud/ciao/cluster/storage/ceph/cephtest"
)

// TestVolumesInCeph: a guest boots from a volume in Ceph, reads and writes another one, and nobody sees the key.
func TestVolumesInCeph(t *testing.T) {
	c := cephtest.Start(t)
	disks, err := ceph.Open(ceph.Config{Pool: cephtest.Pool, Configuration: c.Configuration, User: cephtest.User, Keyring: c.Keyring})
	if err != nil {
		t.Fatal(err)
	}
	b := newBench(t)
	boot := filepath.Join(t.TempDir(), "boot.raw")
	vmtest.DiskSector(t, boot)
	data := filepath.Join(t.TempDir(), "data.raw")
	if err := os.WriteFile(data, append([]byte("mine"), make([]byte, 1<<20-4)...), 0o600); err != nil {
		t.Fatal(err)
	}
	instance := b.instance()
	instance.Spec.Image = ""
	for name, image := range map[string]string{"boot": boot, "data": data} {
		v := driver.Volume{ID: uuid.NewString(), Name: name}
		err := disks.Create(t.Context(), storage.Volume{ID: v.ID, Content: cluster.ContentDisk, SizeMiB: 2},
			storage.Origin{Image: &storage.Image{Path: image, Format: cluster.FormatRaw}})
		if err == nil {
			v.Place, err = disks.Find(t.Context(), v.ID)
		}
		if err != nil {
			t.Fatal(err)
		}
		if name == "boot" {
			instance.Volumes = append([]driver.Volume{v}, instance.Volumes...)
		} else {
			instance.Volumes = append(instance.Volumes, v)
		}
	}
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
