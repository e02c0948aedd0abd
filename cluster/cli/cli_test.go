package cli_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ciaocloud/ciao/cluster/apiserver/apiservertest"
	"github.com/ciaocloud/ciao/cluster/cli"
	"github.com/ciaocloud/ciao/cluster/client"
	"github.com/ciaocloud/ciao/terminal"
)

var quiet = slog.New(slog.DiscardHandler)

// said is what a run of the command gave.
type said struct {
	out, err string
	code     int
}

// ciao runs the command as a shell would, with the environment of the test.
func ciao(t *testing.T, args ...string) said {
	t.Helper()
	var out, problems bytes.Buffer
	code := cli.Run(t.Context(), "1.2.3", args, terminal.Streams{In: strings.NewReader(""), Out: &out, Err: &problems})
	return said{out.String(), problems.String(), code}
}

// works ends the test if the command failed, and returns its result.
func works(t *testing.T, args ...string) string {
	t.Helper()
	s := ciao(t, args...)
	if s.code != 0 {
		t.Fatalf("ciao %s: exit code %d: %s", strings.Join(args, " "), s.code, s.err)
	}
	return s.out
}

// refuses wants an exit code, one sentence on standard error that says all of the texts, and no result.
func refuses(t *testing.T, code int, args []string, says ...string) {
	t.Helper()
	s := ciao(t, args...)
	t.Logf("ciao %s → %d %s", strings.Join(args, " "), s.code, s.err)
	if s.code != code || s.out != "" || strings.Count(s.err, "\n") != 1 || !strings.HasPrefix(s.err, "ciao: ") {
		t.Errorf("exit code %d (want %d), standard output %q, standard error %q", s.code, code, s.out, s.err)
	}
	for _, text := range says {
		if !strings.Contains(s.err, text) {
			t.Errorf("%q does not say %q", s.err, text)
		}
	}
}

func decode[T any](t *testing.T, text string) T {
	t.Helper()
	var value T
	if err := json.Unmarshal([]byte(text), &value); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return value
}

// nobody clears the environment.
func nobody(t *testing.T) {
	t.Helper()
	for _, name := range []string{client.EnvController, client.EnvClientCert, client.EnvAdminCert, client.EnvCA, client.EnvTenant} {
		t.Setenv(name, "")
	}
}

// become is the environment of a user of tenant blue who is an operator as well.
func become(t *testing.T, a *apiservertest.API) {
	t.Helper()
	nobody(t)
	t.Setenv(client.EnvController, a.Address)
	t.Setenv(client.EnvCA, a.CA())
	t.Setenv(client.EnvClientCert, a.Tenant(apiservertest.Blue))
	t.Setenv(client.EnvAdminCert, a.Operator())
}

func file(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "workload.yaml")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// firstCNCI is the id of the tenant's CNCI, which is made after the first instance.
func firstCNCI(t *testing.T) string {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); {
		if ids := strings.Fields(works(t, "list", "cncis", "-f", "{{.id}}")); len(ids) > 0 {
			return ids[0]
		}
	}
	t.Fatal("no CNCI appeared")
	return ""
}

const busybox = "name: busybox\nkind: container\nimage: busybox\ncommand: [sleep, '60']\nrequirements: {vcpus: 0.5, memory_mib: 64}\n"

// start runs an API, becomes blue, and creates a workload.
func start(t *testing.T) *apiservertest.API {
	t.Helper()
	a := apiservertest.New(t)
	become(t, a)
	works(t, "create", "workload", file(t, busybox))
	return a
}
