package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestDevelopmentVMCiao is a developer's day: the VM is created, the cluster is set up in it, proven and judged; the controller is
// built anew on the host, and the running cluster takes it over.
func TestDevelopmentVMCiao(t *testing.T) {
	p := build(t)
	checkout, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"ciao", "singlevm", "bat"} {
		if _, err := os.Stat(filepath.Join(checkout, "bin", name)); err != nil {
			t.Fatalf("bin/%s is missing: run `make build`", name)
		}
	}
	p.dir = checkout
	t.Cleanup(func() { p.call("", "delete", "--all") })
	timed := func(what string, args ...string) string {
		start := time.Now()
		out := p.must(args...)
		t.Logf("%-28s %6.1f s", what, time.Since(start).Seconds())
		return out
	}
	timed("create ciao", "create", "ciao")
	timed("cluster set-up", "run", "ciao", "--", "sudo", "singlevm", "setup", "--time-scale", "5")
	timed("verify", "run", "ciao", "--", "sudo", "singlevm", "verify")
	timed("smoke suite", "run", "ciao", "--", "sudo", "bat", "--suite", "smoke")
	if facts := p.must("run", "ciao", "--", "sh", "-c", "ps -p 1 -o comm=; stat -fc %T /sys/fs/cgroup; systemctl is-active ciao-singlevm-controller"); facts != "systemd\ncgroup2fs\nactive\n" {
		t.Errorf("the guest is not what users have: %q", facts)
	}

	edited := edit(t, checkout)
	timed("set-up after an edit", "run", "ciao", "--", "sudo", "singlevm", "setup", "--time-scale", "5")
	if log := p.must("run", "ciao", "--", "sudo", "singlevm", "logs", "controller"); !strings.Contains(log, edited) {
		t.Errorf("the controller that runs in the VM is not the one that was built on the host (%s):\n%s", edited, log)
	}
	timed("cleanup", "run", "ciao", "--", "sudo", "singlevm", "cleanup")
}

// edit builds the ciao program anew, as after a change of its sources: only its version differs. The one that was there comes back
// when the test ends.
func edit(t *testing.T, checkout string) (version string) {
	t.Helper()
	program := filepath.Join(checkout, "bin", "ciao")
	kept, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.WriteFile(program+".kept", kept, 0o755); err != nil {
			t.Error(err)
		}
		if err := os.Rename(program+".kept", program); err != nil {
			t.Error(err)
		}
	})
	version = "edited-on-the-host"
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags", "-s -w -X main.version="+version, "-o", program, "./cluster/cmd/ciao")
	build.Dir, build.Env = checkout, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return version
}
