package process_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/driver"
	"github.com/ciaocloud/ciao/cluster/driver/cgroup"
	"github.com/ciaocloud/ciao/cluster/driver/drivertest"
)

func (n *node) begin(t *testing.T, instance driver.Instance) {
	t.Helper()
	if err := n.driver.Create(t.Context(), instance, nil); err != nil {
		t.Fatalf("create: %v", err)
	}
	if err := n.driver.Start(t.Context(), instance.ID); err != nil {
		t.Fatalf("start: %v", err)
	}
}

func (n *node) becomes(t *testing.T, id string, want driver.Condition) driver.Status {
	t.Helper()
	for deadline := time.Now().Add(drivertest.Patience); ; time.Sleep(5 * time.Millisecond) {
		status, err := n.driver.Status(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if status.Condition == want {
			return status
		}
		if time.Now().After(deadline) {
			t.Fatalf("%+v does not become %s", status, want)
		}
	}
}

// said is all that an instance has printed.
func (n *node) said(t *testing.T, id string) string {
	t.Helper()
	var text bytes.Buffer
	if err := n.driver.Logs(t.Context(), id, -1, false, &text); err != nil {
		t.Fatal(err)
	}
	return text.String()
}

// told runs a script in a running instance.
func (n *node) told(t *testing.T, id, script string) string {
	t.Helper()
	var text bytes.Buffer
	code, err := n.driver.Exec(t.Context(), id, driver.Execution{Command: []string{"/bin/sh", "-c", script}, Stdout: &text, Stderr: &text})
	if err != nil || code != 0 {
		t.Fatalf("%s: code %d, %v: %s", script, code, err, text.String())
	}
	return text.String()
}

// What a process can see and do, both the instance's own and those that are executed in it.
func TestBoundary(t *testing.T) {
	n := newNode(t)
	secret := filepath.Join(n.config.Instances, "secret")
	if err := os.WriteFile(secret, []byte("secret"), 0o644); err != nil {
		t.Fatal(err)
	}
	look := strings.Join([]string{
		`echo user $(id -u):$(id -g)`,
		`echo name $(hostname)`,
		`echo $(grep -h -e ^CapEff -e ^CapBnd -e ^NoNewPrivs /proc/self/status)`,
		`echo links $(ls /sys/class/net)`,
		`echo mac $(cat /sys/class/net/eth0/address) mtu $(cat /sys/class/net/eth0/mtu)`,
		`echo $(cat /etc/resolv.conf)`,
		`echo first process $(head -c 9 /proc/1/cmdline)`,
		`for f in ` + secret + ` /etc/shadow /etc/ciao /root /var/lib /work /dev/sda /dev/kmsg; do test ! -e $f || echo sees $f; done`,
		`for f in /usr/x /bin/x /etc/x /sys/x /proc/sys/x; do echo x 2>/dev/null >$f && echo writes $f; done`,
		`for f in /x /tmp/x /var/tmp/x /dev/shm/x; do echo x >$f || echo cannot write $f; done`,
		`test $(ls -d /proc/[0-9]* | wc -l) -lt 9 || echo sees processes: $(ls -d /proc/[0-9]*)`,
		`mount -t tmpfs x /tmp 2>/dev/null && echo mounts`,
		`true`,
	}, "\n")
	instance := n.instance(t, "/bin/sh", "-c", look+"\necho end\n"+untilStopped)
	n.begin(t, instance)
	want := strings.Join([]string{
		"user 65534:65534", "name " + instance.Name, "CapBnd: 0000000000000000", "", "links eth0 lo",
		"mac " + instance.Network.MAC + " mtu 1450", "search tenant.test nameserver 172.16.5.1", "first process /dev/init", "",
	}, "\n")
	want = strings.Replace(want, "CapBnd: 0000000000000000\n", "CapEff: 0000000000000000 CapBnd: 0000000000000000 NoNewPrivs: 1", 1)
	for deadline := time.Now().Add(drivertest.Patience); !strings.HasSuffix(n.said(t, instance.ID), "end\n"); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it only said %q", n.said(t, instance.ID))
		}
	}
	if got := n.said(t, instance.ID); got != want+"end\n" {
		t.Errorf("the process says:\n%s\nwant:\n%s", got, want)
	}
	if got := n.told(t, instance.ID, look); got != want {
		t.Errorf("a command that is executed in it says:\n%s\nwant:\n%s", got, want)
	}
}

func TestBadInput(t *testing.T) {
	n := newNode(t)
	for name, test := range map[string]struct {
		change func(*cluster.WorkloadSpec)
		class  error
		words  string
	}{
		"no such command":       {func(s *cluster.WorkloadSpec) { s.Command = []string{"no-such-command"} }, cluster.ErrNotFound, "there is no command no-such-command in /usr/local/sbin:"},
		"no such file":          {func(s *cluster.WorkloadSpec) { s.Command = []string{"/opt/app/run"} }, cluster.ErrNotFound, "there is no file /opt/app/run"},
		"not executable":        {func(s *cluster.WorkloadSpec) { s.Command = []string{"/etc/passwd"} }, cluster.ErrInvalid, "may not be executed"},
		"a directory":           {func(s *cluster.WorkloadSpec) { s.Command = []string{"/usr"} }, cluster.ErrInvalid, "is a directory, not a program"},
		"the node's own secret": {func(s *cluster.WorkloadSpec) { s.Command = []string{"/etc/shadow"} }, cluster.ErrNotFound, "there is no file /etc/shadow"},
		"no such user":          {func(s *cluster.WorkloadSpec) { s.User = "nobody-knows" }, cluster.ErrInvalid, "there is no user nobody-knows"},
		"root":                  {func(s *cluster.WorkloadSpec) { s.User = "0:1" }, cluster.ErrPermission, "only a privileged process runs as root"},
		"no such directory":     {func(s *cluster.WorkloadSpec) { s.Directory = "/nowhere" }, cluster.ErrNotFound, "the working directory /nowhere is not there"},
		"directory is a file":   {func(s *cluster.WorkloadSpec) { s.Directory = "/etc/passwd" }, cluster.ErrInvalid, "is a file"},
		"no such image":         {func(s *cluster.WorkloadSpec) { s.Image = "x" }, cluster.ErrNotFound, "there is no image x"},
	} {
		t.Run(name, func(t *testing.T) {
			instance := n.instance(t, "/bin/sh", "-c", untilStopped)
			test.change(&instance.Spec)
			err := n.driver.Create(t.Context(), instance, nil)
			if !errors.Is(err, test.class) || !strings.Contains(err.Error(), test.words) || strings.Contains(err.Error(), "\n") {
				t.Errorf("the error is %v, want one of class %q with the words %q", err, test.class, test.words)
			}
			if status, err := n.driver.Status(t.Context(), instance.ID); err != nil || status.Condition != driver.Absent {
				t.Errorf("status is %+v, %v", status, err)
			}
		})
	}
}

