package cli_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ciaocloud/ciao/cluster/apiserver/apiservertest"
	"github.com/ciaocloud/ciao/cluster/client"
	"github.com/ciaocloud/ciao/ssntp/certs"
)

func TestWrongUse(t *testing.T) {
	nobody(t)
	for _, test := range []struct {
		args string
		says string
	}{
		{"frobnicate", "`ciao --help` lists what it knows"},
		{"craete instance x", "did you mean create?"},
		{"list instnaces", "did you mean instances?"},
		{"list instances --colour", "`ciao list instances --help` shows the flags"},
		{"list instances -o xml", `"xml" is not a form of output; use table, json, yaml`},
		{"list instances -f {{", "the template is not one"},
		{"list workloads extra", `"extra" is one argument too many; use: ciao list workloads`},
		{"create instance", "WORKLOAD is missing; use: ciao create instance WORKLOAD"},
		{"create instance a --timeout soon", "--timeout"},
		{"create instance a --instances many", "--instances"},
		{"update quota", "TENANT and NAME and VALUE is missing"},
		{"stop instance", "INSTANCE is missing"},
		{"list instances", client.EnvController},
		{"list instances --controller x", client.EnvClientCert},
		{"run frobnicator", "ciao run knows no"},
	} {
		t.Run(test.args, func(t *testing.T) { refuses(t, 2, strings.Fields(test.args), test.says) })
	}
}

func TestWrongValues(t *testing.T) {
	start(t)
	for _, test := range []struct {
		args string
		code int
		says string
	}{
		{"create instance busybox --instances 0", 2, "at least 1"},
		{"create instance busybox --instances 10001", 2, "count: expected number <= 10000"},
		{"create instance busybox --name Web_1", 2, "lower-case letters"},
		{"create instance busybox --label =", 2, "KEY=VALUE"},
		{"create instance busybox --admin", 2, "for which tenant"},
		{"list instances --state sleepy", 2, "the states are pending, scheduled"},
		{"list instances --label =x", 2, "KEY=VALUE"},
		{"list instances --node host", 5, client.EnvAdminCert},
		{"list instances --node host --admin", 3, "ciao list nodes"},
		{"list nodes --compute-nodes --network-nodes", 2, "not both"},
		{"list workloads -f {{.nmae}}", 2, "the fields are cloud_init command created description"},
		{"delete instance", 2, "--all"},
		{"delete instance a --all", 2, "--all"},
		{"delete instance --all --admin", 2, "for which tenant"},
		{"create tenant Red", 2, "lower-case letters"},
		{"create tenant red --id 5", 2, "UUID"},
		{"create tenant red --cidr-prefix-size 99", 2, "from 16 to 29"},
		{"create tenant blue", 4, "choose another"},
		{"update tenant blue", 2, "nothing to change"},
		{"update tenant blue --name green", 4, "green"},
		{"update quota blue bananas 5", 2, "the quotas are [disk_mib external_ips images instance_disk_mib"},
		{"update quota blue instances many", 2, "a whole number from 0, or the word unlimited"},
		{"create workload /no/such.yaml", 3, "/no/such.yaml"},
		{"create workload /dev/null", 2, "empty"},
		{"create workload /dev/zero", 2, "at most"},
		{"create workload /", 2, "name a file"},
		{"run controller --config /no/such.yaml", 3, "--config"},
	} {
		t.Run(test.args, func(t *testing.T) { refuses(t, test.code, strings.Fields(test.args), test.says) })
	}
	refuses(t, 4, []string{"create", "workload", file(t, busybox)}, "busybox", "already exists")
}

