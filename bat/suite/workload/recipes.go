package workload

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/ciaocloud/ciao/bat"
	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/api"
)

// file writes a workload file that goes with the test.
func file(t *bat.T, text string) string {
	directory, err := os.MkdirTemp("", "bat-")
	t.Need(err, "make a directory")
	t.Cleanup(func(context.Context) { _ = os.RemoveAll(directory) })
	name := filepath.Join(directory, "workload.yaml")
	t.Need(os.WriteFile(name, []byte(text), 0o600), "write a workload file")
	return name
}

func private(ctx context.Context, t *bat.T) {
	tenant, other := t.Tenant(ctx), t.Tenant(ctx)
	image := t.Cluster.Sleeper("x").Image
	name := file(t, fmt.Sprintf(`name: own
kind: container
description: a workload of a test
image: %s
pull: never
command: [sh, -c, "sleep 3600"]
environment: {COLOUR: blue}
requirements: {vcpus: 0.25, memory_mib: 24, pids: 33}
stop_grace: 3s
`, image))
	var made, shown api.Workload
	t.Ciao(ctx, tenant.ID, "create", "workload", name, "-o", "json").JSON(t, "create workload", &made)
	want := api.Workload{
		ID: made.ID, Name: "own", Tenant: tenant.ID, Visibility: cluster.Private, Kind: cluster.KindContainer, Description: "a workload of a test",
		Image: image, Pull: cluster.PullNever, Command: []string{"sh", "-c", "sleep 3600"}, Environment: map[string]string{"COLOUR": "blue"},
		Requirements: api.Requirements{VCPUs: 0.25, MemoryMiB: 24, Pids: 33}, Restart: cluster.RestartOnNode, Drain: cluster.StopFirst, StopGrace: "3s", Created: made.Created,
	}
	for _, ref := range []string{"own", made.ID} {
		t.Ciao(ctx, tenant.ID, "show", "workload", ref, "-o", "json").JSON(t, "show workload", &shown)
		if got, wanted := fmt.Sprintf("%+v", shown), fmt.Sprintf("%+v", want); got != wanted {
			t.Errorf("the workload is read back as\n%s\nexpected\n%s", got, wanted)
		}
	}
	listed, err := tenant.API.Workloads(ctx)
	t.Need(err, "list workloads")
	if !slices.ContainsFunc(listed, func(w api.Workload) bool { return w.ID == made.ID }) {
		t.Errorf("the workload is not listed")
	}
	t.Ciao(ctx, tenant.ID, "create", "workload", name).Refuses(t, "a second workload of that name", 4, "own")
	t.Ciao(ctx, other.ID, "show", "workload", "own").Refuses(t, "show as another tenant", 3, "own")
	t.Ciao(ctx, other.ID, "create", "instance", made.ID).Refuses(t, "use as another tenant", 3, made.ID)
	t.Ciao(ctx, tenant.ID, "delete", "workload", "own").Works(t, "delete workload")
	t.Ciao(ctx, tenant.ID, "show", "workload", "own").Refuses(t, "a deleted workload", 3, "own")
}

func public(ctx context.Context, t *bat.T) {
	tenant, name := t.Tenant(ctx), t.Name("public")
	t.Cleanup(func(ctx context.Context) { // before the tenant's own: its instances must be gone first
		if _, err := t.Cluster.Operator.Workload(ctx, name); err == nil {
			t.Errorf("the public workload %s is still there", name)
		}
	})
	path := file(t, fmt.Sprintf("name: %s\nvisibility: public\nkind: container\nimage: %s\npull: never\ncommand: [sleep, \"3600\"]\nrequirements: {vcpus: 0.1, memory_mib: 16}\nstop_grace: 1s\n", name, t.Cluster.Sleeper("x").Image))
	var made api.Workload
	t.Ciao(ctx, "", "create", "workload", path, "-o", "json").JSON(t, "create a public workload", &made)
	if made.Visibility != cluster.Public || made.Tenant != "" {
		t.Errorf("the workload is %+v, expected a public one of no tenant", made)
	}
	instance := tenant.Active(ctx, tenant.Create(ctx, api.CreateInstances{Workload: name}))[0]
	if instance.Workload != name || instance.WorkloadID != made.ID {
		t.Errorf("the instance is of workload %s %s, expected %s %s", instance.Workload, instance.WorkloadID, name, made.ID)
	}
	if err := tenant.API.DeleteWorkload(ctx, name); err == nil {
		t.Errorf("a tenant could delete a public workload")
	}
	tenant.Delete(ctx, instance)
	t.Ciao(ctx, "", "delete", "workload", name).Works(t, "delete the public workload")
	t.Ciao(ctx, tenant.ID, "show", "workload", name).Refuses(t, "a deleted workload", 3, name)
}

func inUse(ctx context.Context, t *bat.T) {
	tenant := t.Tenant(ctx)
	instance := tenant.Sleepers(ctx, "user")[0]
	if err := tenant.API.DeleteWorkload(ctx, "sleeper"); !errors.Is(err, cluster.ErrConflict) {
		t.Errorf("delete in use: %v, expected a conflict", err)
	}
	tenant.Delete(ctx, instance)
	t.Need(tenant.API.DeleteWorkload(ctx, "sleeper"), "delete the workload when nothing uses it")
}

func badFiles(ctx context.Context, t *bat.T) {
	tenant := t.Tenant(ctx)
	const good = "name: bad\nkind: container\nimage: busybox\n"
	for _, bad := range []struct{ what, text, says string }{
		{"an unknown key", good + "memory: 1\n", `line 4, column 1: unknown field "memory"`},
		{"a wrong type", good + "command: ls\n", "line 4, column 10"},
		{"an impossible value", good + "requirements:\n  memory_mib: 1\n", "line 5, column 15: requirements.memory_mib"},
		{"a missing image", "name: bad\nkind: container\n", "image"},
		{"an unknown kind", "name: bad\nkind: pod\nimage: b\n", `line 2, column 7: kind: "pod"`},
		{"a name that is none", "name: Bad!\nkind: container\nimage: b\n", "line 1, column 7: name"},
		{"what is not YAML", "name: [", "line 1"},
	} {
		t.Ciao(ctx, tenant.ID, "create", "workload", file(t, bad.text)).Refuses(t, bad.what, 2, bad.says)
	}
	t.Ciao(ctx, tenant.ID, "create", "workload", "/no/such/file.yaml").Refuses(t, "no file", 3, "/no/such/file.yaml")
	if _, err := tenant.API.Workload(ctx, "bad"); !errors.Is(err, cluster.ErrNotFound) {
		t.Errorf("a workload was created all the same (%v)", err)
	}
}
