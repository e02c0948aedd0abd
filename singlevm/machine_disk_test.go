package singlevm

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ciaocloud/ciao/cluster/api"
	"github.com/ciaocloud/ciao/cluster/client"
	"github.com/ciaocloud/ciao/singlevm/machinetest"
)

// The disk of the controller, and then that of a node, is full to the brim: what cannot be done is refused, or waits, with one sentence; what runs
// runs on; nothing half-made is left; and when there is room again all goes on by itself, even if the daemon died meanwhile.
func TestMachineFullDisks(t *testing.T) {
	m := newMachine(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*commandLimit)
	defer cancel()
	second := node{layout{DefaultDirectory}, 2}
	store := m.disk(layout{DefaultDirectory}.controller(), "256m")
	local := m.disk(second.directory(), "8m")
	m.must("setup", "--nodes", "2")
	operator := m.user(operatorName)
	blue := operator.ForTenant("blue")
	pinned := m.onEachNode(ctx, blue, 2)
	carriers := m.carriers(pinned)

	for _, dies := range []bool{false, true} {
		free := store.fill(m)
		daemons := m.pids("controller")
		m.refusedForSpace(ctx, blue)
		m.unchanged(ctx, blue, pinned, carriers)
		if dies {
			machinetest.Kill(m, m.daemon("controller")...)
			<-time.After(time.Second) // it starts in vain, again and again
		} else if now := m.pids("controller"); now["controller"][0] != daemons["controller"][0] {
			t.Errorf("the controller has died of a full disk: it was process %v and is %v", daemons, now)
		}
		free()
		m.worksAgain(ctx, blue, pinned, "on-1")
	}

	free := local.fill(m)
	daemons := m.pids("launcher")
	late, err := blue.CreateInstances(ctx, api.CreateInstances{Workload: "on-2", Count: 2, Name: "late"})
	if err != nil {
		t.Fatal(err)
	}
	machinetest.Eventually(t, "a reason says that the node's disk is full", time.Minute, func() bool {
		return strings.Contains(m.reasons(ctx, operator, late[0]), "is full: free some space")
	})
	m.unchanged(ctx, blue, pinned, carriers)
	if now := m.pids("launcher"); len(now["launcher"]) != 2 || now["launcher"][0] != daemons["launcher"][0] || now["launcher"][1] != daemons["launcher"][1] {
		t.Errorf("a launcher has died of a full disk: they were processes %v and are %v", daemons, now)
	}
	if _, err := blue.DeleteInstance(ctx, late[1].ID); err != nil {
		t.Error(err)
	}
	m.gone(ctx, blue, late[1:])
	free()
	m.worksAgain(ctx, blue, append(pinned, late[0]), "on-2")
	store.detach(m)
	local.detach(m)
	m.cleanup()
	m.restored("full disks and cleanup")
}

// disk is a small one of its own.
type disk string

// disk mounts one. It goes before the cluster does, whose cleanup would stumble over a mount that it has not made.
func (m *machine) disk(directory, size string) disk {
	m.Helper()
	err := os.MkdirAll(directory, 0o700)
	if err == nil {
		err = syscall.Mount("tmpfs", directory, "tmpfs", 0, "mode=700,size="+size)
	}
	if err != nil {
		m.Fatal(err)
	}
	m.Cleanup(func() { disk(directory).detach(m) })
	return disk(directory)
}

// detach takes the disk away from where it is, whatever uses it.
func (d disk) detach(m *machine) {
	m.Helper()
	err := syscall.Unmount(string(d), syscall.MNT_DETACH)
	if err != nil && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, syscall.ENOENT) { // it was detached before
		m.Error(err)
	}
}

// fill leaves no byte free, whatever is written or removed meanwhile, until free is called.
func (d disk) fill(m *machine) (free func()) {
	m.Helper()
	name := filepath.Join(string(d), "filler")
	file, err := os.Create(name)
	if err != nil {
		m.Fatal(err)
	}
	block := make([]byte, 4096)
	for err = nil; err == nil; _, err = file.Write(block) {
	}
	if !errors.Is(err, unix.ENOSPC) {
		m.Fatal(err)
	}
	return func() {
		if err := errors.Join(file.Close(), os.Remove(name)); err != nil {
			m.Error(err)
		}
	}
}

// refusedForSpace wants a create to be refused in one sentence, and nothing of it to be there.
func (m *machine) refusedForSpace(ctx context.Context, c *client.Client) {
	m.Helper()
	before, err := c.Instances(ctx, client.InstanceFilter{})
	if err != nil {
		m.Fatal(err)
	}
	as := layout{DefaultDirectory}.client(operatorName)
	got := m.run(exec.Command(m.program("ciao"), "create", "instance", "on-1", "--tenant", "blue", "--controller", as.Controller, "--cert", as.Certificate, "--ca-cert", as.CA))
	if got.code != 8 || !strings.Contains(got.err, "is full") || !strings.Contains(got.err, "free some space") || strings.Count(got.err, "\n") != 1 {
		m.Errorf("a create on a full disk ends with %d: %s", got.code, got.err)
	}
	after, err := c.Instances(ctx, client.InstanceFilter{})
	if err != nil || len(after) != len(before) {
		m.Errorf("there were %d instances before the refused create and %d after it, %v", len(before), len(after), err)
	}
}

// worksAgain wants the instances to be active, and one more of a workload, which then goes.
func (m *machine) worksAgain(ctx context.Context, c *client.Client, instances []api.Instance, workload string) {
	m.Helper()
	m.active(ctx, c, instances)
	var made []api.Instance
	machinetest.Eventually(m, "creates are taken again", time.Minute, func() (taken bool) {
		var err error
		made, err = c.CreateInstances(ctx, api.CreateInstances{Workload: workload, Count: 1, Name: "again"})
		return err == nil
	})
	m.active(ctx, c, made)
	if _, err := c.DeleteInstance(ctx, made[0].ID); err != nil {
		m.Fatal(err)
	}
	m.gone(ctx, c, made)
}

// reasons are what is said of an instance and of the CNCIs, which may be on the same node.
func (m *machine) reasons(ctx context.Context, operator *client.Client, instance api.Instance) string {
	m.Helper()
	now, err := operator.Instance(ctx, instance.ID)
	if err != nil {
		m.Fatal(err)
	}
	cncis, err := operator.CNCIs(ctx)
	if err != nil {
		m.Fatal(err)
	}
	all := now.Reason
	for _, cnci := range cncis {
		all += "\n" + cnci.Reason
	}
	return all
}

func (m *machine) gone(ctx context.Context, c *client.Client, instances []api.Instance) {
	m.Helper()
	if _, err := c.Wait(ctx, instances, client.Deleted, nil); err != nil {
		m.Fatalf("the deleted instances do not go: %v", err)
	}
}