func TestMisspeltNames(t *testing.T) {
	start(t)
	works(t, "create", "instance", "busybox", "--name", "web")
	for _, test := range []struct{ args, says string }{
		{"show workload busybxo", "did you mean busybox?"},
		{"delete workload bussybox", "did you mean busybox?"},
		{"create instance busybx", "did you mean busybox?"},
		{"list instances busyb0x", "did you mean busybox?"},
		{"show instance wb", "did you mean web?"},
		{"stop instance weeb", "did you mean web?"},
		{"show tenant bleu", "did you mean blue?"},
		{"update quota geren instances 1", "did you mean green?"},
		{"update tenant gren --name x", "did you mean green?"},
		{"delete tenant gren", "did you mean green?"},
		{"show instance nothing-like-it", "`ciao list instances` shows what there is"},
		{"show cnci nothing-like-it", "`ciao list cncis` shows what there is"},
		{"show node nothing-like-it", "`ciao list nodes` shows what there is"},
		{"delete instance .", "not a name"},
		{"show workload ..", "not a name"},
		{"list instances --tenant nobody", `tenant "nobody": not found`},
	} {
		t.Run(test.args, func(t *testing.T) { refuses(t, 3, strings.Fields(test.args), test.says) })
	}
}

func TestWorkloadFiles(t *testing.T) {
	start(t)
	const head = "name: x\nkind: container\nimage: a\n"
	for _, test := range []struct{ name, text, says string }{
		{"unknown key", head + "colour: red\n", `line 4, column 1: unknown field "colour"`},
		{"unknown key inside", head + "requirements:\n  vcpu: 1\n", `line 5, column 3: unknown field "vcpu"`},
		{"key twice", head + "image: b\n", "line 4, column 1:"},
		{"wrong type", head + "command: sleep 5\n", "line 4, column 10:"},
		{"text for a number", head + "requirements: {memory_mib: much}\n", "line 4, column 28:"},
		{"impossible memory", head + "requirements: {memory_mib: 1}\n", "line 4, column 28: requirements.memory_mib: must be from 6"},
		{"impossible vCPUs", head + "requirements:\n  vcpus: 100000\n", "line 5"},
		{"several at once", head + "pull: always\nstop_grace: 1h\n", "stop_grace: must be from 0s to 10m"},
		{"several at once, the other", head + "pull: always\nstop_grace: 1h\n", `line 4, column 7: pull: "always" is not a pull policy; use missing or never`},
		{"no name", "kind: container\nimage: a\n", "name:"},
		{"bad name", "name: A_B\nkind: container\nimage: a\n", `line 1, column 7: name: "A_B" is not a name`},
		{"no kind", "name: x\nimage: a\n", "kind: is missing; use container"},
		{"unknown kind", "name: x\nkind: boat\n", `line 2, column 7: kind: "boat" is not a kind of workload`},
		{"no image", "name: x\nkind: container\n", "image: a container needs the reference of an image"},
		{"unknown visibility", head + "visibility: secret\n", `line 4, column 13: visibility: "secret" is not a visibility; use private or public`},
		{"unknown restart policy", head + "restart: always\n", `line 4, column 10: restart: "always" is not a restart policy; use on-node`},
		{"not a duration", head + "stop_grace: soon\n", "line 4, column 13:"},
		{"not a number of vCPUs", head + "requirements:\n  vcpus: lots\n", `line 5, column 10: "lots" is not a number of vCPUs`},
		{"a list for a number", head + "requirements: {vcpus: [1]}\n", "line 4, column 23: one value"},
		{"no document", "", "empty"},
		{"two documents", head + "---\n" + head, "one YAML document"},
		{"no YAML", "{", "line 1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			refuses(t, 2, []string{"create", "workload", file(t, test.text)}, test.says)
		})
	}
	if got := works(t, "list", "workloads", "-f", "{{.name}}"); got != "busybox\n" {
		t.Errorf("workloads %q came of wrong files", got)
	}
	works(t, "create", "workload", file(t, head+"privileged: true\n"))
	refuses(t, 5, []string{"create", "instance", "x"}, "privileged")
}

