package cli_test

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"strings"
	"testing"

	"github.com/ciaocloud/ciao/cluster/cli"
	"github.com/ciaocloud/ciao/cluster/client"
	"github.com/ciaocloud/ciao/terminal"
)

func TestLifeOfInstances(t *testing.T) {
	start(t)
	state := func(name, want string) {
		t.Helper()
		if got := works(t, "show", "instance", name, "-f", "{{.state}} {{.desired}}"); got != want+"\n" {
			t.Errorf("%s is %q, want %s", name, got, want)
		}
	}
	if got := works(t, "create", "instance", "busybox", "--instances", "3", "--name", "web", "-f", "{{.name}}"); got != "web-1\nweb-2\nweb-3\n" {
		t.Errorf("created %q", got)
	}
	works(t, "stop", "instance", "--wait", "web-1", "--timeout", "30s", "web-2")
	state("web-1", "stopped stopped")
	state("web-3", "pending active")
	works(t, "start", "instances", "web-1")
	state("web-1", "pending active")
	refuses(t, 9, []string{"restart", "instance", "web-1", "--timeout", "100ms"}, "web-1 is not there yet: it is pending")
	if s := ciao(t, "delete", "instance", "web-1", "web-2", "--wait", "--timeout", "30s"); s.code != 0 || s.out != "" || s.err != "2 instances deleted\n" {
		t.Errorf("delete: %+v", s)
	}
	if s := ciao(t, "rm", "instance", "--all"); s.code != 0 || s.out != "" || s.err != "1 instance deleting\n" {
		t.Errorf("delete --all: %+v", s)
	}
}

func TestWaitForInstances(t *testing.T) {
	start(t)
	works(t, "create", "instance", "busybox", "--instances", "2", "--name", "web")
	works(t, "stop", "instance", "web-1")
	if got := works(t, "wait", "instance", "web-1", "--for", "stopped", "-f", "{{.name}} {{.state}}"); got != "web-1 stopped\n" {
		t.Errorf("waited for %q", got)
	}
	refuses(t, 9, []string{"wait", "instance", "web-2", "--timeout", "100ms"}, "web-2 is not there yet: it is pending")
	refuses(t, 9, []string{"wait", "instance", "web-2", "--for", "deleted", "--timeout", "100ms"}, "web-2 is not there yet")
	refuses(t, 3, []string{"wait", "instance", "nobody"}, `"nobody"`)
	refuses(t, 2, []string{"wait", "instance", "web-1", "--for", "gone"}, "it is active, deleted, stopped")
	works(t, "delete", "instance", "web-1", "--wait")
	if got := works(t, "wait", "instance", "web-1", "--for", "deleted"); got != "" {
		t.Errorf("waited for %q to be deleted", got)
	}
}

func TestOfSeveralEachIsTried(t *testing.T) {
	start(t)
	works(t, "create", "instance", "busybox", "--instances", "2", "--name", "web")
	s := ciao(t, "stop", "instance", "web-1", "wbe-2", "web-2", "nothing-like-it", "-f", "{{.name}} {{.desired}}")
	if s.code != 3 || s.out != "web-1 stopped\nweb-2 stopped\n" {
		t.Errorf("exit code %d, output %q", s.code, s.out)
	}
	for _, text := range []string{`"wbe-2": not found; did you mean`, "web-2", `"nothing-like-it": not found; `, "ciao list instances"} {
		if !strings.Contains(s.err, text) {
			t.Errorf("%q does not say %q", s.err, text)
		}
	}
	refuses(t, 3, []string{"delete", "instance", "nobody"}, `"nobody"`)
}

func TestWaiting(t *testing.T) {
	start(t)
	refuses(t, 9, []string{"create", "instance", "busybox", "--name", "web", "--wait", "--timeout", "100ms"}, "instance web is not there yet: it is pending", "ciao list events")
	refuses(t, 9, []string{"create", "instance", "busybox", "--instances", "4", "--wait", "--timeout", "100ms"}, "4 of 4 instances are not there yet")
	works(t, "show", "instance", "web")

	ctx, interrupt := context.WithCancel(t.Context())
	interrupt()
	var out, problems bytes.Buffer
	if code := cli.Run(ctx, "", []string{"create", "instance", "busybox", "--wait"}, terminal.Streams{Out: &out, Err: &problems}); code != 130 || out.Len() != 0 {
		t.Errorf("interrupted: exit code %d, output %q, said %q", code, out.String(), problems.String())
	}
}

