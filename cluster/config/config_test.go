package config

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/ciaocloud/ciao/cluster"
)

const minimal = `api_version: ciao/v1
name: lab
scheduler:
  addresses: ["198.51.100.1:8888"]
network:
  underlay: ciao_br
`

func TestMinimalClusterFileGetsDefaults(t *testing.T) {
	c, err := Parse("cluster.yaml", []byte(minimal))
	if err != nil {
		t.Fatal(err)
	}
	if c.Controller.Listen != ":8889" || c.Scheduler.CPURatio != 16 || c.Scheduler.Placement != FirstFit || c.TimeScale != 1 {
		t.Errorf("defaults are missing: %+v", c)
	}
	if got := time.Duration(c.Controller.CNCIIdle); got != 5*time.Minute {
		t.Errorf("cnci_idle = %s, want 5m", got)
	}
}

func TestControllersAddressIsWhereItListens(t *testing.T) {
	for listen, want := range map[string]string{
		"": "", "listen: ':8889'": "", "listen: 0.0.0.0:8889": "", "listen: '[::]:8889'": "",
		"listen: 198.51.100.1:8889": "198.51.100.1:8889", "listen: ctl:1, address: ctl.example:8889": "ctl.example:8889",
	} {
		c, err := Parse("cluster.yaml", []byte(minimal+"controller: {"+listen+"}\n"))
		if err != nil || c.Controller.Address != want {
			t.Errorf("%q: address %q, %v, want %q", listen, c.Controller.Address, err, want)
		}
	}
}

func TestFormatIsReadBack(t *testing.T) {
	want, err := Parse("cluster.yaml", []byte(minimal))
	if err != nil {
		t.Fatal(err)
	}
	want.CNCI.Instance, want.Launcher.Labels = "id", map[string]string{"zone": "a"}
	data, err := Format(want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Parse("again.yaml", data)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("the file is read back differently (-want +got):\n%s", diff)
	}
}

// etcd is a cluster file with something about the store.
func etcd(lines string) string { return minimal + "controller:\n  store:\n    " + lines + "\n" }

func TestStoreInAnEtcdCluster(t *testing.T) {
	c, err := Parse("cluster.yaml", []byte(etcd("endpoints: [https://10.0.0.1:2379, https://etcd-2:2379]\n    ca: /ca.pem\n    certificate: /c.pem\n    key: /k.pem")))
	if err != nil {
		t.Fatal(err)
	}
	want := Store{
		Endpoints: []string{"https://10.0.0.1:2379", "https://etcd-2:2379"}, Prefix: "ciao/lab", CA: "/ca.pem", Certificate: "/c.pem", Key: "/k.pem",
	}
	if diff := cmp.Diff(want, c.Controller.Store); diff != "" {
		t.Errorf("(-want +got): %s", diff)
	}
	if _, err := Parse("cluster.yaml", []byte(etcd("endpoints: [http://127.0.0.1:2379, http://localhost:2379]"))); err != nil {
		t.Errorf("plain connections that stay on the machine: %v", err)
	}
}

func TestBadClusterFiles(t *testing.T) {
	for _, test := range []struct{ name, file, want string }{
		{"empty", "", "api_version is missing"},
		{"newer version", "api_version: ciao/v2\nfuture: 1\n", "use a program as new as the file"},
		{"unknown key", minimal + "shceduler: {}\n", `line 7, column 1: unknown field "shceduler"`},
		{"wrong type", minimal + "time_scale: fast\n", "line 7, column 13"},
		{"repeated key", minimal + "name: other\n", "name"},
		{"impossible value", minimal + "time_scale: 1000\n", "line 7, column 13: time_scale: must be from 1 to 100"},
		{"bad address", strings.Replace(minimal, "198.51.100.1:8888", "198.51.100.1", 1), "line 4, column 15: scheduler.addresses[0]"},
		{"relative path", minimal + "pki:\n  directory: pki\n", "line 8, column 14: pki.directory"},
		{"bad duration", minimal + "controller:\n  cnci_idle: soon\n", `"soon" is not a duration`},
		{"not YAML", "api_version: [", "line"},
		{"two documents", minimal + "---\nx: 1\n", "one YAML document"},
		{"role", minimal + "launcher:\n  roles: [storage]\n", `"storage" is not a role of a node`},
		{"kind", minimal + "launcher:\n  kinds: [process, boat]\n", `line 8, column 20: launcher.kinds[1]: "boat" is not a kind of instances`},
		{"kind that is nobody's to choose", minimal + "launcher:\n  kinds: [cnci]\n", `"cnci" is not a kind of instances`},
		{"the whole node", minimal + "launcher:\n  processes: {paths: [/]}\n", `launcher.processes.paths[0]: "/" must be the absolute path of a directory other than /`},
		{"a path that climbs", minimal + "launcher:\n  processes: {paths: [/opt/../etc]}\n", "must be the absolute path"},
		{"placement", strings.Replace(minimal, "scheduler:\n", "scheduler:\n  placement: best\n", 1), `line 4, column 14: scheduler.placement: "best" is not a way`},
		{"label", minimal + "launcher:\n  labels: {zone: " + strings.Repeat("a", 256) + "}\n", "line 8, column 18: launcher.labels.zone: must have"},
		{"endpoint without a port", etcd("endpoints: [https://etcd]"), `"https://etcd" is not an endpoint`},
		{"endpoint without a scheme", etcd("endpoints: [10.0.0.1:2379]"), "is not an endpoint"},
		{"endpoint with a path", etcd("endpoints: [https://10.0.0.1:2379/v3]"), "is not an endpoint"},
		{"endpoint of another kind", etcd("endpoints: [ftp://10.0.0.1:2379]"), "use https://HOST:PORT"},
		{"endpoint in the clear", etcd("endpoints: [https://10.0.0.1:2379, http://10.0.0.2:2379]"), "line 9, column 40: controller.store.endpoints[1]"},
		{"authority without endpoints", etcd("ca: /ca.pem"), "name its members in controller.store.endpoints"},
		{"authority without TLS", etcd("endpoints: ['http://[::1]:2379']\n    ca: /ca.pem"), "is for https endpoints"},
		{"relative authority", etcd("endpoints: [https://a:2379]\n    ca: ca.pem"), "must be an absolute path"},
		{"certificate without its key", etcd("endpoints: [https://a:2379]\n    certificate: /c.pem"), "name both files or none"},
		{"prefix without endpoints", etcd("prefix: a"), "controller.store.prefix: belongs to an etcd cluster"},
		{"prefix with a slash", etcd("endpoints: [https://a:2379]\n    prefix: /a"), "no slash at either end"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := Parse("cluster.yaml", []byte(test.file))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("error = %v, want it to contain %q", err, test.want)
			}
			if !errors.Is(err, cluster.ErrInvalid) {
				t.Errorf("error %v is not of class invalid", err)
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("error is not one line: %q", err)
			}
		})
	}
}

