package vm

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ciaocloud/ciao/ccloudvm/image"
	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/driver"
	"github.com/ciaocloud/ciao/cluster/driver/drivertest"
	"github.com/ciaocloud/ciao/require"
)

// begin creates and starts an instance that is deleted with the test.
func (b bench) begin(t *testing.T, instance driver.Instance) driver.Instance {
	t.Helper()
	t.Cleanup(func() {
		if err := b.Delete(context.Background(), instance.ID); err != nil {
			t.Error(err)
		}
	})
	if err := b.Create(t.Context(), instance, nil); err != nil {
		t.Fatal(err)
	}
	if err := b.Start(t.Context(), instance.ID); err != nil {
		t.Fatal(err)
	}
	return instance
}

// becomes waits for a condition that comes by itself.
func (b bench) becomes(t *testing.T, id string, want driver.Condition) driver.Status {
	t.Helper()
	for deadline := time.Now().Add(drivertest.Patience); ; time.Sleep(20 * time.Millisecond) {
		status, err := b.Status(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if status.Condition == want {
			return status
		}
		if time.Now().After(deadline) {
			t.Fatalf("it is %+v, want %s", status, want)
		}
	}
}

func TestFrozenQEMUHoldsUpNobodyElse(t *testing.T) {
	b := newBench(t)
	frozen := b.begin(t, b.instance())
	if err := b.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	other := b.begin(t, b.instance())
	for _, id := range []string{frozen.ID, other.ID} {
		if status, err := b.Status(t.Context(), id); err != nil || status.Condition != driver.Running {
			t.Errorf("%+v, %v", status, err)
		}
	}
	if list, err := b.List(t.Context()); err != nil || len(list) != 2 {
		t.Errorf("the list is %+v, %v", list, err)
	}
	if err := b.Stop(t.Context(), frozen.ID, time.Second); err != nil {
		t.Fatal(err)
	}
	b.becomes(t, frozen.ID, driver.Ended)
	if status, err := b.Status(t.Context(), other.ID); err != nil || status.Condition != driver.Running {
		t.Errorf("the other one is %+v, %v", status, err)
	}
}

func TestKilledQEMUIsStartedAgain(t *testing.T) {
	b := newBench(t)
	instance := b.begin(t, b.instance())
	if err := b.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if status := b.becomes(t, instance.ID, driver.Ended); !status.Interrupted || !strings.Contains(status.Reason, "signal 9") {
		t.Errorf("killed, and %+v", status)
	}
	if err := b.Start(t.Context(), instance.ID); err != nil {
		t.Fatal(err)
	}
	b.becomes(t, instance.ID, driver.Running)
}

func TestQEMUThatGivesUpSaysWhy(t *testing.T) {
	b := newBench(t)
	instance := b.instance()
	if err := b.Create(t.Context(), instance, nil); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(b.carrier(instance.ID).file(diskFile), []byte("no disk"), 0o600); err != nil {
		t.Fatal(err)
	}
	err := b.Start(t.Context(), instance.ID)
	if !errors.Is(err, cluster.ErrConflict) || !strings.Contains(err.Error(), "QEMU gave up: ") {
		t.Errorf("started with a broken disk: %v", err)
	}
	if err := b.Delete(t.Context(), instance.ID); err != nil || b.Trace(instance.ID) {
		t.Errorf("something is left: %v", err)
	}
}

func TestUnusableImages(t *testing.T) {
	b := newBench(t)
	make := func(name string, arguments ...string) string {
		path := filepath.Join(b.images, name)
		if out, err := exec.Command("qemu-img", append(append([]string{"create", "-q", "-f", "qcow2"}, arguments...), path, "1M")...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return path
	}
	cut := make("cut")
	if err := os.Truncate(cut, 60); err != nil {
		t.Fatal(err)
	}
	for name, path := range map[string]string{"cut short": cut, "on another file": make("overlay", "-F", "raw", "-b", filepath.Join(b.images, "waits.raw"))} {
		instance := b.instance()
		instance.Image = &driver.Image{Path: path, ImageContent: cluster.ImageContent{Name: "bad", Format: cluster.FormatQcow2}}
		if err := b.Driver.Create(t.Context(), instance, nil); !errors.Is(err, cluster.ErrInvalid) {
			t.Errorf("created from an image that is %s: %v", name, err)
		}
		if status, err := b.Status(t.Context(), instance.ID); err != nil || status.Condition != driver.Absent {
			t.Errorf("%s: %+v, %v", name, status, err)
		}
		if err := b.Delete(t.Context(), instance.ID); err != nil || b.Trace(instance.ID) {
			t.Errorf("%s: something is left: %v", name, err)
		}
	}
}

// TestTinyGuest boots the image tiny for real: it reads its seed, keeps its disk, shuts down when it is asked to, by UEFI, too; and its panic is
// known.
func TestTinyGuest(t *testing.T) {
	b := newBench(t)
	require.Command(t, "mmdebstrap")
	store, err := image.Open("")
	if err != nil {
		t.Fatal(err)
	}
	tiny, err := store.Tiny(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*cluster.WorkloadSpec){
		"bios": func(*cluster.WorkloadSpec) {},
		"uefi": func(s *cluster.WorkloadSpec) { s.Firmware, s.Requirements.MemoryMiB = cluster.UEFI, 512 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			instance := b.instance()
			instance.Spec.Requirements.MemoryMiB = 128
			change(&instance.Spec)
			instance.Spec.Requirements.DiskMiB = 3000
			instance.Spec.CloudInit = "#cloud-config\nwrite_files: [{path: /root/kept, content: \"was written\"}]\nruncmd: [[sh, -c, \"hostname; cat /root/kept; echo; df -m / | tail -n 1\"]]\n"
			instance.Image = &driver.Image{Path: tiny.Disk, ImageContent: cluster.ImageContent{Name: "tiny", Format: cluster.FormatQcow2}}
			if err := b.Driver.Create(t.Context(), instance, nil); err != nil {
				t.Fatal(err)
			}
			instance = b.begin(t, instance)
			console := b.says(t, instance.ID, "is up after")
			for _, want := range []string{instance.Name + "\r\n", "was written", " 29"} { // a root file system of 2.9 GB
				if !strings.Contains(console, want) {
					t.Errorf("the console does not have %q:\n%s", want, console)
				}
			}
			if err := b.Stop(t.Context(), instance.ID, drivertest.Patience); err != nil {
				t.Fatal(err)
			}
			if status := b.becomes(t, instance.ID, driver.Ended); status.ExitCode == nil || *status.ExitCode != 0 {
				t.Errorf("stopped: %+v", status)
			}
		})
	}
	t.Run("panic", func(t *testing.T) {
		t.Parallel()
		instance := b.instance()
		instance.Spec.Requirements.MemoryMiB = 128
		instance.Spec.CloudInit = "#!/bin/sh\necho c >/proc/sysrq-trigger\n"
		instance.Image = &driver.Image{Path: tiny.Disk, ImageContent: cluster.ImageContent{Name: "tiny", Format: cluster.FormatQcow2}}
		if err := b.Driver.Create(t.Context(), instance, nil); err != nil {
			t.Fatal(err)
		}
		b.begin(t, instance)
		if status := b.becomes(t, instance.ID, driver.Ended); status.ExitCode == nil || *status.ExitCode != 1 || !strings.Contains(status.Reason, "panicked") {
			t.Errorf("after a panic: %+v", status)
		}
	})
}

// says waits until the console has the words, and returns all of it.
func (b bench) says(t *testing.T, id, words string) string {
	t.Helper()
	for deadline := time.Now().Add(drivertest.Patience); ; time.Sleep(100 * time.Millisecond) {
		var console bytes.Buffer
		if err := b.Logs(t.Context(), id, -1, false, &console); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(console.String(), words) {
			return console.String()
		}
		if time.Now().After(deadline) {
			t.Fatalf("the console does not say %q:\n%s", words, console.String())
		}
	}
}
