package container_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ciaocloud/ciao/require"
)

// privateEngine is a Docker Engine of the test's own, which may be killed.
type privateEngine struct {
	directory string
	host      string
	bridge    string
	runtime   *exec.Cmd // containerd
	process   *exec.Cmd // dockerd
}

// newPrivateEngine starts one with its own containerd, data, socket and bridge. (Told to have no bridge, an engine removes
// docker0, whosever it is.)
func newPrivateEngine(t *testing.T) *privateEngine {
	t.Helper()
	require.Command(t, "dockerd", "containerd")
	directory, err := os.MkdirTemp("", "ciao-engine")
	if err != nil {
		t.Fatal(err)
	}
	// In memory, its layers can be overlays wherever the test runs, in a container as well.
	data := filepath.Join(directory, "data")
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", data, "tmpfs", 0, "size=512m,mode=0700"); err != nil {
		t.Fatalf("mount a place for the private engine's data: %v", err)
	}
	e := &privateEngine{directory: directory, host: "unix://" + directory + "/d.sock", bridge: makeBridge(t)}
	t.Cleanup(func() {
		e.end(t, syscall.SIGTERM)
		e.runtime.Process.Signal(syscall.SIGTERM)
		e.runtime.Wait()
		unmountBelow(directory)
		if err := os.RemoveAll(directory); err != nil {
			t.Errorf("remove the private engine's data: %v", err)
		}
	})
	// A containerd of its own, as on machines with systemd, stays when the engine is killed.
	e.runtime = e.run(t, "containerd", "--root", directory+"/c", "--state", directory+"/s", "--address", directory+"/c.sock")
	e.begin(t)
	return e
}

func makeBridge(t *testing.T) string {
	t.Helper()
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "cy" + random(4)}}
	if err := netlink.LinkAdd(bridge); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { netlink.LinkDel(bridge) })
	address, err := netlink.ParseAddr("172.31.250.1/24")
	if err == nil {
		err = netlink.AddrAdd(bridge, address)
	}
	if err != nil {
		t.Fatal(err)
	}
	return bridge.Name
}

func (e *privateEngine) begin(t *testing.T) {
	t.Helper()
	e.process = e.run(t, "dockerd", "-H", e.host, "--data-root", e.directory+"/data", "--storage-driver", "overlay2", "--exec-root", e.directory+"/run",
		"--containerd", e.directory+"/c.sock", "--pidfile", e.directory+"/pid", "--bridge", e.bridge, "--iptables=false", "--ip6tables=false")
	engine := dial(t, e.host)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patient); ; <-tick.C {
		_, err := engine.Ping(t.Context())
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the private engine does not answer: %v", err)
		}
	}
}

// run starts a program whose output is shown if the test fails.
func (e *privateEngine) run(t *testing.T, program string, arguments ...string) *exec.Cmd {
	t.Helper()
	log, err := os.OpenFile(filepath.Join(e.directory, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	command := exec.Command(program, arguments...)
	command.Stdout, command.Stderr = log, log
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	return command
}

func (e *privateEngine) end(t *testing.T, signal syscall.Signal) {
	t.Helper()
	if err := e.process.Process.Signal(signal); err != nil {
		t.Errorf("signal the private engine: %v", err)
	}
	e.process.Wait()
	if words, err := os.ReadFile(filepath.Join(e.directory, "log")); err == nil && t.Failed() {
		t.Logf("the private engine said:\n%s", words)
	}
}

// freeze stops the engine's process, and returns when the last of its threads stands still.
func (e *privateEngine) freeze(t *testing.T) (thaw func()) {
	t.Helper()
	if err := e.process.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	for !stopped(e.process.Process.Pid) {
		if t.Context().Err() != nil {
			t.Fatal("the private engine does not stop")
		}
	}
	thaw = func() { e.process.Process.Signal(syscall.SIGCONT) }
	t.Cleanup(thaw)
	return thaw
}

func stopped(pid int) bool {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	for _, thread := range threads {
		if stat, err := os.ReadFile(thread); err == nil && !bytes.Contains(stat, []byte(") T ")) {
			return false
		}
	}
	return len(threads) > 0
}

// unmountBelow undoes what a killed engine left mounted, the innermost first.
func unmountBelow(directory string) {
	table, _ := os.ReadFile("/proc/self/mounts")
	lines := strings.Split(string(table), "\n")
	for _, line := range slices.Backward(lines) {
		if fields := strings.Fields(line); len(fields) > 1 && strings.HasPrefix(fields[1], directory+"/") {
			unix.Unmount(fields[1], unix.MNT_DETACH)
		}
	}
}