// TestOtherTenants: what is another tenant's is answered as what does not exist.
func TestOtherTenants(t *testing.T) {
	a := start(t)
	works(t, "create", "instance", "busybox", "--name", "web")
	instance := strings.TrimSpace(works(t, "show", "instance", "web", "-f", "{{.id}}"))
	workload := strings.TrimSpace(works(t, "show", "workload", "busybox", "-f", "{{.id}}"))
	cnci := firstCNCI(t)
	t.Setenv(client.EnvClientCert, a.Tenant(apiservertest.Green))
	t.Setenv(client.EnvAdminCert, "")
	for _, args := range [][]string{
		{"show", "instance", instance}, {"start", "instance", instance}, {"stop", "instance", instance}, {"restart", "instance", instance}, {"wait", "instance", instance},
		{"delete", "instance", instance}, {"show", "instance", "web"}, {"show", "workload", workload}, {"delete", "workload", workload},
		{"create", "instance", workload}, {"create", "instance", "busybox"}, {"list", "instances", workload}, {"show", "cnci", cnci},
		{"show", "tenant", apiservertest.Blue}, {"show", "tenant", "blue"}, {"list", "quotas", "blue"}, {"list", "instances", "--tenant", "blue"},
	} {
		t.Run(strings.Join(args[:2], " "), func(t *testing.T) { refuses(t, 3, args, "not found") })
	}
	for _, noun := range []string{"instances", "workloads", "cncis", "events"} {
		if got := works(t, "list", noun, "-f", "{{.id}}"); got != "" {
			t.Errorf("list %s shows %q of another tenant", noun, got)
		}
	}
	for _, line := range []string{
		"list nodes", "show node x", "create tenant red", "update tenant green --name red", "update quota green instances 5", "delete tenant green", "delete events",
	} {
		refuses(t, 5, strings.Fields(line), client.EnvAdminCert)
	}
	t.Setenv(client.EnvClientCert, a.Tenant(apiservertest.Green, apiservertest.Blue))
	refuses(t, 2, []string{"list", "instances"}, "2 tenants", client.EnvTenant)
	t.Setenv(client.EnvTenant, "blue")
	if got := works(t, "list", "instances", "-f", "{{.name}}"); got != "web\n" {
		t.Errorf("as blue: %q", got)
	}
}

func TestWhoAndWhere(t *testing.T) {
	a := start(t)
	other, err := certs.NewAuthority("other", 0)
	if err != nil {
		t.Fatal(err)
	}
	directory := t.TempDir()
	otherCA, garbage := filepath.Join(directory, "ca.pem"), filepath.Join(directory, "garbage")
	if err := certs.SaveCertificate(otherCA, other.Certificate); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(garbage, []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	short := certs.User("late", apiservertest.Blue)
	short.Lifetime = time.Second
	expired := a.User(short)
	<-time.After(1500 * time.Millisecond) // nothing but time makes a certificate expire
	for _, test := range []struct {
		name string
		args []string
		code int
		says string
	}{
		{"expired certificate", []string{"--cert", expired}, 5, "ask an operator for a new one"},
		{"certificate of another authority", []string{"--cert", a.UserOf(other, certs.User("x", apiservertest.Blue))}, 5, "not of this cluster's authority"},
		{"certificate of a daemon", []string{"--cert", a.Daemon()}, 5, "certificate of a daemon"},
		{"no such certificate", []string{"--cert", "/no/such"}, 2, "/no/such"},
		{"certificate that is none", []string{"--cert", garbage}, 2, "garbage"},
		{"wrong authority", []string{"--ca-cert", otherCA}, 5, client.EnvCA},
		{"no such authority", []string{"--ca-cert", "/no/such"}, 2, "/no/such"},
		{"nobody listens", []string{"--controller", "127.0.0.1:1"}, 8, "cannot reach the controller at 127.0.0.1:1"},
		{"no address", []string{"--controller", "ftp://x"}, 2, client.EnvController},
	} {
		t.Run(test.name, func(t *testing.T) {
			refuses(t, test.code, append([]string{"list", "instances"}, test.args...), test.says)
		})
	}
}
