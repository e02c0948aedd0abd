package cli_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ciaocloud/ciao/cluster/apiserver/apiservertest"
)

const manifest = `workloads:
  - name: web
    kind: container
    image: busybox
    command: [exit, '0', after, 1h]
    environment: {COLOUR: blue}
    requirements: {vcpus: 0.5, memory_mib: 64, labels: {zone: a}}
instances:
  - {name: front, workload: web, count: 2, labels: {tier: front}}
  - {name: back, workload: web}
`

// results of an apply, by name.
func results(t *testing.T, args ...string) map[string]string {
	t.Helper()
	byName := map[string]string{}
	for _, item := range decode[list](t, works(t, append([]string{"apply", "-o", "json"}, args...)...)).Items {
		byName[item["name"].(string)] = item["result"].(string)
	}
	return byName
}

func TestApply(t *testing.T) {
	become(t, apiservertest.NewCluster(t))
	name := file(t, manifest)
	for _, step := range []struct {
		what string
		args []string
		want map[string]string
	}{
		{"a dry run", []string{"-f", name, "--dry-run"}, map[string]string{"web": "missing", "front-1": "missing", "front-2": "missing", "back": "missing"}},
		{"the first", []string{"-f", name, "--wait"}, map[string]string{"web": "created", "front-1": "created", "front-2": "created", "back": "created"}},
		{"the second", []string{"-f", name}, map[string]string{"web": "unchanged", "front-1": "unchanged", "front-2": "unchanged", "back": "unchanged"}},
	} {
		if diff := cmp.Diff(step.want, results(t, step.args...)); diff != "" {
			t.Errorf("%s (-want +got): %s", step.what, diff)
		}
	}
	if states := works(t, "list", "instances", "-f", "{{.name}} {{.state}} {{json .labels}}"); states != "back active {}\nfront-1 active {\"tier\":\"front\"}\nfront-2 active {\"tier\":\"front\"}\n" {
		t.Errorf("instances are %s", states)
	}
	works(t, "delete", "instance", "front-1", "--wait")
	if got := results(t, "-f", name); got["front-1"] != "created" || got["front-2"] != "unchanged" {
		t.Errorf("after a deletion: %v", got)
	}
	plain := file(t, "workloads: [{name: plain, kind: container, image: busybox, requirements: {labels: {}}}]\n")
	for _, want := range []string{"created", "unchanged"} {
		if got := results(t, "-f", plain); got["plain"] != want {
			t.Errorf("a workload without labels is %s, want %s", got["plain"], want)
		}
	}
}

func TestApplyRefusesContradictions(t *testing.T) {
	start(t) // has a workload busybox
	works(t, "create", "instance", "busybox", "--name", "back")
	refuses(t, 4, []string{"apply", "-f", file(t, manifest)}, "instance back is there with another workload", "nothing was changed")
	refuses(t, 4, []string{"apply", "-f", file(t, "workloads: [{name: busybox, kind: container, image: other, command: [sleep, '60']}]\n")},
		"workload busybox is there with another image, requirements.vcpus, requirements.memory_mib", "another name")
	refuses(t, 4, []string{"apply", "-f", file(t, "workloads: [{name: busybox, kind: container, image: other, requirements: {labels: {zone: b}}}]\n")},
		"workload busybox is there with another image, ", "requirements.labels")
	refuses(t, 3, []string{"apply", "-f", file(t, "instances: [{name: x, workload: busibox}]\n")}, "did you mean busybox")
	refuses(t, 2, []string{"apply"}, "-f FILE")
	refuses(t, 2, []string{"apply", "--admin", "-f", file(t, manifest)}, "say which tenant")
	refuses(t, 2, []string{"apply", "-f", file(t, "name: web\n")}, "line 1", "name")
	refuses(t, 3, []string{"apply", "-f", "/no/such/file"}, "/no/such/file")
	if left := works(t, "list", "workloads", "-f", "{{.name}}"); left != "busybox\n" {
		t.Errorf("workloads are %s", left)
	}
}

// What a file says of every kind is taken for the same when it is applied again, and for another when it was changed.
func TestApplyComparesRecipes(t *testing.T) {
	become(t, apiservertest.NewCluster(t))
	const recipes = `workloads:
  - name: machine
    kind: vm
    drain: start-first
    firmware: uefi
    requirements: {memory_mib: 256}
    cloud_init: |
      #cloud-config
      hostname: a
    ssh_keys: [ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f a@b]
    ports: [{port: 80}]
    volumes: [{size_mib: 64, ephemeral: true}, {image: root, size_mib: 8}]
  - name: app
    kind: process
    command: [sleep, 1h]
    volumes: [{volume: data, target: /data, read_only: true}]
`
	name := file(t, recipes)
	for _, want := range []string{"created", "unchanged"} {
		if got := results(t, "-f", name); got["machine"] != want || got["app"] != want {
			t.Errorf("the recipes are %v, want %s", got, want)
		}
	}
	for old, change := range map[string][2]string{
		"size_mib: 64":      {"size_mib: 65", "volumes"},
		"read_only: true":   {"read_only: false", "volumes"},
		"start-first":       {"stop-first", "drain"},
		"uefi":              {"bios", "firmware"},
		"hostname: a":       {"hostname: b", "cloud_init"},
		"a@b":               {"a@c", "ssh_keys"},
		"ports: [{port: 80": {"ports: [{port: 81", "ports"},
	} {
		refuses(t, 4, []string{"apply", "-f", file(t, strings.Replace(recipes, old, change[0], 1))}, "is there with another "+change[1]+":")
	}
}
