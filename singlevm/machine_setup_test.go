package singlevm

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ciaocloud/ciao/cluster/api"
	"github.com/ciaocloud/ciao/cluster/client"
	"github.com/ciaocloud/ciao/cluster/driver/container"
	"github.com/ciaocloud/ciao/singlevm/machinetest"
)

var everyDaemon = []string{"supervisor", "gateway", "dhcp", "scheduler", "controller", "launcher", "cnci"}

// A cluster is set up, proven, set up again and removed; the machine is as it was.
func TestMachineSetupVerifyCleanup(t *testing.T) {
	m := newMachine(t)
	ctx, cancel := context.WithTimeout(t.Context(), commandLimit)
	defer cancel()
	m.must("setup")
	m.must("verify")
	blue := m.user("blue")
	made := m.create(ctx, blue, 2)
	carriers := m.carriers(made)
	pids := m.pids(everyDaemon...)
	m.must("setup")
	if diff := cmp.Diff(pids, m.pids(everyDaemon...)); diff != "" {
		t.Errorf("a second setup restarted daemons that had not changed (- before, + after):\n%s", diff)
	}
	m.unchanged(ctx, blue, made, carriers)
	m.cleanup()
	m.restored("setup, verify, setup and cleanup")
	m.cleanup()
	m.restored("a second cleanup")
}

// After a build, setup restarts what runs an old program, agents of CNCIs too; instances run on.
func TestMachineNewProgram(t *testing.T) {
	m := newMachine(t)
	ctx, cancel := context.WithTimeout(t.Context(), commandLimit)
	defer cancel()
	m.programs = copyPrograms(t, m.programs)
	m.must("setup")
	blue := m.user("blue")
	made := m.create(ctx, blue, 2)
	carriers := m.carriers(made)
	before := m.pids(everyDaemon...)
	m.build("ciao")
	m.must("setup")
	after := m.pids("supervisor", "gateway", "dhcp")
	for _, name := range []string{"supervisor", "gateway", "dhcp"} {
		if !slices.Equal(before[name], after[name]) {
			t.Errorf("%s was restarted, from %v to %v, though its program is the same", name, before[name], after[name])
		}
	}
	for _, name := range []string{"scheduler", "controller", "launcher", "cnci"} {
		machinetest.Eventually(t, name+" runs the new program", time.Minute, func() bool {
			now := m.pids(name)[name]
			return len(now) == len(before[name]) && !slices.Equal(now, before[name])
		})
	}
	m.unchanged(ctx, blue, made, carriers)
	m.resolves(ctx, made)
	m.build("singlevm")
	m.must("setup")
	for _, name := range []string{"supervisor", "gateway"} {
		machinetest.Eventually(t, name+" runs the new program", time.Minute, func() bool {
			now := m.pids(name)[name]
			return len(now) == len(before[name]) && !slices.Equal(now, before[name])
		})
	}
	m.unchanged(ctx, blue, made, carriers)
	m.silentGuest(ctx, t)
	m.cleanup()
	m.restored("new programs and cleanup")
}

// The Docker Engine puts its own rules first when it starts: the way out is there again afterwards.
func TestMachineOutsideAfterEngineRestart(t *testing.T) {
	m := newMachine(t)
	ctx, cancel := context.WithTimeout(t.Context(), commandLimit)
	defer cancel()
	m.must("setup")
	made := m.create(ctx, m.user("blue"), 1)
	away, err := newOutside()
	if err != nil {
		t.Fatal(err)
	}
	defer away.close()
	reaches := func() bool {
		_, err := m.probe().output(ctx, made[0], "timeout 3 wget -q -O - "+away.calls[0].url)
		return err == nil
	}
	machinetest.Eventually(t, "the outside is reached", time.Minute, reaches)
	machinetest.KillEngine(t)()
	machinetest.Eventually(t, "the outside is reached after the engine was started again", time.Minute, reaches)
	away.close()
	m.cleanup()
	m.restored("a restart of the engine and cleanup")
}

// copyPrograms gives a test programs of its own, which it may build anew.
func copyPrograms(t *testing.T, from string) string {
	t.Helper()
	to := t.TempDir()
	for _, name := range []string{"singlevm", "ciao"} {
		source, err := os.Open(filepath.Join(from, name))
		if err != nil {
			t.Fatal(err)
		}
		target, err := os.OpenFile(filepath.Join(to, name), os.O_CREATE|os.O_WRONLY, 0o755)
		if err == nil {
			_, err = io.Copy(target, source)
		}
		if err == nil {
			err = target.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
		source.Close()
	}
	return to
}

// build does to a program what a build does: there is a new file of its name, while the old one runs on.
func (m *machine) build(name string) {
	m.Helper()
	old := m.program(name)
	if out, err := exec.Command("cp", old, old+".new").CombinedOutput(); err != nil {
		m.Fatalf("copy %s: %v: %s", old, err, out)
	}
	if err := os.Rename(old+".new", old); err != nil {
		m.Fatal(err)
	}
}

// carriers are the engine's ids and start times of instances' containers.
func (m *machine) carriers(instances []api.Instance) map[string]string {
	m.Helper()
	found := make(map[string]string)
	for _, instance := range instances {
		out, err := exec.Command("docker", "inspect", "-f", "{{.Id}} {{.State.StartedAt}}", container.Name(instance.Node, instance.ID)).CombinedOutput()
		if err != nil {
			m.Fatalf("look at the container of %s: %v: %s", instance.Name, err, out)
		}
		found[instance.Name] = string(out)
	}
	return found
}

// unchanged fails the test unless the instances have run on.
func (m *machine) unchanged(ctx context.Context, c *client.Client, instances []api.Instance, carriers map[string]string) {
	m.Helper()
	if _, err := c.Wait(ctx, instances, client.Active, nil); err != nil {
		m.Fatalf("the instances are not active any more: %v", err)
	}
	if diff := cmp.Diff(carriers, m.carriers(instances)); diff != "" {
		m.Fatalf("containers were started again (- before, + after):\n%s", diff)
	}
}

// resolves waits until the first instance finds the second by its name.
func (m *machine) resolves(ctx context.Context, instances []api.Instance) {
	m.Helper()
	machinetest.Eventually(m, "instances find each other by name", time.Minute, func() bool {
		return m.probe().judge(ctx, instances[0], works("ping -c 1 -W 2 %s", instances[1].Name)) == nil
	})
}

func (m *machine) probe() prober {
	m.Helper()
	s, err := New(Config{Programs: m.programs})
	if err != nil {
		m.Fatal(err)
	}
	return prober{s.engine}
}
