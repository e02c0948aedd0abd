package cli_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ciaocloud/ciao/cluster/api"
	"github.com/ciaocloud/ciao/cluster/apiserver/apiservertest"
	"github.com/ciaocloud/ciao/cluster/client"
)

type list struct {
	Items []map[string]any `json:"items"`
	Next  *string          `json:"next"`
}

func TestListsAreItemsAndNext(t *testing.T) {
	start(t)
	works(t, "create", "instance", "busybox", "--instances", "2")
	firstCNCI(t)
	for noun, least := range map[string]int{"instances": 2, "workloads": 1, "nodes": 0, "tenants": 2, "cncis": 1, "quotas": 3, "events": 1} {
		t.Run(noun, func(t *testing.T) {
			got := decode[list](t, works(t, "list", noun, "-o", "json"))
			if len(got.Items) < least || got.Items == nil || got.Next == nil || *got.Next != "" {
				t.Errorf("items %v, next %v", got.Items, got.Next)
			}
			yaml := works(t, "list", noun, "--output=yaml")
			if !strings.HasPrefix(yaml, "items:") || !strings.HasSuffix(yaml, "next: \"\"\n") {
				t.Errorf("YAML is %q", yaml)
			}
			singular := strings.TrimSuffix(noun, "s")
			if got, want := works(t, "list", singular, "-f", "{{json .}}"), works(t, "ls", noun, "-f", "{{json .}}"); got != want || strings.Count(want, "\n") != len(decode[list](t, works(t, "list", noun, "-o", "json")).Items) {
				t.Errorf("list %s: %q, ls %s: %q", singular, got, noun, want)
			}
		})
	}
}

func TestFieldsOfInstances(t *testing.T) {
	start(t)
	created := decode[list](t, works(t, "create", "instance", "busybox", "--name", "web", "--label", "tier=front", "-o", "json"))
	if len(created.Items) != 1 {
		t.Fatalf("created %v", created.Items)
	}
	got := created.Items[0]
	for _, name := range strings.Fields("id name tenant workload kind state node mac addresses created reason") {
		if _, found := got[name]; !found {
			t.Errorf("field %s is missing", name)
		}
	}
	want := map[string]any{
		"name": "web", "tenant": apiservertest.Blue, "workload": "busybox", "kind": "container", "state": "pending", "desired": "active",
		"mac": "02:00:ac:10:00:02", "labels": map[string]any{"tier": "front"}, "vcpus": 0.5, "memory_mib": 64.0,
	}
	addresses, _ := got["addresses"].([]any)
	if len(addresses) != 2 || addresses[0] != "172.16.0.2" || !strings.HasPrefix(fmt.Sprint(addresses[1]), "fd") || !strings.HasSuffix(fmt.Sprint(addresses[1]), "::2") {
		t.Fatalf("addresses are %v", addresses)
	}
	for name, value := range want {
		if diff := cmp.Diff(value, got[name]); diff != "" {
			t.Errorf("%s (-want +got): %s", name, diff)
		}
	}
	id := got["id"].(string)
	for _, ref := range []string{"web", id} {
		if diff := cmp.Diff(got, decode[map[string]any](t, works(t, "show", "instance", ref, "-o", "json"))); diff != "" {
			t.Errorf("show %s (-created +shown): %s", ref, diff)
		}
	}
	if line := works(t, "show", "instance", "web", "-f", `{{.name}} {{.vcpus}} {{join "," .addresses}} {{with .ssh}}{{.host}}{{else}}no ssh{{end}} {{.labels.tier}}`); line != fmt.Sprintf("web 0.5 172.16.0.2,%s no ssh front\n", addresses[1]) {
		t.Errorf("template gave %q", line)
	}
}

