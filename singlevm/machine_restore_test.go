package singlevm

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/ciaocloud/ciao/cluster/api"
	"github.com/ciaocloud/ciao/cluster/client"
	"github.com/ciaocloud/ciao/cluster/driver/container"
	"github.com/ciaocloud/ciao/singlevm/machinetest"
)

// The state is put back to that of a backup: what the backup has runs on, also where it was moved to since; what was deleted since is started
// again; what is younger is stopped and kept, and deleted once the operator says that all is well.
func TestMachineRestoredBackup(t *testing.T) {
	file := filepath.Join(t.TempDir(), "store.backup")
	m := newMachine(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*commandLimit)
	defer cancel()
	m.must("setup", "--nodes", "2")
	blue := m.user("blue")
	old := m.create(ctx, blue, 4) // on both nodes
	doomed := m.named(ctx, blue, "doomed", 1)
	m.operate("store", "backup", file)
	young := m.named(ctx, blue, "young", 2)
	data := m.withVolume(ctx, blue, "younger")
	if _, err := blue.DeleteInstance(ctx, doomed[0].ID); err != nil {
		t.Fatal(err)
	}
	m.gone(ctx, blue, doomed)
	old = m.moved(ctx, blue, old, 2)
	young = m.active(ctx, blue, young)
	carriers := m.carriers(old)
	m.without("controller", func() {
		m.operate("store", "restore", file, "--force", "--config", layout{DefaultDirectory}.clusterFile())
	})
	machinetest.Eventually(t, "what is younger than the backup is stopped", commandLimit, func() bool {
		return m.container(young[0]) == "exited" && m.container(young[1]) == "exited"
	})
	old = m.active(ctx, blue, old)
	m.unchanged(ctx, blue, old, carriers)
	machinetest.Eventually(t, "what was deleted since is there again", commandLimit, func() bool {
		return m.container(m.active(ctx, blue, doomed)[0]) == "running"
	})
	m.resolves(ctx, old)
	if _, err := os.Stat(data); err != nil {
		t.Errorf("a volume that is younger than the backup is not kept: %v", err)
	}
	m.operate("store", "settle")
	machinetest.Eventually(t, "what is younger than the backup is deleted", commandLimit, func() bool {
		_, err := os.Stat(data)
		return m.container(young[0]) == "" && m.container(young[1]) == "" && errors.Is(err, fs.ErrNotExist)
	})
	m.unchanged(ctx, blue, old, carriers)
	m.cleanup()
	m.restored("a restored backup and cleanup")
}

// named makes instances of a name that run.
func (m *machine) named(ctx context.Context, c *client.Client, name string, count int) []api.Instance {
	m.Helper()
	made, err := c.CreateInstances(ctx, api.CreateInstances{Workload: probeImage, Count: count, Name: name})
	if err != nil {
		m.Fatal(err)
	}
	return m.active(ctx, c, made)
}

// withVolume starts a container that has a new volume, and returns the directory of that on its node.
func (m *machine) withVolume(ctx context.Context, c *client.Client, name string) string {
	m.Helper()
	v, err := c.CreateVolume(ctx, api.CreateVolume{Name: name, SizeMiB: 1})
	var made []api.Instance
	if err == nil {
		made, err = c.CreateInstances(ctx, api.CreateInstances{Workload: probeImage, Name: name, Volumes: []api.InstanceVolume{{Volume: v.ID, Target: "/data"}}})
	}
	if err != nil {
		m.Fatal(err)
	}
	made = m.active(ctx, c, made)
	return filepath.Join(node{layout{DefaultDirectory}, m.numberOf(ctx, m.user(operatorName), made[0].Node)}.directory(), "volumes", v.ID)
}

// moved empties a node, and waits until the instances run elsewhere.
func (m *machine) moved(ctx context.Context, c *client.Client, instances []api.Instance, number int) []api.Instance {
	m.Helper()
	node, err := m.user(operatorName).EvacuateNode(ctx, m.hostname(number), false)
	if err != nil {
		m.Fatal(err)
	}
	machinetest.Eventually(m, "the evacuated node is left", commandLimit, func() bool {
		instances = m.active(ctx, c, instances)
		return !slices.ContainsFunc(instances, func(i api.Instance) bool { return i.Node == node.ID })
	})
	return instances
}

// operate runs the ciao command as an operator; it must succeed.
func (m *machine) operate(args ...string) {
	m.Helper()
	as := layout{DefaultDirectory}.client(operatorName)
	got := m.run(exec.Command(m.program("ciao"), append(args, "--controller", as.Controller, "--cert", as.Certificate, "--ca-cert", as.CA)...))
	if got.code != 0 {
		m.Fatalf("ciao %s ended with %d:\n%s%s", strings.Join(args, " "), got.code, got.out, got.err)
	}
	m.Log(got.out, got.err)
}

// without does something while a daemon does not run: its supervisor is halted, so that it is not started again.
func (m *machine) without(daemon string, do func()) {
	m.Helper()
	for _, p := range m.daemon("supervisor") {
		if err := syscall.Kill(p.PID, syscall.SIGSTOP); err != nil {
			m.Fatal(err)
		}
		defer func() {
			if err := syscall.Kill(p.PID, syscall.SIGCONT); err != nil {
				m.Error(err)
			}
		}()
	}
	machinetest.Kill(m, m.daemon(daemon)...)
	do()
}

// container is the state of an instance's container; empty when there is none.
func (m *machine) container(i api.Instance) string {
	out, err := exec.Command("docker", "inspect", "-f", "{{.State.Status}}", container.Name(i.Node, i.ID)).Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}
