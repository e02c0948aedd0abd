package instance

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/ciaocloud/ciao/ccloudvm/image"
	"github.com/ciaocloud/ciao/ccloudvm/qemu"
	"github.com/ciaocloud/ciao/ccloudvm/workload"
	"github.com/ciaocloud/ciao/require"
)

// The test binary is its own supervisor, and its own command that can be killed, when these variables are set.
const (
	superviseVariable = "CCLOUDVM_TEST_SUPERVISE" // STATE NAME ID
	createVariable    = "CCLOUDVM_TEST_CREATE"    // STATE NAME
)

func TestMain(m *testing.M) {
	if words := strings.Fields(os.Getenv(superviseVariable)); len(words) > 0 {
		id := strings.Join(words[2:], "")
		if err := Supervise(context.Background(), Layout{State: words[0]}, qemu.Prober{}, words[1], id, slog.New(slog.NewTextHandler(os.Stderr, nil))); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if words := strings.Fields(os.Getenv(createVariable)); len(words) > 0 {
		manager := newManager(words[0])
		_, err := manager.Create(context.Background(), CreateRequest{Workload: "nothing", Name: words[1], Accelerator: "tcg"}, nil)
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// emptyDisks gives every instance a disk with nothing on it: a guest that never answers, on a real QEMU.
type emptyDisks struct{ dir string }

func (e emptyDisks) Ensure(ctx context.Context, _ image.Request, _ image.Report) (image.Image, error) {
	path := filepath.Join(e.dir, "empty.qcow2")
	if _, err := os.Stat(path); err == nil {
		return image.Image{Name: "empty", Disk: path, Format: "qcow2"}, nil
	}
	temporary := fmt.Sprintf("%s-%d-%p", path, os.Getpid(), &e)
	if out, err := exec.CommandContext(ctx, "qemu-img", "create", "-q", "-f", "qcow2", temporary, "64M").CombinedOutput(); err != nil {
		return image.Image{}, fmt.Errorf("%w: %s", err, out)
	}
	return image.Image{Name: "empty", Disk: path, Format: "qcow2"}, os.Rename(temporary, path)
}

func (e emptyDisks) Fetch(ctx context.Context, _ image.Source, r image.Report) (image.Image, error) {
	return e.Ensure(ctx, image.Request{}, r)
}

func (e emptyDisks) Tiny(ctx context.Context, r image.Report) (image.Image, error) {
	return e.Ensure(ctx, image.Request{}, r)
}

func newManager(state string) *Manager {
	return &Manager{
		Layout: Layout{State: state, Cache: filepath.Join(state, "cache")},
		Workloads: workload.Finder{Embedded: fstest.MapFS{
			"nothing.yaml": {Data: []byte("vm: {mem_mib: 128}\n")},
			"broken.yaml":  {Data: []byte("---\nvm: {mem_mib: 128}\n...\n---\nusers: []\nruncmd:\n - echo a: b\n")},
			"huge.yaml":    {Data: []byte("vm: {mem_mib: 16000000}\n")},
		}},
		Caller:    Caller{User: "me", UID: 1000, GID: 1000, Home: state, Getenv: func(string) string { return "" }, WorkDir: state, Program: state},
		Images:    emptyDisks{state},
		Supervise: func(name, id string) *exec.Cmd { return self(superviseVariable, state+" "+name+" "+id) },
		Log:       slog.New(slog.DiscardHandler),
	}
}

func self(variable, value string) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), variable+"="+value)
	return cmd
}

func testManager(t *testing.T) *Manager {
	t.Helper()
	require.QEMU(t)
	m := newManager(t.TempDir())
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		names, _ := m.Names()
		for _, name := range names {
			if err := m.Delete(ctx, name); err != nil {
				t.Errorf("delete %s: %v", name, err)
			}
		}
	})
	return m
}

// nothingLeft checks that no file, socket or process of the instance remains.
func nothingLeft(t *testing.T, m *Manager, name string, pids ...int) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(m.Layout.State, instancesDir))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		t.Errorf("%s is left", e.Name())
	}
	if sockets, err := qemu.SocketDir(m.Layout.Dir(name)); err == nil { // makes it
		left, _ := os.ReadDir(sockets)
		for _, e := range left {
			t.Errorf("socket %s is left", e.Name())
		}
		os.Remove(sockets)
	}
	for _, pid := range pids {
		eventually(t, fmt.Sprintf("process %d is gone", pid), func() bool { return gone(pid) })
	}
}

func gone(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || strings.Contains(string(b), ") Z ")
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for !is() {
		if !pause(ctx, 20*time.Millisecond) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

// running waits until the instance's QEMU runs and returns the pids of QEMU and its supervisor.
func running(t *testing.T, m *Manager, name string) (qemuPID, supervisorPID int) {
	t.Helper()
	eventually(t, name+" runs", func() bool {
		p, ok := m.process(name)
		run, err := m.Layout.run(name)
		qemuPID = p.PID
		return ok && err == nil && !run.Started.IsZero()
	})
	b, err := os.ReadFile(m.Layout.file(name, supervisorLockFile))
	if err != nil {
		t.Fatal(err)
	}
	supervisorPID, err = strconv.Atoi(regexp.MustCompile(`[0-9]+`).FindString(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	return qemuPID, supervisorPID
}

func newListener(t *testing.T, addr netip.Addr) (netip.AddrPort, error) {
	l, err := net.Listen("tcp4", netip.AddrPortFrom(addr, 0).String())
	if err != nil {
		return netip.AddrPort{}, err
	}
	t.Cleanup(func() { l.Close() })
	return netip.ParseAddrPort(l.Addr().String())
}
