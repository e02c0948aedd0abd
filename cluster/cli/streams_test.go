package cli_test

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ciaocloud/ciao/cluster/apiserver/apiservertest"
	"github.com/ciaocloud/ciao/cluster/cli"
	"github.com/ciaocloud/ciao/cluster/client"
	"github.com/ciaocloud/ciao/terminal"
)

// startCluster runs a cluster, becomes blue, and creates the active instance web.
func startCluster(t *testing.T) {
	t.Helper()
	become(t, apiservertest.NewCluster(t))
	works(t, "create", "workload", file(t, "name: idle\nkind: container\nimage: busybox\n"))
	works(t, "create", "instance", "idle", "--name", "web", "--wait")
}

func TestLogs(t *testing.T) {
	startCluster(t)
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"logs", "web"}, "started\n"},
		{[]string{"logs", "web", "--tail", "0"}, ""},
	} {
		if out := works(t, test.args...); out != test.want {
			t.Errorf("%v: %q, want %q", test.args, out, test.want)
		}
	}
	works(t, "stop", "instance", "web", "--wait")
	if out := works(t, "logs", "web", "--follow"); out != "started\nstopped\n" {
		t.Errorf("after the end: %q", out)
	}
	refuses(t, 3, []string{"logs", "wed"}, "did you mean web")
	refuses(t, 2, []string{"logs"}, "INSTANCE is missing")
	refuses(t, 2, []string{"logs", "web", "--tail", "-2"}, "tail")
	works(t, "create", "workload", file(t, "name: nowhere\nkind: container\nimage: busybox\nrequirements: {hostname: nosuch}\n"))
	works(t, "create", "instance", "nowhere", "--name", "late")
	refuses(t, 4, []string{"logs", "late"}, "late is", "printed nothing yet")
}

func TestTop(t *testing.T) {
	startCluster(t)
	works(t, "create", "instance", "idle", "--name", "big", "--wait")
	for deadline := time.Now().Add(30 * time.Second); strings.Count(works(t, "top"), "\n") < 3; { // its node sees them a little later
		if time.Now().After(deadline) {
			t.Fatal("two active instances are not sampled")
		}
	}
	if table := works(t, "top"); !strings.HasPrefix(table, "NAME") || !strings.Contains(table, "0.10/1 ") || !strings.Contains(table, "12/128 MiB") {
		t.Errorf("the table is\n%s", table)
	}
	usage := decode[list](t, works(t, "top", "-o", "json"))
	if item := usage.Items[0]; item["name"] != "big" || item["vcpus_used"] != 0.1 || item["disk_mib_used"] != -1.0 || item["tenant"] != apiservertest.Blue {
		t.Errorf("the first is %v", item)
	}
	works(t, "stop", "instance", "big", "--wait")
	if left := works(t, "top", "-f", "{{.name}}"); left != "web\n" {
		t.Errorf("after a stop: %q", left)
	}
	t.Setenv(client.EnvTenant, "green")
	t.Setenv(client.EnvClientCert, os.Getenv(client.EnvAdminCert))
	if other := works(t, "top", "-f", "{{.name}}"); other != "" {
		t.Errorf("another tenant sees %q", other)
	}
}

func TestExec(t *testing.T) {
	startCluster(t)
	if s := ciao(t, "exec", "web", "--", "cat", "-n"); s.code != 0 || s.out != "" {
		t.Errorf("cat without input: %+v", s)
	}
	var out bytes.Buffer
	code := cli.Run(t.Context(), "1.2.3", []string{"exec", "-i", "web", "--", "cat"}, terminal.Streams{In: strings.NewReader("given"), Out: &out, Err: &out})
	if code != 0 || out.String() != "given" {
		t.Errorf("cat: code %d, %q", code, out.String())
	}
	if s := ciao(t, "exec", "web", "--", "warn", "--tenant", "x"); s != (said{"", "--tenant x\n", 0}) {
		t.Errorf("warn: %+v", s)
	}
	if s := ciao(t, "exec", "web", "--", "exit", "42"); s != (said{"", "", 42}) {
		t.Errorf("exit 42: %+v", s)
	}
	refuses(t, 2, []string{"exec", "web"}, "COMMAND is missing", "exec INSTANCE -- COMMAND…")
	refuses(t, 2, []string{"exec", "-t", "web", "--", "true"}, "not a terminal", "--tty")
	refuses(t, 3, []string{"exec", "wed", "--", "true"}, "did you mean web")
	works(t, "stop", "instance", "web", "--wait")
	refuses(t, 4, []string{"exec", "web", "--", "true"}, "web is stopped", "ciao start instance")
}

