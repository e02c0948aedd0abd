package process_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/driver"
	"github.com/ciaocloud/ciao/cluster/driver/cgroup"
	"github.com/ciaocloud/ciao/cluster/driver/drivertest"
	"github.com/ciaocloud/ciao/cluster/driver/process"
)

// processes reads the noted processes of all instances that run: shim first, then runtime.
func (n *node) processes(t testing.TB) map[string][]int {
	t.Helper()
	found := map[string][]int{}
	files, err := filepath.Glob(filepath.Join(n.config.Instances, "*", "process", "processes"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		directory := filepath.Dir(file)
		if _, err := os.Stat(filepath.Join(directory, "exit")); err == nil {
			continue
		}
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		id := filepath.Base(filepath.Dir(directory))
		for _, line := range strings.Split(strings.TrimSpace(string(data)), "\n")[1:] {
			var pid int
			if _, err := fmt.Sscan(line, &pid); err != nil {
				t.Fatalf("%s: %q: %v", file, line, err)
			}
			found[id] = append(found[id], pid)
		}
	}
	return found
}

func kill(t testing.TB, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Errorf("kill %d: %v", pid, err)
	}
}

// inside are the instance's processes that are neither shim nor runtime.
func (n *node) inside(t testing.TB, id string) map[int]bool {
	t.Helper()
	pids, err := cgroup.Processes(cgroup.Root, n.config.Mark+"-process-"+id)
	if err != nil {
		t.Fatal(err)
	}
	return pids
}

// Whatever is killed: the instance ends, says so, and starts again as the only one.
func TestKills(t *testing.T) {
	for name, test := range map[string]struct {
		kill        func(t *testing.T, n *node, id string)
		interrupted bool
	}{
		"the shim":    {func(t *testing.T, n *node, id string) { kill(t, n.processes(t)[id][0]) }, true},
		"the runtime": {func(t *testing.T, n *node, id string) { kill(t, n.processes(t)[id][1]) }, false},
		"both": {func(t *testing.T, n *node, id string) {
			for _, pid := range n.processes(t)[id] {
				kill(t, pid)
			}
		}, true},
		"process 1": {func(t *testing.T, n *node, id string) {
			first := 1 << 30
			for pid := range n.inside(t, id) {
				first = min(first, pid)
			}
			kill(t, first)
		}, false},
		"the machine": {func(t *testing.T, n *node, _ string) {
			if err := n.driver.Crash(t.Context()); err != nil {
				t.Error(err)
			}
			n.unplugAll(t) // their other ends went with the namespaces, or are about to
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			instance := n.instance(t, "/bin/sh", "-c", "echo begun; "+untilStopped)
			n.begin(t, instance)
			before := n.inside(t, instance.ID)
			test.kill(t, n, instance.ID)
			status := n.becomes(t, instance.ID, driver.Ended)
			if status.Interrupted != test.interrupted || status.Reason == "" || !test.interrupted && (status.ExitCode == nil || *status.ExitCode != 137) {
				t.Errorf("status is %+v", status)
			}
			n.port(t, instance)
			if err := n.driver.Start(t.Context(), instance.ID); err != nil {
				t.Fatal(err)
			}
			for pid := range n.inside(t, instance.ID) {
				if before[pid] {
					t.Errorf("process %d of the first run lives in the second", pid)
				}
			}
			if err := n.driver.Stop(t.Context(), instance.ID, 10*time.Second); err != nil {
				t.Fatal(err)
			}
			if status := n.becomes(t, instance.ID, driver.Ended); status.Interrupted || len(n.inside(t, instance.ID)) > 0 {
				t.Errorf("after stop: %+v, processes %v", status, n.inside(t, instance.ID))
			}
		})
	}
}

// An instance whose shim was killed, and that runs on without it, is ended by a stop.
func TestStopWithoutShim(t *testing.T) {
	n := newNode(t)
	instance := n.instance(t, "/bin/sh", "-c", untilStopped)
	n.begin(t, instance)
	kill(t, n.processes(t)[instance.ID][0])
	if err := n.driver.Stop(t.Context(), instance.ID, time.Second); err != nil {
		t.Fatal(err)
	}
	if left := n.inside(t, instance.ID); len(left) > 0 {
		t.Errorf("processes %v are left", left)
	}
}

// launcherEnvironment has the test binary be a launcher that starts an instance and is killed meanwhile.
const launcherEnvironment = "CIAO_TEST_LAUNCHER"

func TestMain(m *testing.M) {
	if description := os.Getenv(launcherEnvironment); description != "" {
		os.Exit(launch(description))
	}
	os.Exit(m.Run())
}

