package cli_test

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"time"

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