// A script whose interpreter is missing cannot be told beforehand; its output says it, and the reason does.
func TestNoInterpreter(t *testing.T) {
	n := newNode(t)
	n.config.Paths = []string{t.TempDir()}
	n.driver = n.open(t)
	script := filepath.Join(n.config.Paths[0], "script")
	if err := os.WriteFile(script, []byte("#!/no/interpreter\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	instance := n.instance(t, script)
	n.begin(t, instance)
	status := n.becomes(t, instance.ID, driver.Ended)
	if status.ExitCode == nil || *status.ExitCode != 127 || !strings.Contains(status.Reason, "No such file or directory") {
		t.Errorf("status is %+v", status)
	}
}

// A port that was made anew takes the place of the one before, and settings of an older generation are replaced.
func TestNewPort(t *testing.T) {
	n := newNode(t)
	instance := n.instance(t, "/bin/sh", "-c", untilStopped)
	n.begin(t, instance)
	n.unplug(t, instance)
	n.port(t, instance)
	if err := n.driver.Stop(t.Context(), instance.ID, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	if err := n.driver.Start(t.Context(), instance.ID); err != nil {
		t.Fatal(err)
	}
	got := n.told(t, instance.ID, `ls /sys/class/net; for f in 4 6; do ip -$f -o address show eth0 scope global | grep -o 'inet[6]* [^ ]*'; ip -$f route | grep -o 'default via [^ ]*'; done`)
	want := fmt.Sprintf("eth0\nlo\ninet %s/24\ndefault via 172.16.5.1\ninet6 %s/64\ndefault via fd00:5::1\n", instance.Network.Addresses[0], instance.Network.Addresses[1])
	if got != want {
		t.Errorf("it has %q, want %q", got, want)
	}
}

// A command that cannot begin ends as in a shell, and says why.
func TestExecOfNothing(t *testing.T) {
	n := newNode(t)
	instance := n.instance(t, "/bin/sh", "-c", untilStopped)
	n.begin(t, instance)
	for command, want := range map[string]int{"no-such-command": 127, "/no/such/file": 127, "/etc/passwd": 126} {
		var text bytes.Buffer
		code, err := n.driver.Exec(t.Context(), instance.ID, driver.Execution{Command: []string{command}, Stdout: &text, Stderr: &text})
		if err != nil || code != want || !strings.Contains(text.String(), command) {
			t.Errorf("%s ended with %d, want %d (%v): %q", command, code, want, err, text.String())
		}
	}
}

// Output beyond all bounds is bounded at every moment, and a follower gets the end of it.
func TestFlood(t *testing.T) {
	n := newNode(t)
	instance := n.instance(t, "/bin/sh", "-c", "yes | head -c 60000000; echo over")
	n.begin(t, instance)
	directory := filepath.Join(n.config.Instances, instance.ID, "process")
	most := int64(0)
	for status := (driver.Status{}); status.Condition != driver.Ended; {
		for _, name := range []string{"output", "output.1"} {
			if info, err := os.Stat(filepath.Join(directory, name)); err == nil {
				most = max(most, info.Size())
			}
		}
		var err error
		if status, err = n.driver.Status(t.Context(), instance.ID); err != nil {
			t.Fatal(err)
		}
	}
	if said := n.said(t, instance.ID); most > 4<<20 || !strings.HasSuffix(said, "y\nover\n") || len(said) < 4<<20 {
		t.Errorf("a file had %d bytes; %d bytes are kept, and end with %q", most, len(said), said[max(0, len(said)-20):])
	}
	if err := n.driver.Logs(t.Context(), instance.ID, 3, true, io.Discard); err != nil {
		t.Errorf("follow what has ended: %v", err)
	}
}

// What is started in the background goes with the process.
func TestNothingOutlivesTheProcess(t *testing.T) {
	n := newNode(t)
	instance := n.instance(t, "/bin/sh", "-c", "setsid sleep 1000 & setsid sleep 1001 & sleep 0.1; exit 5")
	n.begin(t, instance)
	if status := n.becomes(t, instance.ID, driver.Ended); status.ExitCode == nil || *status.ExitCode != 5 {
		t.Errorf("status is %+v", status)
	}
	ctx, cancel := context.WithTimeout(t.Context(), drivertest.Patience)
	defer cancel()
	if left, err := cgroup.Processes(cgroup.Root, n.config.Mark+"-process-"+instance.ID); err != nil || len(left) > 0 || ctx.Err() != nil {
		t.Errorf("processes %v are left, %v", left, err)
	}
}
