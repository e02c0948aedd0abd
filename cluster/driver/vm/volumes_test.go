package vm

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/uuid"

	"github.com/ciaocloud/ciao/ccloudvm/vmtest"
	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/driver"
	"github.com/ciaocloud/ciao/cluster/storage"
)

// volume makes a disk that begins with four letters.
func volume(t *testing.T, letters string) driver.Volume {
	t.Helper()
	directory := t.TempDir()
	raw, disk := filepath.Join(directory, "raw"), filepath.Join(directory, "disk.qcow2")
	if err := os.WriteFile(raw, append([]byte(letters), make([]byte, 1<<20-len(letters))...), 0o600); err != nil {
		t.Fatal(err)
	}
	tool(t, "qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, disk)
	return driver.Volume{ID: uuid.NewString(), Name: letters, Place: storage.Place{File: storage.File{Path: disk, Format: cluster.FormatQcow2}}}
}

func tool(t *testing.T, program string, args ...string) {
	t.Helper()
	if said, err := exec.CommandContext(t.Context(), program, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", program, err, said)
	}
}

// second is the beginning of a disk's second sector, in which the guest writes.
func second(t *testing.T, v driver.Volume) string {
	t.Helper()
	raw := filepath.Join(t.TempDir(), "raw")
	tool(t, "qemu-img", "convert", "-f", "qcow2", "-O", "raw", v.Place.File.Path, raw)
	data, err := os.ReadFile(raw)
	if err != nil {
		t.Fatal(err)
	}
	return string(data[512:516])
}

// TestVolumes: a guest reads and writes its volume, may only read one that it has to read, and the next generation has what it is given.
func TestVolumes(t *testing.T) {
	b := newBench(t)
	vmtest.DiskSector(t, filepath.Join(b.images, "disks.raw"))
	instance := b.instance()
	instance.Spec.Image = "disks"
	t.Cleanup(func() {
		if err := b.Delete(context.Background(), instance.ID); err != nil {
			t.Error(err)
		}
	})
	written, protected := volume(t, "mine"), volume(t, "ours")
	protected.ReadOnly = true
	for generation, step := range []struct {
		volumes []driver.Volume
		says    string
	}{
		{[]driver.Volume{written, protected}, "mineW\n"},
		{[]driver.Volume{protected, written}, "oursR\n"},
		{nil, "N\n"},
	} {
		instance.Generation, instance.Volumes = uint64(generation+1), step.volumes
		if err := b.Create(t.Context(), instance, nil); err != nil {
			t.Fatal(err)
		}
		if err := b.Start(t.Context(), instance.ID); err != nil {
			t.Fatal(err)
		}
		b.becomes(t, instance.ID, driver.Ended)
		var said bytes.Buffer
		if err := b.Logs(t.Context(), instance.ID, -1, false, &said); err != nil {
			t.Fatal(err)
		}
		if !bytes.HasSuffix(said.Bytes(), []byte(step.says)) {
			t.Errorf("generation %d says %q, want %q at the end", instance.Generation, said.String(), step.says)
		}
	}
	if got := second(t, written); got != "mine" {
		t.Errorf("the guest wrote %q", got)
	}
	if got := second(t, protected); got != "\x00\x00\x00\x00" {
		t.Errorf("the guest wrote %q to a volume that it may only read", got)
	}
}

// TestVolumesOutliveTheMachine: neither Delete nor a crash takes a volume along.
func TestVolumesOutliveTheMachine(t *testing.T) {
	b := newBench(t)
	instance := b.instance()
	instance.Volumes = []driver.Volume{volume(t, "kept")}
	b.begin(t, instance)
	b.crash(t)
	if err := b.Start(t.Context(), instance.ID); err != nil {
		t.Errorf("started after a crash: %v", err)
	}
	if err := b.Delete(t.Context(), instance.ID); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(instance.Volumes[0].Place.File.Path); err != nil {
		t.Errorf("its volume: %v", err)
	}
}

func TestVolumesOutOfReachAreRefused(t *testing.T) {
	b := newBench(t)
	instance := b.instance()
	instance.Volumes = []driver.Volume{{ID: uuid.NewString(), Name: "files", Place: storage.Place{Directory: t.TempDir()}}}
	if err := b.Create(t.Context(), instance, nil); !errors.Is(err, cluster.ErrInvalid) {
		t.Errorf("a machine with files: %v, want invalid", err)
	}
	instance.Volumes = []driver.Volume{volume(t, "gone")}
	if err := b.Create(t.Context(), instance, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Delete(context.Background(), instance.ID) })
	if err := os.Remove(instance.Volumes[0].Place.File.Path); err != nil {
		t.Fatal(err)
	}
	if err := b.Start(t.Context(), instance.ID); err == nil {
		t.Error("it started without its volume")
	}
}

// TestBootFromVolume: a machine without an image boots from its first volume, which outlives it and then boots another one.
func TestBootFromVolume(t *testing.T) {
	b := newBench(t)
	boot, data := volume(t, "boot"), volume(t, "data")
	raw := filepath.Join(t.TempDir(), "disks.raw")
	vmtest.DiskSector(t, raw)
	tool(t, "qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, boot.Place.File.Path)
	for range 2 {
		instance := b.instance()
		instance.Spec.Image, instance.Volumes = "", []driver.Volume{boot, data}
		b.begin(t, instance)
		b.becomes(t, instance.ID, driver.Ended)
		var said bytes.Buffer
		if err := b.Logs(t.Context(), instance.ID, -1, false, &said); err != nil {
			t.Fatal(err)
		}
		if !bytes.HasSuffix(said.Bytes(), []byte("dataW\n")) {
			t.Errorf("it says %q, want dataW at the end", said.String())
		}
		if err := b.Delete(t.Context(), instance.ID); err != nil {
			t.Fatal(err)
		}
	}
	instance := b.instance()
	instance.Spec.Image = ""
	if err := b.Create(t.Context(), instance, nil); !errors.Is(err, cluster.ErrInvalid) {
		t.Errorf("a machine with nothing to boot from: %v, want invalid", err)
	}
}