type order struct {
	Config   process.Config
	Instance driver.Instance
}

func launch(description string) int {
	var o order
	err := json.Unmarshal([]byte(description), &o)
	if err == nil {
		var d *process.Driver
		if d, err = process.New(o.Config); err == nil {
			err = errors.Join(d.Create(context.Background(), o.Instance, nil), d.Start(context.Background(), o.Instance.ID))
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// The launcher is killed at many moments of create and start. Its successor has the instance run, and it was never run twice at a time: each
// run takes a directory that a second one would find taken, and gives it back when it ends.
func TestKilledLauncher(t *testing.T) {
	n := newNode(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for moment := time.Duration(0); moment < 120*time.Millisecond; moment += 6 * time.Millisecond {
		instance := n.instance(t, "/bin/sh", "-c", "mkdir /var/tmp/alone || echo twice; trap 'rmdir /var/tmp/alone; exit 0' TERM; echo begun; while :; do sleep 1 & wait $!; done")
		description, err := json.Marshal(order{n.config, instance})
		if err != nil {
			t.Fatal(err)
		}
		launcher := exec.Command(self)
		launcher.Env = append(os.Environ(), launcherEnvironment+"="+string(description))
		if err := launcher.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(moment) // the moment is the point
		_ = launcher.Process.Kill()
		_ = launcher.Wait()
		n.driver = n.open(t)
		n.begin(t, instance) // what a launcher does that finds the instance wanted
		if status, err := n.driver.Status(t.Context(), instance.ID); err != nil || status.Condition != driver.Running {
			t.Fatalf("killed after %s: %+v, %v", moment, status, err)
		}
		shims := n.processes(t)[instance.ID]
		if err := n.driver.Stop(t.Context(), instance.ID, 10*time.Second); err != nil {
			t.Fatal(err)
		}
		if said := n.said(t, instance.ID); strings.Contains(said, "twice") {
			t.Errorf("killed after %s: it ran twice: %q (shim and runtime %v)", moment, said, shims)
		}
		if err := n.driver.Delete(t.Context(), instance.ID); err != nil {
			t.Fatal(err)
		}
	}
}

// On a full disk output is lost, but neither the process nor its exit code; what would have to be written is refused, and leaves nothing.
func TestFullDisk(t *testing.T) {
	n := newNode(t)
	if err := unix.Mount("small", n.config.Instances, "tmpfs", 0, "size=2m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.driver.Clean(context.Background()); err != nil {
			t.Error(err)
		}
		unix.Unmount(n.config.Instances, unix.MNT_DETACH)
	})
	instance := n.instance(t, "/bin/sh", "-c", "yes | head -c 20000000; while ! test -e /tmp/go; do sleep 0.05; done; echo late; exit 9")
	n.begin(t, instance)
	output := filepath.Join(n.config.Instances, instance.ID, "process", "output")
	for deadline := time.Now().Add(drivertest.Patience); ; time.Sleep(10 * time.Millisecond) {
		var disk unix.Statfs_t
		if err := unix.Statfs(n.config.Instances, &disk); err != nil {
			t.Fatal(err)
		}
		if disk.Bavail == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the disk does not become full")
		}
	}
	other := n.instance(t, "/bin/sh", "-c", untilStopped)
	if err := n.driver.Create(t.Context(), other, nil); !errors.Is(err, cluster.ErrNoCapacity) || !strings.Contains(err.Error(), "disk is full") {
		t.Errorf("create on a full disk: %v", err)
	}
	n.told(t, instance.ID, "touch /tmp/go")
	if status := n.becomes(t, instance.ID, driver.Ended); status.ExitCode == nil || *status.ExitCode != 9 {
		t.Errorf("status is %+v", status)
	}
	if info, err := os.Stat(output); err != nil || info.Size() > 2<<20 {
		t.Errorf("the output is %v, %v", info, err)
	}
}

// unplugAll removes all ports.
func (n *node) unplugAll(t *testing.T) {
	t.Helper()
	for _, name := range n.ports {
		link, err := netlink.LinkByName(name)
		if err == nil {
			err = netlink.LinkDel(link)
		}
		if err != nil && !errors.As(err, new(netlink.LinkNotFoundError)) && !errors.Is(err, unix.ENODEV) {
			t.Fatal(err)
		}
	}
}

// unplug removes a port, as a repair of the node's network that lost it does.
func (n *node) unplug(t *testing.T, instance driver.Instance) {
	t.Helper()
	link, err := netlink.LinkByName("cp" + instance.Network.Port[2:])
	if err == nil {
		err = netlink.LinkDel(link)
	}
	if err != nil {
		t.Fatal(err)
	}
}
