package vm

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/ciaocloud/ciao/ccloudvm/qemu"
	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/driver"
	"github.com/ciaocloud/ciao/cluster/storage"
)

// blocks are the volumes that a machine's QEMU has as devices, the nodes of its block layer that are volumes, and how many files it was handed.
func (b bench) blocks(t *testing.T, id string) (devices, nodes []string, files int) {
	t.Helper()
	monitor, err := b.carrier(id).monitor(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer monitor.Close()
	ask := func(command string, args, out any) {
		t.Helper()
		if err := monitor.Execute(t.Context(), command, args, out); err != nil {
			t.Fatal(err)
		}
	}
	var listed []struct{ Name string }
	ask("qom-list", map[string]any{"path": "/machine/peripheral"}, &listed)
	for _, one := range listed {
		if bytes.HasPrefix([]byte(one.Name), []byte("volume-")) {
			devices = append(devices, one.Name)
		}
	}
	var named []struct {
		Name string `json:"node-name"`
	}
	ask("query-named-block-nodes", map[string]any{"flat": true}, &named)
	for _, one := range named {
		if bytes.HasPrefix([]byte(one.Name), []byte("volume-")) {
			nodes = append(nodes, one.Name)
		}
	}
	var sets []json.RawMessage
	ask("query-fdsets", nil, &sets)
	slices.Sort(devices)
	slices.Sort(nodes)
	return devices, nodes, len(sets)
}

// has wants a machine to have exactly these volumes: in QEMU, and for its next start.
func (b bench) has(t *testing.T, when, id string, volumes ...driver.Volume) {
	t.Helper()
	var want, kept []string
	for _, v := range volumes {
		want = append(want, diskID(v.ID))
	}
	described, err := b.carrier(id).describe()
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range described.Volumes {
		kept = append(kept, diskID(v.ID))
	}
	slices.Sort(want)
	slices.Sort(kept)
	devices, nodes, _ := b.blocks(t, id)
	if fmt.Sprint(devices, nodes, kept) != fmt.Sprint(want, want, want) {
		t.Errorf("%s: QEMU has devices %v and nodes %v, its next start %v; want %v", when, devices, nodes, kept, want)
	}
}

func (b bench) attached(t *testing.T, id string, v driver.Volume) {
	t.Helper()
	if err := b.Attach(t.Context(), id, v); err != nil {
		t.Fatal(err)
	}
}

// TestAttach: a running machine is given disks, as many as fit; attaching again changes nothing, and they are there after a crash and a restart
// of the launcher.
func TestAttach(t *testing.T) {
	b := newBench(t)
	instance := b.instance()
	cold := volume(t, "cold")
	instance.Volumes = []driver.Volume{cold}
	b.begin(t, instance)
	_, _, before := b.blocks(t, instance.ID)
	all := []driver.Volume{cold}
	for len(all) < cluster.MaxVolumesPerInstance {
		v := volume(t, fmt.Sprintf("v%03d", len(all)))
		v.ReadOnly = len(all) == 2
		b.attached(t, instance.ID, v)
		all = append(all, v)
	}
	b.has(t, "attached", instance.ID, all...)
	b = b.reopen(t, b.config.Instances)
	for _, v := range all {
		b.attached(t, instance.ID, v)
	}
	b.has(t, "attached again", instance.ID, all...)
	if _, _, files := b.blocks(t, instance.ID); files != before+len(all)-1 {
		t.Errorf("QEMU has %d files, had %d, and was handed %d", files, before, len(all)-1)
	}
	if err := b.Attach(t.Context(), instance.ID, volume(t, "more")); !errors.Is(err, cluster.ErrConflict) {
		t.Errorf("more than fit: %v, want a conflict", err)
	}
	b.has(t, "one was refused", instance.ID, all...)
	b.crash(t)
	if err := b.Attach(t.Context(), instance.ID, all[1]); !errors.Is(err, cluster.ErrUnavailable) {
		t.Errorf("of a machine that does not run: %v, want unavailable", err)
	}
	if err := b.Start(t.Context(), instance.ID); err != nil {
		t.Fatal(err)
	}
	b.has(t, "after a crash", instance.ID, all...)
}

// TestAttachRefused: what QEMU cannot use is a conflict and leaves nothing; the next one has its place.
func TestAttachRefused(t *testing.T) {
	b := newBench(t)
	instance := b.instance()
	b.begin(t, instance)
	_, _, before := b.blocks(t, instance.ID)
	broken := volume(t, "good")
	if err := os.WriteFile(broken.Place.File.Path, []byte("no qcow2 file"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := b.Attach(t.Context(), instance.ID, broken); !errors.Is(err, cluster.ErrConflict) {
			t.Errorf("a broken disk: %v, want a conflict", err)
		}
	}
	files := driver.Volume{ID: uuid.NewString(), Name: "files", Place: storage.Place{Directory: t.TempDir()}}
	if err := b.Attach(t.Context(), instance.ID, files); !errors.Is(err, cluster.ErrInvalid) {
		t.Errorf("files: %v, want invalid", err)
	}
	b.has(t, "refused", instance.ID)
	if _, _, after := b.blocks(t, instance.ID); after != before {
		t.Errorf("QEMU has %d files, had %d", after, before)
	}
	// One volume cannot be two machines': QEMU locks its file.
	v, other := volume(t, "mine"), b.instance()
	b.attached(t, instance.ID, v)
	b.begin(t, other)
	if err := b.Attach(t.Context(), other.ID, v); !errors.Is(err, cluster.ErrConflict) {
		t.Errorf("another machine's: %v, want a conflict", err)
	}
	b.has(t, "another one tried", instance.ID, v)
	b.has(t, "it is another one's", other.ID)
}

// TestInterruptedAttach: what a launcher that was killed had done of it is made good.
func TestInterruptedAttach(t *testing.T) {
	b := newBench(t)
	instance := b.instance()
	b.begin(t, instance)
	v, other := volume(t, "data"), volume(t, "more")
	_, _, before := b.blocks(t, instance.ID)
	b.killedAfter(t, instance.ID, func(monitor *qemu.Monitor) error { // a node without a device
		return monitor.Execute(t.Context(), "blockdev-add", map[string]any{"driver": "null-co", "node-name": diskID(v.ID)}, nil)
	})
	b.attached(t, instance.ID, v)
	b.has(t, "attached after all", instance.ID, v)
	b.killedAfter(t, instance.ID, func(monitor *qemu.Monitor) error { // all but the description
		file, err := os.OpenFile(other.Place.File.Path, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		defer file.Close()
		return monitor.AddDisk(t.Context(), diskOf(other, opener{file: func(path string, _ int) string { return path }}), file)
	})
	b.attached(t, instance.ID, other)
	b.has(t, "both attached", instance.ID, v, other)
	if _, _, after := b.blocks(t, instance.ID); after != before+2 {
		t.Errorf("QEMU has %d files, had %d, and was handed two", after, before)
	}
}

// killedAfter does what a launcher did before it was killed.
func (b bench) killedAfter(t *testing.T, id string, do func(*qemu.Monitor) error) {
	t.Helper()
	monitor, err := b.carrier(id).monitor(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(do(monitor), monitor.Close()); err != nil {
		t.Fatal(err)
	}
}

// TestKilledWhileAttaching: the launcher is killed at many moments of it. Its successor has the machine get the volume once, with one file.
func TestKilledWhileAttaching(t *testing.T) {
	b := newBench(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	instance := b.instance()
	b.begin(t, instance)
	_, _, before := b.blocks(t, instance.ID)
	var all []driver.Volume
	whole := time.Hour // nothing strikes the first one: how long it takes here and now
	const moments = 12
	for k := range moments {
		v := volume(t, fmt.Sprintf("k%03d", k))
		description, err := json.Marshal(order{Mark: b.mark, Instances: b.config.Instances, Steps: []string{"attach"}, Instance: instance, Volume: v})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), whole*time.Duration(max(k, 1))/moments) // the moment is the point
		launcher := exec.CommandContext(ctx, self)
		launcher.Env, launcher.Stderr = append(os.Environ(), launcherEnvironment+"="+string(description)), os.Stderr
		begun := time.Now()
		err = launcher.Run()
		cancel()
		if k == 0 {
			whole = time.Since(begun)
			if err != nil {
				t.Fatal(err)
			}
		}
		b.attached(t, instance.ID, v)
		all = append(all, v)
		b.has(t, fmt.Sprintf("killed at moment %d of %d in %s", k, moments, whole), instance.ID, all...)
		if _, _, files := b.blocks(t, instance.ID); files != before+len(all) {
			t.Errorf("QEMU has %d files, had %d, and needs %d more", files, before, len(all))
		}
	}
}

// TestDetachHeld: a guest that knows nothing of it does not let go of its disk; that is a conflict, and all is as it was. What it does not have is
// detached.
func TestDetachHeld(t *testing.T) {
	b := newBench(t)
	instance := b.instance()
	cold, hot := volume(t, "cold"), volume(t, "hot ")
	instance.Volumes = []driver.Volume{cold}
	b.begin(t, instance)
	b.attached(t, instance.ID, hot)
	b.config.TimeScale = 0.1 // it is a guest that never will
	for _, v := range []driver.Volume{cold, hot, hot} {
		if err := b.Detach(t.Context(), instance.ID, v.ID); !errors.Is(err, cluster.ErrConflict) {
			t.Errorf("detach: %v, want a conflict", err)
		}
	}
	b.has(t, "held", instance.ID, cold, hot)
	if err := b.Detach(t.Context(), instance.ID, uuid.NewString()); err != nil {
		t.Errorf("what it does not have: %v", err)
	}
	if err := b.Detach(t.Context(), uuid.NewString(), hot.ID); !errors.Is(err, cluster.ErrUnavailable) {
		t.Errorf("of no machine: %v, want unavailable", err)
	}
}

// TestDetachBoot: what a machine boots from is not taken from it.
func TestDetachBoot(t *testing.T) {
	b := newBench(t)
	boot := volume(t, "boot")
	tool(t, "qemu-img", "convert", "-f", "raw", "-O", "qcow2", filepath.Join(b.images, "waits.raw"), boot.Place.File.Path)
	instance := b.instance()
	instance.Spec.Image, instance.Volumes = "", []driver.Volume{boot}
	b.begin(t, instance)
	if err := b.Detach(context.Background(), instance.ID, boot.ID); !errors.Is(err, cluster.ErrInvalid) {
		t.Errorf("detach: %v, want invalid", err)
	}
}
