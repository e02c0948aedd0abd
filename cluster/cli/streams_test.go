package cli_test

import (
	"testing"

	"github.com/ciaocloud/ciao/cluster/apiserver/apiservertest"
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
