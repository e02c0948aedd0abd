package qemu

import (
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
		{"guest ran", "auto", Prober{Device: device, Binary: script("exit 85")}, KVM, "trial guests ran"},
		{"guest ran, demanded", "kvm", Prober{Device: device, Binary: script("exit 85")}, KVM, "trial guests ran"},
		{"aborts", "auto", Prober{Device: device, Binary: script("echo 'qemu: error: failed to set MSR 0x10a' >&2; kill -ABRT $$")}, TCG, "failed to set MSR 0x10a"},
		{"hangs", "auto", Prober{Device: device, Binary: script(`case "$*" in *"accel kvm"*) exec sleep 60 ;; esac; exit 85`)}, TCG, "did not get through the firmware within 3s"},
		{"gets through once", "auto", Prober{Device: device, Binary: script("mkdir " + filepath.Join(t.TempDir(), "ran") + " && exit 85")}, TCG, "when a trial guest was run on it"},
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
