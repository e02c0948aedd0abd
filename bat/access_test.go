package bat

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ciaocloud/ciao/cluster"
)

func TestFindAccess(t *testing.T) {
	empty, made := t.TempDir(), t.TempDir()
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(made, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, user := range []string{"green", "blue"} {
		write("users/"+user+".env", "export CIAO_CONTROLLER=198.51.100.1\nexport CIAO_CLIENT_CERT_FILE=/u/"+user+".pem\nexport CIAO_ADMIN_CLIENT_CERT_FILE=/u/admin.pem\n"+
			"export CIAO_CA_CERT_FILE=/u/ca.pem\nexport CIAO_TENANT_ID=id-"+user+"\nexport PATH=/opt/ciao:$PATH\n")
	}
	write("cluster.yaml", "api_version: ciao/v1\nname: lab\ntime_scale: 4\npki: {directory: /lab/pki}\nscheduler:\n  addresses: [\"198.51.100.1:8888\"]\nnetwork:\n  underlay: ciao_br\n")
	for _, test := range []struct {
		name        string
		environment map[string]string
		directory   string
		want        Access
		fails       string
	}{
		{"nothing at all", nil, empty, Access{}, "there is no cluster to judge"},
		{"singlevm's files", nil, made, Access{
			Controller: "198.51.100.1", CA: "/u/ca.pem", Operator: "/u/admin.pem", PKI: "/lab/pki", TimeScale: 4, CNCIIdle: 5 * time.Minute,
			Users: []User{{"/u/blue.pem", "id-blue"}, {"/u/green.pem", "id-green"}},
		}, ""},
		{"the environment", map[string]string{
			"CIAO_CONTROLLER": "c:1", "CIAO_CLIENT_CERT_FILE": "u.pem", "CIAO_ADMIN_CLIENT_CERT_FILE": "a.pem", "CIAO_CA_CERT_FILE": "ca.pem", "CIAO_TENANT_ID": "t",
		}, empty, Access{Controller: "c:1", CA: "ca.pem", Operator: "a.pem", TimeScale: 1, Users: []User{{"u.pem", "t"}}}, ""},
		{"no user", map[string]string{"CIAO_CONTROLLER": "c", "CIAO_ADMIN_CLIENT_CERT_FILE": "a.pem"}, empty, Access{Controller: "c", Operator: "a.pem", TimeScale: 1}, ""},
		{"no operator", map[string]string{"CIAO_CONTROLLER": "c", "CIAO_CLIENT_CERT_FILE": "u.pem"}, made, Access{}, "CIAO_ADMIN_CLIENT_CERT_FILE"},
		{"no controller", map[string]string{"CIAO_ADMIN_CLIENT_CERT_FILE": "a.pem"}, made, Access{}, "CIAO_CONTROLLER"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := FindAccess(func(name string) string { return test.environment[name] }, test.directory)
			if test.fails != "" {
				if !errors.Is(err, cluster.ErrInvalid) || !strings.Contains(err.Error(), test.fails) {
					t.Errorf("error = %v, want one of class invalid with %q", err, test.fails)
				}
				return
			}
			if diff := cmp.Diff(test.want, got); err != nil || diff != "" {
				t.Errorf("error %v, access (-want +got):\n%s", err, diff)
			}
		})
	}
}