func TestTablesAreForPeople(t *testing.T) {
	start(t)
	works(t, "create", "instance", "busybox", "--instances", "11", "--name", "web")
	works(t, "create", "instance", "busybox", "--name", "db")
	rows := strings.Split(strings.TrimSpace(works(t, "list", "instances")), "\n")
	if titles := strings.Fields(rows[0]); !slices.Equal(titles, []string{"NAME", "STATE", "KIND", "WORKLOAD", "ADDRESSES", "AGE", "ID", "REASON"}) {
		t.Errorf("titles %v", titles)
	}
	var names []string
	for _, row := range rows[1:] {
		names = append(names, strings.Fields(row)[0])
	}
	if want := strings.Fields("db web-1 web-2 web-3 web-4 web-5 web-6 web-7 web-8 web-9 web-10 web-11"); !slices.Equal(names, want) {
		t.Errorf("order %v, want %v", names, want)
	}
	works(t, "create", "instance", "busybox", "--admin", "--tenant", "blue")
	public := strings.Replace(busybox, "name: busybox", "name: shared\nvisibility: public", 1)
	works(t, "create", "workload", file(t, public))
	works(t, "create", "instance", "shared", "--admin", "--tenant", "green", "--name", "web")
	all := works(t, "list", "instances", "--admin")
	if !strings.HasPrefix(all, "TENANT ") || !strings.Contains(all, apiservertest.Green) || !strings.Contains(all, apiservertest.Blue) {
		t.Errorf("the operator's list does not say whose they are:\n%s", all)
	}
	if strings.Contains(works(t, "list", "instances"), "TENANT") {
		t.Error("a tenant's list says whose they are")
	}
	t.Setenv(client.EnvTenant, "blue") // which `singlevm env` sets
	if again := works(t, "list", "instances", "--admin", "-f", "{{.tenant}}"); !strings.Contains(again, apiservertest.Green) {
		t.Errorf("with a tenant in the environment the operator's list is\n%s", again)
	}
	if one := works(t, "list", "instances", "--admin", "--tenant", "green", "-f", "{{.tenant}}"); one != apiservertest.Green+"\n" {
		t.Errorf("the operator's list of one tenant is\n%s", one)
	}
}

func TestEveryNounIsShownInEveryForm(t *testing.T) {
	start(t)
	works(t, "create", "instance", "busybox", "--name", "web")
	cnci := firstCNCI(t)
	for noun, ref := range map[string]string{"instance": "web", "workload": "busybox", "tenant": "blue", "cnci": cnci} {
		t.Run(noun, func(t *testing.T) {
			shown := decode[map[string]any](t, works(t, "show", noun, ref, "-o", "json"))
			id, _ := shown["id"].(string)
			table, yaml := works(t, "show", noun, id), works(t, "-o", "yaml", "show", noun, id)
			if id == "" || !strings.Contains(table, id) || !strings.Contains(yaml, "id: "+id) {
				t.Errorf("id %q, table %q, YAML %q", id, table, yaml)
			}
			fields := slices.Sorted(maps.Keys(shown))
			if line := works(t, "show", noun, id, "-f", "{{."+fields[0]+"}}"); strings.Count(line, "\n") != 1 {
				t.Errorf("template gave %q", line)
			}
		})
	}
}

func TestFilters(t *testing.T) {
	a := start(t)
	works(t, "create", "workload", file(t, strings.Replace(busybox, "name: busybox", "name: other", 1)))
	works(t, "create", "instance", "busybox", "--instances", "2", "--name", "web", "--label", "tier=front", "--label", "color=red")
	works(t, "create", "instance", "other", "--name", "db", "--label", "tier=back")
	works(t, "stop", "instance", "db", "--wait", "--timeout", "30s")
	for _, test := range []struct{ args, want string }{
		{"", "db web-1 web-2"},
		{"busybox", "web-1 web-2"},
		{"--label tier=front", "web-1 web-2"},
		{"--label tier=front --label color=blue", ""},
		{"--state stopped", "db"},
		{"other --state pending", ""},
		{"--node 33333333-3333-4333-8333-333333333333", ""},
	} {
		got := works(t, append([]string{"list", "instances", "-f", "{{.name}}"}, strings.Fields(test.args)...)...)
		if strings.Join(strings.Fields(got), " ") != test.want {
			t.Errorf("list instances %s: %q, want %s", test.args, got, test.want)
		}
	}
	db, err := a.Client(a.Tenant(apiservertest.Blue)).Instance(t.Context(), "db")
	if err != nil {
		t.Fatal(err)
	}
	for _, ref := range []string{"db", db.ID} {
		for _, event := range decode[struct{ Items []api.Event }](t, works(t, "list", "events", "--instance", ref, "-o", "json")).Items {
			if event.Instance != db.ID {
				t.Errorf("events of %s have %+v", ref, event)
			}
		}
	}
}
