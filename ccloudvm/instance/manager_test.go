package instance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ciaocloud/ciao/ccloudvm"
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
	if !errors.Is(err, ccloudvm.ErrTimeout) || !strings.Contains(err.Error(), "the guest did not answer") {
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

func TestCaller(t *testing.T) {
	dir := t.TempDir()
	checkout := filepath.Join(dir, "src", "ciao")
	if err := os.MkdirAll(filepath.Join(checkout, "a", "b"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(checkout, "go.mod"), []byte(module+"\n\ngo 1.26\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	getenv := func(string) string { return "" }
	c := Caller{User: "john.doe", UID: 1234, GID: 100, Home: dir, Getenv: getenv, WorkDir: filepath.Join(checkout, "a", "b"), Program: "/usr/bin/ccloudvm"}
	if got := c.checkout(); got != checkout {
		t.Errorf("checkout around the working directory: %q", got)
	}
	c.WorkDir, c.Program = dir, filepath.Join(checkout, "bin", "ccloudvm")
	if got := c.checkout(); got != checkout {
		t.Errorf("checkout around the program: %q", got)
	}
	type login struct {
		name     string
		uid, gid int
	}
	for _, tt := range []struct {
		user string
		uid  int
		want login
	}{{"me", 1234, login{"me", 1234, 1234}}, {"john.doe", 1234, login{fallbackUser, 1234, 1234}}, {"root", 0, login{fallbackUser, fallbackUID, fallbackUID}}} {
		name, uid, gid := Caller{User: tt.user, UID: tt.uid, GID: tt.uid}.login()
		if diff := cmp.Diff(tt.want, login{name, uid, gid}, cmp.AllowUnexported(login{})); diff != "" {
			t.Errorf("login of %s (-want +got):\n%s", tt.user, diff)
		}
	}
}

func TestDownloads(t *testing.T) {
	hits := 0
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/file" {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("ETag", `"1"`)
		if r.Header.Get("If-None-Match") == `"1"` {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		hits++
		fmt.Fprint(w, "content")
	}))
	defer site.Close()
	d, err := serveDownloads(t.TempDir(), http.DefaultClient)
	if err != nil {
		t.Fatal(err)
	}
	defer d.close()
	get := func(path, url string) (int, string) {
		resp, err := http.Get("http://" + d.listener.Addr().String() + "/" + path + "?url=" + url)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		return resp.StatusCode, readAll(t, resp)
	}
	for range 3 {
		if code, body := get(d.token, site.URL+"/file"); code != http.StatusOK || body != "content" {
			t.Fatalf("download = %d %q", code, body)
		}
	}
	if hits != 1 {
		t.Errorf("the site was asked for the content %d times, want once", hits)
	}
	for _, tt := range []struct {
		path, url string
		want      int
	}{{"wrong", site.URL + "/file", http.StatusNotFound}, {d.token, "file:///etc/shadow", http.StatusBadRequest}, {d.token, site.URL + "/none", http.StatusBadGateway}} {
		if code, _ := get(tt.path, tt.url); code != tt.want {
			t.Errorf("GET %s of %s = %d, want %d", tt.path, tt.url, code, tt.want)
		}
	}
	site.Close()
	if code, body := get(d.token, site.URL+"/file"); code != http.StatusOK || body != "content" {
		t.Errorf("with the site gone: %d %q", code, body)
	}
}

func readAll(t *testing.T, resp *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
