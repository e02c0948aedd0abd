package instance

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ciaocloud/ciao/ccloudvm"
	"github.com/ciaocloud/ciao/require"
)

func TestCreateRefuses(t *testing.T) {
	tests := []struct {
		name  string
		req   CreateRequest
		class error
		want  string
	}{
		{"unknown workload", CreateRequest{Workload: "nothin"}, ccloudvm.ErrNotFound, "did you mean nothing?"},
		{"broken cloud-config, with its place", CreateRequest{Workload: "broken"}, ccloudvm.ErrInvalid, "embedded:broken:6:1: runcmd: must be a list of commands"},
		{"memory beyond the host", CreateRequest{Workload: "huge"}, ccloudvm.ErrHost, "use a smaller --mem"},
		{"impossible size", CreateRequest{Workload: "nothing", Overrides: Overrides{CPUs: 4096}}, ccloudvm.ErrInvalid, "--cpus: vm.cpus: must be from 1 to 255"},
		{"bad name", CreateRequest{Workload: "nothing", Name: "a_b"}, ccloudvm.ErrInvalid, "cannot be an instance's name"},
		{"mount that is not there", CreateRequest{Workload: "nothing", Overrides: Overrides{Mounts: []ccloudvm.Mount{{Tag: "x", Path: "/nonexistent"}}}}, ccloudvm.ErrInvalid, "the mount x cannot be shared"},
		{"drive that is not there", CreateRequest{Workload: "nothing", Overrides: Overrides{Drives: []ccloudvm.Drive{{Path: "/nonexistent", Format: "raw"}}}}, ccloudvm.ErrInvalid, "cannot be attached"},
		{"drive option", CreateRequest{Workload: "nothing", Overrides: Overrides{Drives: []ccloudvm.Drive{{Path: "/dev/null", Format: "raw", Options: "snapshot=on"}}}}, ccloudvm.ErrInvalid, "snapshot is not supported"},
		{"address of somebody else", CreateRequest{Workload: "nothing", Overrides: Overrides{HostIP: "192.0.2.1"}}, ccloudvm.ErrHost, "--hostip"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := testManager(t)
			_, err := m.Create(t.Context(), tt.req, nil)
			if !errors.Is(err, tt.class) || !strings.Contains(fmt.Sprint(err), tt.want) {
				t.Errorf("create = %v; want class %v and %q", err, tt.class, tt.want)
			}
			names, _ := m.Names()
			if len(names) > 0 {
				t.Errorf("instances %v are half-made", names)
			}
		})
	}
}

func TestNoQEMU(t *testing.T) {
	m := newManager(t.TempDir())
	t.Setenv("PATH", t.TempDir())
	_, err := m.Create(t.Context(), CreateRequest{Workload: "nothing"}, nil)
	if !errors.Is(err, ccloudvm.ErrHost) || !strings.Contains(err.Error(), "run `ccloudvm setup`") {
		t.Errorf("create without QEMU = %v", err)
	}
}

func TestFullDisk(t *testing.T) {
	require.Root(t)
	m := testManager(t)
	if err := syscall.Mount("tmpfs", m.Layout.State, "tmpfs", 0, "size=4m"); err != nil {
		t.Skip("no file system can be mounted here: " + err.Error())
	}
	t.Cleanup(func() { syscall.Unmount(m.Layout.State, syscall.MNT_DETACH) })
	_, err := m.Create(t.Context(), CreateRequest{Workload: "nothing"}, nil)
	if !errors.Is(err, ccloudvm.ErrHost) || !strings.Contains(err.Error(), "make room") {
		t.Errorf("create on a full disk = %v", err)
	}
}

