package qemu_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ciaocloud/ciao/ccloudvm/qemu"
	"github.com/ciaocloud/ciao/ccloudvm/vmtest"
	"github.com/ciaocloud/ciao/require"
)

// tiny starts a machine whose guest sits still without an operating system.
func tiny(t *testing.T) (qemu.Process, string, string) {
	t.Helper()
	require.QEMU(t)
	dir := t.TempDir()
	runtime, err := qemu.SocketDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(runtime) })
	socket := filepath.Join(runtime, "qmp")
	m := qemu.Machine{Name: "tiny", VCPUs: 1, MemoryMiB: 64, Monitors: []string{socket}, NoShutdown: true}
	p, err := qemu.Start(t.Context(), qemu.Launch{Machine: m, Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Kill(); p.Wait(context.Background()) })
	return p, dir, socket
}

func TestProcessIsFoundAgainAndQuits(t *testing.T) {
	p, dir, socket := tiny(t)
	again, err := qemu.Attach(dir)
	if err != nil || again.PID != p.PID {
		t.Fatalf("Attach = %+v, %v; want pid %d", again, err, p.PID)
	}
	if _, err := qemu.Start(t.Context(), qemu.Launch{Machine: qemu.Machine{Name: "tiny", VCPUs: 1, MemoryMiB: 64}, Dir: dir}); err == nil || !strings.Contains(err.Error(), "runs already") {
		t.Errorf("a second Start = %v, want a refusal", err)
	}
	how, err := again.Stop(t.Context(), socket, qemu.Limits{Powerdown: 50 * time.Millisecond, Quit: 20 * time.Second})
	if err != nil || how != qemu.Quit {
		t.Errorf("Stop = %q, %v; want %q, for this guest knows no power button", how, err, qemu.Quit)
	}
	if how, err := again.Stop(t.Context(), socket, qemu.Limits{}); err != nil || how != qemu.WasOff {
		t.Errorf("second Stop = %q, %v", how, err)
	}
	p.Wait(t.Context())
	if r := qemu.ExitReason(dir); !strings.Contains(r, "exit status 0") {
		t.Errorf("ExitReason = %q", r)
	}
	if _, err := qemu.Attach(dir); !errors.Is(err, qemu.ErrNotRunning) {
		t.Errorf("Attach = %v, want ErrNotRunning", err)
	}
}

func TestProcessThatIsDeafIsKilled(t *testing.T) {
	p, dir, socket := tiny(t)
	if err := vmtest.Freeze(p.PID); err != nil {
		t.Fatal(err)
	}
	how, err := p.Stop(t.Context(), socket, qemu.Limits{Powerdown: 100 * time.Millisecond, Quit: 100 * time.Millisecond})
	if err != nil || how != qemu.Kill {
		t.Errorf("Stop = %q, %v; want %q", how, err, qemu.Kill)
	}
	if r := qemu.ExitReason(dir); !strings.Contains(r, "killed") {
		t.Errorf("ExitReason = %q", r)
	}
}

func TestReusedPidIsNotOurs(t *testing.T) {
	dir := t.TempDir()
	// This test's own process has this pid, but started at another time.
	text := `{"pid": ` + strconv.Itoa(os.Getpid()) + `, "started": 1, "boot": "x"}`
	if err := os.WriteFile(filepath.Join(dir, "qemu.pid"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := qemu.Attach(dir)
	if !errors.Is(err, qemu.ErrNotRunning) {
		t.Errorf("Attach = %v, want ErrNotRunning", err)
	}
	if err := p.Kill(); err != nil {
		t.Errorf("Kill = %v; want nothing to be done", err)
	}
}

func TestStartTellsWhyItFailed(t *testing.T) {
	for _, c := range []struct{ name, script, want string }{
		{"abort", "echo 'qemu-system-x86_64: failed to set MSR 0x10a' >&2; kill -ABRT $$", "failed to set MSR 0x10a"},
		{"exit", "echo 'qemu-system-x86_64: warning: noise' >&2; echo 'qemu-system-x86_64: no space' >&2; exit 1", "(exit status 1): no space"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			binary := filepath.Join(dir, "qemu")
			if err := os.WriteFile(binary, []byte("#!/bin/sh\n"+c.script+"\n"), 0o755); err != nil {
				t.Fatal(err)
			}
			m := qemu.Machine{Name: "m", VCPUs: 1, MemoryMiB: 64, Monitors: []string{filepath.Join(dir, "s")}}
			_, err := qemu.Start(t.Context(), qemu.Launch{Machine: m, Dir: dir, Binary: binary})
			var failed *qemu.StartError
			if !errors.As(err, &failed) || !strings.Contains(err.Error(), c.want) || failed.Aborted() != (c.name == "abort") {
				t.Errorf("Start = %v, want %q", err, c.want)
			}
		})
	}
}

func TestSilentStartHasALimit(t *testing.T) {
	dir := t.TempDir()
	binary := filepath.Join(dir, "qemu")
	if err := os.WriteFile(binary, []byte("#!/bin/sh\nexec sleep 600\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	m := qemu.Machine{Name: "m", VCPUs: 1, MemoryMiB: 64, Monitors: []string{filepath.Join(dir, "s")}}
	p, err := qemu.Start(t.Context(), qemu.Launch{Machine: m, Dir: dir, Binary: binary, Ready: 200 * time.Millisecond})
	if !errors.Is(err, qemu.ErrUnresponsive) || p.Alive() {
		t.Errorf("Start = %v (alive: %v), want ErrUnresponsive and nothing left", err, p.Alive())
	}
}

func TestSocketDir(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
	a, err := qemu.SocketDir("/some/very/long/state/directory/" + strings.Repeat("x", 200))
	if err != nil || len(a) > 90 {
		t.Fatalf("SocketDir = %q, %v; want a short path", a, err)
	}
	if err := os.Chmod(a, 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := qemu.SocketDir("/some/very/long/state/directory/" + strings.Repeat("x", 200)); err == nil {
		t.Error("a directory that everybody can write to is accepted")
	}
}