func TestWorkloadFiles(t *testing.T) {
	const good = "name: web\nkind: container\nimage: busybox\n"
	workload, err := ParseWorkload("web.yaml", []byte(good+"requirements: {vcpus: 0.5, memory_mib: 64, labels: {zone: a}}\nstop_grace: 2s\nports: [{port: 80}, {port: 8080, address: external-ip, published: 80, protocol: udp}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	if workload.Spec.Requirements.VCPUs != 500 || workload.Spec.Requirements.Pids != cluster.DefaultPids || workload.Visibility != cluster.Private ||
		workload.Spec.Requirements.Labels["zone"] != "a" {
		t.Errorf("workload = %+v", workload)
	}
	for _, test := range []struct{ name, file, want string }{
		{"unknown key", good + "memory: 1\n", `line 4, column 1: unknown field "memory"`},
		{"unknown kind", "name: web\nkind: pod\nimage: b\n", `line 2, column 7: kind: "pod" is not a kind`},
		{"no image", "name: web\nkind: container\n", "image: a container needs"},
		{"too little memory", good + "requirements:\n  memory_mib: 1\n", "line 5, column 15: requirements.memory_mib: must be from"},
		{"negative memory", good + "requirements:\n  memory_mib: -1\n", "requirements.memory_mib: must be from"},
		{"labels of the wrong type", good + "requirements: {labels: zone}\n", "line 4, column 24"},
		{"bad name", "name: Web!\nkind: container\nimage: b\n", `line 1, column 7: name: "Web!"`},
		{"wrong type", good + "command: ls\n", "line 4, column 10"},
		{"a port beyond", good + "ports:\n- port: 80\n- port: 70000\n", "line 6, column 9: ports[1].port: must be from 1 to 65535"},
		{"a port of the wrong type", good + "ports: [http]\n", "line 4, column 9"},
		{"a port with an unknown key", good + "ports: [{port: 80, host: 8080}]\n", `unknown field "host"`},
		{"bad vcpus", good + "requirements: {vcpus: many}\n", "not a number of vCPUs"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := ParseWorkload("web.yaml", []byte(test.file))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("error = %v, want it to contain %q", err, test.want)
			}
		})
	}
}

func TestManifests(t *testing.T) {
	const good = "workloads:\n  - {name: web, kind: container, image: busybox}\ninstances:\n  - {name: front, workload: web, count: 2}\n"
	m, err := ParseManifest("m.yaml", []byte(good+"  - {name: back, workload: other}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if names := append(m.Instances[0].Names(), m.Instances[1].Names()...); !slices.Equal(names, []string{"front-1", "front-2", "back"}) {
		t.Errorf("names are %v", names)
	}
	for _, test := range []struct{ name, file, want string }{
		{"empty", "", "the file is empty"},
		{"unknown key", good + "more: 1\n", `line 5, column 1: unknown field "more"`},
		{"bad workload", "workloads:\n  - {name: web, kind: pod, image: b}\n", `line 2, column 23: workloads[0].kind: "pod"`},
		{"workload twice", "workloads:\n  - &w {name: web, kind: container, image: b}\n  - *w\n", "workloads[1].name: \"web\" is the name of another"},
		{"public workload", "workloads:\n  - {name: web, visibility: public, kind: container, image: b}\n", "ciao create workload"},
		{"instance twice", good + "  - {name: front-2, workload: web}\n", `instances[1].name: "front-2" is the name of another`},
		{"no workload", "instances: [{name: x}]\n", "instances[0].workload: is missing"},
		{"none", "instances: [{name: x, workload: w, count: -1}]\n", "instances[0].count: must be from 1"},
		{"bad name", "instances: [{name: X, workload: w}]\n", `instances[0].name: "X" is not a name`},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := ParseManifest("m.yaml", []byte(test.file))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("error = %v, want it to contain %q", err, test.want)
			}
		})
	}
}

func TestLoadBoundsTheFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "huge.yaml")
	if err := os.WriteFile(name, make([]byte, maxFile+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(name); !errors.Is(err, cluster.ErrTooLarge) {
		t.Errorf("error = %v, want too large", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(minimal))
	f.Add([]byte("name: web\nkind: container\nimage: busybox\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		_, _ = Parse("f", data)
		_, _ = ParseWorkload("f", data)
	})
}
