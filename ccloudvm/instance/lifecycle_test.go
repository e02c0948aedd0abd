package instance

import (
	"errors"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ciaocloud/ciao/ccloudvm"
	"github.com/ciaocloud/ciao/ccloudvm/qemu"
)

// TestLifecycle takes an instance that is declared complete through its life, with a QEMU that hangs and a supervisor that dies.
func TestLifecycle(t *testing.T) {
	m := testManager(t)
	create := self(createVariable, m.Layout.State+" vm")
	if err := create.Start(); err != nil {
		t.Fatal(err)
	}
	qemuPID, supervisorPID := running(t, m, "vm")
	create.Process.Kill()
	create.Wait()
	r, err := m.load("vm")
	if err != nil {
		t.Fatal(err)
	}
	r.Complete = true
	if err := m.save(r); err != nil {
		t.Fatal(err)
	}
	state := func(want ccloudvm.State, reason string) {
		t.Helper()
		i, err := m.Get(t.Context(), "vm")
		if err != nil || i.State != want || !strings.Contains(i.Reason, reason) {
			t.Fatalf("the instance is %s (%s), %v; want %s (%s)", i.State, i.Reason, err, want, reason)
		}
	}
	state(ccloudvm.StateRunning, "")
	if _, err := m.Start(t.Context(), "vm", Overrides{}, nil); !errors.Is(err, ccloudvm.ErrState) {
		t.Errorf("start of a running instance = %v", err)
	}
	if _, err := m.Create(t.Context(), CreateRequest{Workload: "nothing", Name: "vm"}, nil); !errors.Is(err, ccloudvm.ErrExists) {
		t.Errorf("create with a taken name = %v", err)
	}

	syscall.Kill(supervisorPID, syscall.SIGKILL)
	eventually(t, "the supervisor is gone", func() bool { return !held(m.Layout.file("vm", supervisorLockFile)) })
	state(ccloudvm.StateRunning, "ccloudvm start")
	if _, err := m.Start(t.Context(), "vm", Overrides{}, nil); err != nil {
		t.Fatalf("start for a new supervisor: %v", err)
	}
	eventually(t, "a new supervisor knows the run", func() bool {
		i, err := m.Get(t.Context(), "vm")
		return err == nil && i.State == ccloudvm.StateRunning && i.Reason == ""
	})

	syscall.Kill(qemuPID, syscall.SIGSTOP)
	state(ccloudvm.StateUnresponsive, "ccloudvm quit")
	how, err := m.Quit(t.Context(), "vm")
	if err != nil || how != qemu.Kill {
		t.Errorf("quit of a QEMU that hangs: %s, %v", how, err)
	}
	eventually(t, "the end is noted", func() bool {
		i, err := m.Get(t.Context(), "vm")
		return err == nil && i.State == ccloudvm.StateStopped
	})
	if how, err := m.Stop(t.Context(), "vm", time.Second); err != nil || how != qemu.WasOff {
		t.Errorf("stop of a stopped instance: %s, %v", how, err)
	}
	if _, err := m.Start(t.Context(), "vm", Overrides{DiskGiB: 5}, nil); !errors.Is(err, ccloudvm.ErrInvalid) {
		t.Errorf("start with another disk size = %v", err)
	}
	if err := m.Delete(t.Context(), "vm"); err != nil {
		t.Fatal(err)
	}
	if err := m.Delete(t.Context(), "vm"); !errors.Is(err, ccloudvm.ErrNotFound) {
		t.Errorf("second delete = %v", err)
	}
	nothingLeft(t, m, "vm", qemuPID)
}

// TestParallelCreates shows that names and addresses are never given twice, and that a broken record hides no other instance.
func TestParallelCreates(t *testing.T) {
	m := testManager(t)
	const n = 12
	var group sync.WaitGroup
	for range n {
		group.Go(func() {
			c := &creation{Manager: m, request: CreateRequest{Workload: "nothing"}}
			if err := c.load(t.Context()); err != nil {
				t.Error(err)
				return
			}
			if err := c.reserve(t.Context()); err != nil {
				t.Error(err)
				return
			}
			c.lock.release()
		})
	}
	group.Wait()
	list, err := m.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	addresses := map[netip.Addr]bool{}
	for _, i := range list {
		addresses[i.Address] = true
	}
	if len(list) != n || len(addresses) != n {
		t.Errorf("%d instances with %d addresses, want %d of each", len(list), len(addresses), n)
	}
	if err := os.WriteFile(m.Layout.file("nothing", recordFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	list, err = m.List(t.Context())
	if err != nil || len(list) != n || list[0].State != ccloudvm.StateFailed || !strings.Contains(list[0].Reason, "delete the instance") {
		t.Errorf("with a broken record: %d instances, first %+v, %v", len(list), list[0], err)
	}
}

func TestResolve(t *testing.T) {
	m := newManager(t.TempDir())
	resolve := func(name string) (string, error) { return m.Resolve(name) }
	if _, err := resolve(""); !errors.Is(err, ccloudvm.ErrNotFound) {
		t.Errorf("none: %v", err)
	}
	for _, name := range []string{"ciao", "debian-12"} {
		if err := os.MkdirAll(m.Layout.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if name == "ciao" {
			if got, err := resolve(""); got != "ciao" || err != nil {
				t.Errorf("the only one: %q, %v", got, err)
			}
		}
	}
	for name, want := range map[string]string{"": "say which instance: there are ciao, debian-12", "caio": "did you mean ciao?", "..": "cannot be an instance's name"} {
		if _, err := resolve(name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("resolve(%q) = %v; want %q", name, err, want)
		}
	}
}