// TestExecAtATerminal: the command has the size of the person's terminal, which has its own keys back afterwards.
func TestExecAtATerminal(t *testing.T) {
	startCluster(t)
	person, program := pseudoTerminal(t)
	before := settings(t, program)
	resize(t, person, 80, 24)
	var errs bytes.Buffer
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	ended := make(chan int, 1)
	go func() {
		ended <- cli.Run(ctx, "1.2.3", []string{"exec", "-it", "web", "--", "size"}, terminal.Streams{In: program, Out: program, Err: &errs})
	}()
	lines := bufio.NewScanner(person)
	for size := ""; size != "80x24"; size = lines.Text() {
		if !lines.Scan() {
			t.Fatalf("it printed no size: %v", lines.Err())
		}
	}
	resize(t, person, 300, 70)
	if err := syscall.Kill(os.Getpid(), syscall.SIGWINCH); err != nil { // the kernel tells only the terminal's own processes, which this is none of
		t.Fatal(err)
	}
	for size := ""; size != "300x70"; size = lines.Text() {
		if !lines.Scan() {
			t.Fatalf("it printed no other size: %v", lines.Err())
		}
	}
	leave()
	if code := <-ended; code != 130 {
		t.Errorf("code %d: %s", code, errs.String())
	}
	if settings(t, program) != before {
		t.Error("the terminal is not as it was")
	}
}

func resize(t *testing.T, screen *os.File, width, height uint16) {
	t.Helper()
	if err := unix.IoctlSetWinsize(int(screen.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: height, Col: width}); err != nil {
		t.Fatal(err)
	}
}

// machine has the cluster run the active virtual machine vm, whose console echoes what is typed.
func machine(t *testing.T) {
	t.Helper()
	become(t, apiservertest.NewCluster(t))
	disk := filepath.Join(t.TempDir(), "disk.raw")
	if err := os.WriteFile(disk, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	works(t, "create", "image", "disk", "--file", disk, "--format", "raw")
	works(t, "create", "workload", file(t, "name: machine\nkind: vm\nimage: disk\n"))
	works(t, "create", "instance", "machine", "--name", "vm", "--wait")
}

// TestConsole: without a terminal, what is given is passed on, and the end of the machine is the end.
func TestConsole(t *testing.T) {
	machine(t)
	given, typing := io.Pipe()
	printed, out := io.Pipe()
	var errs bytes.Buffer
	ended := make(chan int, 1)
	go func() {
		ended <- cli.Run(t.Context(), "1.2.3", []string{"console", "vm"}, terminal.Streams{In: given, Out: out, Err: &errs})
		out.Close()
	}()
	back := make([]byte, len("typed\x1d\n"))
	if _, err := io.WriteString(typing, "typed\x1d\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(printed, back); err != nil || string(back) != "typed\x1d\n" {
		t.Errorf("it echoes %q, %v", back, err)
	}
	refuses(t, 4, []string{"console", "vm"}, "somebody else", "--force")
	works(t, "stop", "instance", "vm", "--wait")
	if code := <-ended; code != 0 || !strings.Contains(errs.String(), "vm has ended") {
		t.Errorf("code %d, it says %q", code, errs.String())
	}
	refuses(t, 4, []string{"console", "vm"}, "vm is stopped", "ciao start instance")
	refuses(t, 3, []string{"console", "vn"}, "did you mean vm")
}

// TestConsoleAtATerminal: a person leaves by the key that is announced, and has the terminal back.
func TestConsoleAtATerminal(t *testing.T) {
	machine(t)
	person, program := pseudoTerminal(t)
	before := settings(t, program)
	var errs bytes.Buffer
	ended := make(chan int, 1)
	go func() {
		ended <- cli.Run(t.Context(), "1.2.3", []string{"console", "vm"}, terminal.Streams{In: program, Out: program, Err: &errs})
	}()
	for settings(t, program) == before {
		time.Sleep(time.Millisecond) // until the keys are passed on
	}
	if _, err := person.Write([]byte("x\x03")); err != nil {
		t.Fatal(err)
	}
	back := make([]byte, 2)
	if _, err := io.ReadFull(person, back); err != nil || string(back) != "x\x03" {
		t.Errorf("it echoes %q, %v", back, err)
	}
	if _, err := person.Write([]byte{terminal.LeaveKey}); err != nil {
		t.Fatal(err)
	}
	if code := <-ended; code != 0 || !strings.Contains(errs.String(), "Ctrl-] leaves") || !strings.Contains(errs.String(), "left the console of vm") {
		t.Errorf("code %d, it says %q", code, errs.String())
	}
	if settings(t, program) != before {
		t.Error("the terminal is not as it was")
	}
}

// pseudoTerminal makes a terminal and returns its two ends: that of who types and looks, and that of the program.
func pseudoTerminal(t *testing.T) (person, program *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(int(person.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(person.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		program, err = os.OpenFile("/dev/pts/"+strconv.Itoa(number), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { person.Close(); program.Close() })
	return person, program
}

func settings(t *testing.T, program *os.File) unix.Termios {
	t.Helper()
	settings, err := unix.IoctlGetTermios(int(program.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return *settings
}
