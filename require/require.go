// Package require lets a test say what it needs from the machine.
//
// A test that lacks what it needs is skipped with the reason, so that `go test ./...` is useful on any machine. A lane that owns
// a need (make test does) names it in the environment variable REQUIRE, a comma-separated list of root, docker, qemu, ceph, commands,
// or all: there the missing need is a failure, and nothing can be skipped unseen.
package require

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Variable is the environment variable that turns skips into failures.
const Variable = "REQUIRE"

// Root needs the effective user to be root.
func Root(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		lack(t, "root", "this test changes kernel state and needs root")
	}
}

// Docker needs a Docker Engine that answers, and root to make networks for it.
func Docker(t testing.TB) {
	t.Helper()
	Root(t)
	Command(t, "docker")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if out, err := exec.CommandContext(ctx, "docker", "info", "--format", "{{.ServerVersion}}").CombinedOutput(); err != nil {
		lack(t, "docker", "no Docker Engine answers (start it with `make deps`): "+strings.TrimSpace(string(out)))
	}
}

// QEMU needs qemu-system-x86_64 and qemu-img.
func QEMU(t testing.TB) {
	t.Helper()
	for _, name := range []string{"qemu-system-x86_64", "qemu-img"} {
		if _, err := exec.LookPath(name); err != nil {
			lack(t, "qemu", name+" is not installed (run `make deps`)")
		}
	}
}

// Ceph needs the programs of which a Ceph cluster consists, those that use it, QEMU's driver for it, and root.
func Ceph(t testing.TB) {
	t.Helper()
	Root(t)
	QEMU(t)
	for _, name := range []string{"ceph-mon", "ceph-osd", "monmaptool", "ceph-authtool", "ceph", "rbd"} {
		if _, err := exec.LookPath(name); err != nil {
			lack(t, "ceph", name+" is not installed (`make test-ceph` does it)")
		}
	}
	// It complains of the one or the other: QEMU lists drivers that are not installed, too.
	out, _ := exec.CommandContext(t.Context(), "qemu-img", "info", "--image-opts", "driver=rbd,pool=none,image=none,conf=/nowhere").CombinedOutput()
	if bytes.Contains(out, []byte("Unknown")) {
		lack(t, "ceph", "QEMU has no driver for RBD (`make test-ceph` installs it)")
	}
}

// Command needs each named program on the PATH.
func Command(t testing.TB, names ...string) {
	t.Helper()
	for _, name := range names {
		if _, err := exec.LookPath(name); err != nil {
			lack(t, "commands", name+" is not installed (run `make deps`)")
		}
	}
}

// Machine needs the machine for itself: the test sets a cluster up on the host, or kills the Docker Engine. Such tests run only where
// REQUIRE names machine, one package after the other; they need root too.
func Machine(t testing.TB) {
	t.Helper()
	if !owned("machine") {
		t.Skip("this test needs the machine for itself (run `make test-machine`)")
	}
	Root(t)
}

// Disk mounts a small file system for a test, with room for so many bytes, and returns its directory; it needs root. fill is [Fill] of it.
func Disk(t testing.TB, bytes int64) (directory string, fill func(left int64) (free func())) {
	t.Helper()
	Root(t)
	directory = t.TempDir()
	if err := syscall.Mount("tmpfs", directory, "tmpfs", 0, fmt.Sprintf("mode=755,size=%d", bytes)); err != nil {
		t.Fatalf("mount a small disk: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(directory, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount a small disk: %v", err)
		}
	})
	return directory, func(left int64) func() { return Fill(t, directory, left) }
}

// Fill takes all the room of a directory's file system but for some bytes, until free is called. Take care whose it is.
func Fill(t testing.TB, directory string, left int64) (free func()) {
	t.Helper()
	name := filepath.Join(directory, "filler")
	file, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	var size int64
	for block := make([]byte, 4096); err == nil; {
		var n int
		n, err = file.Write(block)
		size += int64(n)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("fill a disk: %v", err)
	}
	if err := file.Truncate(max(0, size-left)); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := errors.Join(file.Close(), os.Remove(name)); err != nil {
			t.Error(err)
		}
	}
}

// Guest boots whole virtual machines, which takes minutes where the processor is emulated. Such tests run only where REQUIRE names
// machine, one after the other; they need QEMU too.
func Guest(t testing.TB) {
	t.Helper()
	if !owned("machine") {
		t.Skip("this test boots whole virtual machines (run `make test-vm`)")
	}
	QEMU(t)
	Command(t, "mmdebstrap")
}

func lack(t testing.TB, need, reason string) {
	t.Helper()
	if owned(need) {
		t.Fatalf("%s is required here: %s", need, reason)
	}
	t.Skip(reason)
}

func owned(need string) bool {
	names := strings.Split(os.Getenv(Variable), ",")
	return slices.Contains(names, "all") || slices.Contains(names, need)
}
