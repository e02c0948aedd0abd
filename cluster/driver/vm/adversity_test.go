package vm

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
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

// attended has the driver look after its machines until the test ends.
func (b bench) attended(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// hears waits until a running machine's status has words, or no reason if there are none.
func (b bench) hears(t *testing.T, id, words string) {
	t.Helper()
	for deadline := time.Now().Add(drivertest.Patience); ; time.Sleep(20 * time.Millisecond) {
		status, err := b.Status(t.Context(), id)
		switch {
		case err != nil || status.Condition != driver.Running:
			t.Fatalf("it is %+v, %v", status, err)
		case words == "" && status.Reason == "", words != "" && strings.Contains(status.Reason, words):
			return
		case time.Now().After(deadline):
			t.Fatalf("its reason is %q, want %q", status.Reason, words)
		}
	}
}

func TestFrozenQEMUIsToldOfUntilItThaws(t *testing.T) {
	b := newBench(t)
	b.attended(t)
	changes := b.Watch(t.Context())
	instance := b.begin(t, b.instance())
	if err := b.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	b.hears(t, instance.ID, "QEMU does not answer")
	for id := range changes { // of the start, and of the trouble
		if status, err := b.Status(t.Context(), id); err == nil && status.Reason != "" {
			break
		}
	}
	if err := b.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	b.hears(t, instance.ID, "")
}

// A guest that fills the node's disk halts, its machine says so, can be stopped and started, and goes on when there is room.
func TestFullDisk(t *testing.T) {
	b := newBench(t)
	instances := t.TempDir()
	if err := syscall.Mount("none", instances, "tmpfs", 0, "size=16m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(instances, 0); err != nil {
			t.Error(err)
		}
	})
	b = b.reopen(t, instances)
	filling := b.instance()
	filling.Spec.Image, filling.Spec.Requirements.DiskMiB = "fills", 64
	t.Cleanup(func() { // after the looking
		if err := b.Delete(context.Background(), filling.ID); err != nil {
			t.Error(err)
		}
	})
	b.attended(t)
	filling = b.begin(t, filling)
	b.hears(t, filling.ID, "disk is full")

	other := b.instance()
	if err := b.Create(t.Context(), other, nil); !errors.Is(err, cluster.ErrNoCapacity) || !strings.Contains(err.Error(), "the node's disk is full") {
		t.Errorf("a machine that has no room was created: %v", err)
	}
	if err := b.Delete(t.Context(), other.ID); err != nil || b.Trace(other.ID) {
		t.Errorf("something is left: %v", err)
	}
	if err := b.Stop(t.Context(), filling.ID, time.Millisecond); err != nil {
		t.Fatal(err)
	}
	b.becomes(t, filling.ID, driver.Ended)
	if err := b.Start(t.Context(), filling.ID); err != nil {
		t.Fatal(err)
	}
	b.hears(t, filling.ID, "disk is full")

	if err := syscall.Mount("none", instances, "tmpfs", syscall.MS_REMOUNT, "size=128m"); err != nil {
		t.Fatal(err)
	}
	if status := b.becomes(t, filling.ID, driver.Ended); status.ExitCode == nil || *status.ExitCode != 0 { // it has written all of its disk
		t.Errorf("with room again: %+v", status)
	}
}

func TestRebootIsNoEnd(t *testing.T) {
	b := newBench(t)
	instance := b.instance()
	instance.Spec.Image = "reboots"
	instance = b.begin(t, instance)
	before, err := b.Status(t.Context(), instance.ID)
	if err != nil {
		t.Fatal(err)
	}
	b.says(t, instance.ID, "it reboots\nit reboots\n")
	if now, err := b.Status(t.Context(), instance.ID); err != nil || now.Condition != driver.Running || !now.Started.Equal(before.Started) {
		t.Errorf("after a reboot: %+v, %v; before: %+v", now, err, before)
	}
}

func TestMachineWithoutTheDeviceTun(t *testing.T) {
	for _, program := range []string{"qemu-system-x86_64", "qemu-img", "setpriv"} {
		require.Command(t, program)
	}
	missing := filepath.Join(t.TempDir(), "tun")
	if err := lacking(missing); !errors.Is(err, cluster.ErrNotFound) || !strings.Contains(err.Error(), missing) || !strings.Contains(err.Error(), "load the kernel module") {
		t.Errorf("without the device: %v", err)
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
			b.answers(t, instance.ID)
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

// answers types a command at the machine's console and waits for its reply.
func (b bench) answers(t *testing.T, id string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), drivertest.Patience)
	defer cancel()
	keys, typed := io.Pipe()
	read, printed := io.Pipe()
	sitting := make(chan error, 1)
	go func() {
		err := b.Console(ctx, id, driver.Seat{Input: keys, Output: printed})
		printed.CloseWithError(io.EOF)
		sitting <- err
	}()
	if _, err := io.WriteString(typed, "echo $((6 * 7)) is the answer\n"); err != nil {
		t.Fatal(err)
	}
	found := false
	for lines := bufio.NewScanner(read); !found && lines.Scan(); {
		found = strings.Contains(lines.Text(), "42 is the answer")
	}
	if !found {
		t.Error("the console's shell did not answer")
	}
	cancel()
	typed.Close()
	read.Close()
	if err := <-sitting; !errors.Is(err, context.Canceled) {
		t.Errorf("the end of the seat: %v", err)
	}
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