func TestWorkloads(t *testing.T) {
	start(t)
	works(t, "show", "workload", "busybox")
	var out, problems bytes.Buffer
	streams := terminal.Streams{In: strings.NewReader(strings.Replace(busybox, "name: busybox", "name: piped", 1)), Out: &out, Err: &problems}
	if code := cli.Run(t.Context(), "", []string{"create", "workload", "-", "-f", "{{.name}} {{.requirements.memory_mib}} {{json .command}}"}, streams); code != 0 || out.String() != "piped 64 [\"sleep\",\"60\"]\n" {
		t.Errorf("exit code %d, output %q, said %q", code, out.String(), problems.String())
	}
	if out := works(t, "delete", "workload", "piped"); out != "" {
		t.Errorf("delete says %q", out)
	}
	refuses(t, 3, []string{"show", "workload", "piped"}, `workload "piped": not found`)
	public := strings.Replace(busybox, "name: busybox", "name: shared\nvisibility: public", 1)
	works(t, "create", "workload", file(t, public))
	t.Setenv(client.EnvAdminCert, "")
	refuses(t, 5, []string{"create", "workload", file(t, strings.Replace(public, "shared", "shared2", 1))}, "operator", client.EnvAdminCert)
	refuses(t, 3, []string{"delete", "workload", "shared2"}, "did you mean shared?")
}

func TestTenantsAndQuotas(t *testing.T) {
	start(t)
	const id = "44444444-4444-4444-8444-444444444444"
	if got := works(t, "create", "tenant", "red", "--id", id, "--cidr-prefix-size", "28", "-f", "{{.id}} {{.name}} {{.subnet_bits}} {{.privileged_containers}}"); got != id+" red 28 false\n" {
		t.Errorf("created %q", got)
	}
	if got := works(t, "update", "tenant", "red", "--name", "pink", "--create-privileged-containers", "-f", "{{.name}} {{.subnet_bits}} {{.privileged_containers}}"); got != "pink 28 true\n" {
		t.Errorf("updated %q", got)
	}
	if got := works(t, "update", "quota", "pink", "instances", "1", "-f", "{{.name}} {{.used}} {{.limit}}"); !strings.HasPrefix(got, "instances 0 1\nvcpus 0 unlimited\nmemory_mib 0 unlimited\ndisk_mib 0 unlimited\n") {
		t.Errorf("quota %q", got)
	}
	for _, args := range [][]string{{"pink", "--admin"}, {"--admin", "--tenant", "pink"}, {id, "--admin"}} {
		if got := works(t, append([]string{"list", "quotas", "-f", "{{.limit}}"}, args...)...); !strings.HasPrefix(got, "1\nunlimited\nunlimited\n") {
			t.Errorf("list quotas %v: %q", args, got)
		}
	}
	refuses(t, 2, []string{"list", "quotas", "--admin"}, "say which tenant", "ciao list tenants")
	works(t, "delete", "tenant", "pink")
	refuses(t, 3, []string{"show", "tenant", id}, id)

	works(t, "update", "quota", "blue", "memory_mib", "100")
	refuses(t, 6, []string{"create", "instance", "busybox", "--instances", "2"}, "memory_mib", "100", "128")
	if got := works(t, "list", "instances", "-f", "x"); got != "" {
		t.Errorf("instances came of what was refused: %q", got)
	}
	works(t, "update", "quota", "blue", "memory_mib", "unlimited")
	works(t, "create", "instance", "busybox", "--instances", "2")
	refuses(t, 4, []string{"delete", "tenant", "blue"}, "2 instances")
	refuses(t, 4, []string{"delete", "workload", "busybox"}, "used by")
}

func TestEvents(t *testing.T) {
	start(t)
	works(t, "create", "instance", "busybox", "--name", "web")
	if got := works(t, "list", "events", "-f", "{{.reason}}"); got != "Created\n" {
		t.Errorf("events %q", got)
	}
	if s := ciao(t, "delete", "events"); s.code != 0 || s.out != "" || s.err != "1 event forgotten\n" {
		t.Errorf("%+v", s)
	}
	if got := works(t, "list", "events"); strings.Count(got, "\n") != 1 {
		t.Errorf("events %q", got)
	}
}

func TestFollowingEvents(t *testing.T) {
	start(t)
	works(t, "create", "instance", "busybox", "--name", "before")
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	reader, writer := io.Pipe()
	ended := make(chan int, 1)
	go func() {
		args := []string{"list", "events", "--follow", "-f", "{{.reason}} {{.message}}"}
		ended <- cli.Run(ctx, "1.2.3", args, terminal.Streams{In: strings.NewReader(""), Out: writer, Err: io.Discard})
		writer.Close()
	}()
	lines := bufio.NewScanner(reader)
	next := func(name string) {
		t.Helper()
		for lines.Scan() {
			if strings.HasPrefix(lines.Text(), "Created ") && strings.Contains(lines.Text(), name) {
				return
			}
		}
		t.Fatalf("nothing was said of %s", name)
	}
	next("before")
	works(t, "create", "instance", "busybox", "--name", "after")
	next("after")
	interrupt()
	if code := <-ended; code != 130 {
		t.Errorf("exit code %d after Ctrl-C", code)
	}
	refuses(t, 3, []string{"list", "events", "--follow", "--instance", "nobody"}, `"nobody"`)
}