// TestGuestThatNeverAnswers also shows that a failed create undoes itself.
func TestGuestThatNeverAnswers(t *testing.T) {
	m := testManager(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	created := make(chan error, 1)
	go func() {
		_, err := m.Create(ctx, CreateRequest{Workload: "nothing", Accelerator: "tcg"}, nil)
		created <- err
	}()
	qemuPID, supervisorPID := running(t, m, "nothing")
	cancel(context.DeadlineExceeded) // what --timeout does
	err := <-created
	if !errors.Is(err, ccloudvm.ErrTimeout) || !strings.Contains(err.Error(), "--timeout") {
		t.Errorf("create = %v", err)
	}
	nothingLeft(t, m, "nothing", qemuPID, supervisorPID)
}

func TestKeepTheWreck(t *testing.T) {
	m := testManager(t)
	created := make(chan error, 1)
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() {
		_, err := m.Create(ctx, CreateRequest{Workload: "nothing", Accelerator: "tcg", Keep: true}, nil)
		created <- err
	}()
	qemuPID, supervisorPID := running(t, m, "nothing")
	if _, err := m.Stop(t.Context(), "nothing", time.Second); !errors.Is(err, ccloudvm.ErrState) || !strings.Contains(err.Error(), "ccloudvm create (process") {
		t.Errorf("stop in the middle of create = %v", err)
	}
	if i, err := m.Get(t.Context(), "nothing"); err != nil || i.State != ccloudvm.StateCreating {
		t.Errorf("in the middle of create: %s, %v", i.State, err)
	}
	cancel(errors.New("enough"))
	if err := <-created; err == nil || !strings.Contains(err.Error(), "enough") || !strings.Contains(err.Error(), "ccloudvm delete nothing") {
		t.Errorf("create = %v", err)
	}
	if i, err := m.Get(t.Context(), "nothing"); err != nil || i.State != ccloudvm.StateFailed || i.Reason != "enough" {
		t.Errorf("the wreck is %s (%s), %v", i.State, i.Reason, err)
	}
	if err := m.Delete(t.Context(), "nothing"); err != nil {
		t.Fatal(err)
	}
	nothingLeft(t, m, "nothing", qemuPID, supervisorPID)
}

// TestKilled kills each process of an instance under creation.
func TestKilled(t *testing.T) {
	t.Run("QEMU", func(t *testing.T) {
		m := testManager(t)
		err := createAnd(t, m, func(qemuPID, _ int) { syscall.Kill(qemuPID, syscall.SIGKILL) })
		if !errors.Is(err, ccloudvm.ErrGuest) {
			t.Errorf("create = %v", err)
		}
	})
	t.Run("supervisor", func(t *testing.T) {
		m := testManager(t)
		err := createAnd(t, m, func(_, supervisorPID int) { syscall.Kill(supervisorPID, syscall.SIGKILL) })
		if !errors.Is(err, ccloudvm.ErrGuest) || !strings.Contains(err.Error(), "supervisor") {
			t.Errorf("create = %v", err)
		}
	})
	t.Run("command", func(t *testing.T) {
		m := testManager(t)
		create := self(createVariable, m.Layout.State+" nothing")
		if err := create.Start(); err != nil {
			t.Fatal(err)
		}
		qemuPID, supervisorPID := running(t, m, "nothing")
		create.Process.Kill()
		create.Wait()
		if i, err := m.Get(t.Context(), "nothing"); err != nil || i.State != ccloudvm.StateFailed || !strings.Contains(i.Reason, "interrupted") {
			t.Errorf("the orphan is %s (%s), %v", i.State, i.Reason, err)
		}
		if err := m.Delete(t.Context(), "nothing"); err != nil {
			t.Fatal(err)
		}
		nothingLeft(t, m, "nothing", qemuPID, supervisorPID)
	})
}

// createAnd runs a create that cannot succeed, does something once QEMU runs, and checks that nothing is left.
func createAnd(t *testing.T, m *Manager, act func(qemuPID, supervisorPID int)) error {
	t.Helper()
	created := make(chan error, 1)
	go func() {
		_, err := m.Create(t.Context(), CreateRequest{Workload: "nothing", Accelerator: "tcg"}, nil)
		created <- err
	}()
	qemuPID, supervisorPID := running(t, m, "nothing")
	act(qemuPID, supervisorPID)
	err := <-created
	nothingLeft(t, m, "nothing", qemuPID, supervisorPID)
	return err
}
