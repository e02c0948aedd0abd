package qemu

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ciaocloud/ciao/require"
)

func TestTrialGuestReachesItsExitUnderEmulation(t *testing.T) {
	require.QEMU(t)
	failure, _, err := Prober{}.trial(t.Context(), Accelerator{Kind: TCG}, emulationLimit)
	if err != nil || failure != "" {
		t.Fatalf("trial under TCG = %q, %v; want the guest to run", failure, err)
	}
}

func TestChooseAgreesWithATrialOfTheRealThing(t *testing.T) {
	require.QEMU(t)
	dir := t.TempDir()
	a, err := Prober{CacheDir: dir}.Choose(t.Context(), "auto")
	if err != nil {
		t.Fatal(err)
	}
	t.Log(a.Reason)
	if a.Kind == "" || a.Reason == "" {
		t.Fatalf("Choose = %+v, want a kind and a reason", a)
	}
	again, err := Prober{CacheDir: dir}.Choose(t.Context(), "auto")
	if err != nil || again != a {
		t.Errorf("second Choose = %+v, %v; want %+v from the cache", again, err, a)
	}
}

// A trial as another user tells what that user's machines can do.
func TestTrialAsAnotherUser(t *testing.T) {
	require.QEMU(t)
	require.Root(t)
	closed, directory := t.TempDir(), t.TempDir()
	t.Setenv("TMPDIR", closed)
	if err := errors.Join(os.Chmod(closed, 0o700), os.Chmod(directory, 0o755), os.Chmod(filepath.Dir(directory), 0o755)); err != nil {
		t.Fatal(err)
	}
	device := filepath.Join(directory, "kvm")
	if err := os.WriteFile(device, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	nobody := Prober{Device: device, As: []string{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"}}
	if failure, _, err := nobody.trial(t.Context(), Accelerator{Kind: TCG}, emulationLimit); err != nil || failure != "" {
		t.Errorf("emulated, as nobody: %q, %v", failure, err)
	}
	nobody.Binary = filepath.Join(directory, "qemu")
	if err := os.WriteFile(nobody.Binary, []byte("#!/bin/sh\n: <>"+device+" || exit 1\nexit 85\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if a, err := nobody.Choose(t.Context(), "auto"); err != nil || a.Kind != TCG {
		t.Errorf("a device that nobody may open: %+v, %v", a, err)
	}
	if err := os.Chmod(device, 0o666); err != nil {
		t.Fatal(err)
	}
	if a, err := nobody.Choose(t.Context(), "auto"); err != nil || a.Kind != KVM {
		t.Errorf("a device that everybody may open: %+v, %v", a, err)
	}
}

func TestChoose(t *testing.T) {
	script := func(body string) string {
		path := filepath.Join(t.TempDir(), "qemu")
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"+body+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		return path
	}
	device := filepath.Join(t.TempDir(), "kvm")
	if err := os.WriteFile(device, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, want string
		prober     Prober
		kind       Kind
		reason     string // part of the reason or of the error
	}{
		{"no device", "auto", Prober{Device: "/nonexistent", Binary: script("exit 85")}, TCG, "/nonexistent is missing"},
		{"guest ran", "auto", Prober{Device: device, Binary: script("exit 85")}, KVM, "a trial guest ran"},
		{"guest ran, demanded", "kvm", Prober{Device: device, Binary: script("exit 85")}, KVM, "a trial guest ran"},
		{"aborts", "auto", Prober{Device: device, Binary: script("echo 'qemu: error: failed to set MSR 0x10a' >&2; kill -ABRT $$")}, TCG, "failed to set MSR 0x10a"},
		{"hangs", "auto", Prober{Device: device, Binary: script(`case "$*" in *"accel kvm"*) exec sleep 60 ;; esac; exit 85`)}, TCG, "did not come to its end within 3s"},
		{"aborts, demanded", "kvm", Prober{Device: device, Binary: script("kill -ABRT $$")}, "", "KVM does not work here"},
		{"emulation demanded", "tcg", Prober{Binary: "/nonexistent"}, TCG, "was asked for"},
		{"unknown", "xen", Prober{}, "", `unknown accelerator "xen"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			a, err := c.prober.Choose(t.Context(), c.want)
			text := a.Reason
			if err != nil {
				text = err.Error()
			}
			if a.Kind != c.kind || !strings.Contains(text, c.reason) {
				t.Errorf("Choose(%q) = %+v, %v; want kind %q and %q", c.want, a, err, c.kind, c.reason)
			}
		})
	}
}
