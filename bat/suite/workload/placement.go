package workload

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ciaocloud/ciao/bat"
	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/api"
)

// launch creates an instance of a workload and returns it when it has settled.
func launch(ctx context.Context, tenant *bat.Tenant, workload api.CreateWorkload, limit time.Duration) api.Instance {
	tenant.Workload(ctx, workload)
	created := tenant.Create(ctx, api.CreateInstances{Workload: workload.Name})
	return tenant.Await(ctx, created, limit, bat.In(cluster.Active, cluster.Failed, cluster.Exited))[0]
}

// fails wants an instance to have failed with a reason that says certain words.
func fails(t *bat.T, what string, instance api.Instance, says ...string) {
	if instance.State != cluster.Failed {
		t.Errorf("%s: the instance is %s, expected failed", what, instance.State)
	}
	for _, words := range says {
		if !strings.Contains(instance.Reason, words) {
			t.Errorf("%s: the reason does not say %q: %q", what, words, instance.Reason)
		}
	}
	t.Logf("%s: %s", what, instance.Reason)
}

func missingImage(ctx context.Context, t *bat.T) {
	tenant := t.Tenant(ctx)
	const image = "ciao-bat/no-such-image:1"
	workload := t.Cluster.Sleeper("never")
	workload.Image, workload.Pull = image, cluster.PullNever
	instance := launch(ctx, tenant, workload, bat.LaunchTime)
	fails(t, "pull never", instance, image)

	workload.Name, workload.Pull = "missing", cluster.PullMissing
	tenant.Workload(ctx, workload)
	created := tenant.Create(ctx, api.CreateInstances{Workload: "missing"})
	told := tenant.Await(ctx, created, bat.LaunchTime, func(i api.Instance, gone bool) (bool, error) {
		if gone || i.State == cluster.Active || i.State == cluster.Exited {
			return false, fmt.Errorf("the instance is %s", i.State)
		}
		return i.State == cluster.Failed || i.Reason != "", nil
	})[0]
	if !strings.Contains(told.Reason, image) {
		t.Errorf("pull missing: the reason does not name the image: %q", told.Reason)
	}
	t.Logf("pull missing: %s: %s", told.State, told.Reason)
	tenant.Delete(ctx, instance, told)
}

func computeNode(ctx context.Context, t *bat.T) api.Node {
	nodes, err := t.Cluster.Operator.Nodes(ctx, string(cluster.Compute))
	t.Need(err, "list nodes")
	i := slices.IndexFunc(nodes, func(n api.Node) bool { return n.State == cluster.NodeReady })
	if i < 0 {
		t.Fatalf("no compute node is ready")
	}
	return nodes[i]
}

func wantedNode(ctx context.Context, t *bat.T) {
	tenant, node := t.Tenant(ctx), computeNode(ctx, t)
	byID, byName := t.Cluster.Sleeper("by-id"), t.Cluster.Sleeper("by-name")
	byID.Requirements.Node, byName.Requirements.Hostname = node.ID, node.Hostname
	for _, workload := range []api.CreateWorkload{byID, byName} {
		instance := launch(ctx, tenant, workload, bat.LaunchTime)
		if instance.State != cluster.Active || instance.Node != node.ID {
			t.Errorf("%s: the instance is %s on node %q, expected active on %s: %s", workload.Name, instance.State, instance.Node, node.ID, instance.Reason)
		}
		if instance.Explanation == "" {
			t.Errorf("%s: nothing explains why the node was chosen", workload.Name)
		}
	}
}

func noSuchNode(ctx context.Context, t *bat.T) {
	tenant := t.Tenant(ctx)
	byID, byName := t.Cluster.Sleeper("by-id"), t.Cluster.Sleeper("by-name")
	byID.Requirements.Node, byName.Requirements.Hostname = "00000000-0000-4000-8000-000000000000", "no-such-host"
	var created []api.Instance
	for _, workload := range []api.CreateWorkload{byID, byName} { // both at once: the cluster waits a while for such a node to appear
		tenant.Workload(ctx, workload)
		created = append(created, tenant.Create(ctx, api.CreateInstances{Workload: workload.Name})...)
	}
	settled := tenant.Await(ctx, created, bat.LaunchTime, bat.In(cluster.Active, cluster.Failed))
	fails(t, "an unknown id", settled[0], "not the wanted node")
	fails(t, "an unknown host name", settled[1], "without the wanted host name")
}

func tooMuchMemory(ctx context.Context, t *bat.T) {
	tenant := t.Tenant(ctx)
	nodes, err := t.Cluster.Operator.Nodes(ctx, string(cluster.Compute))
	t.Need(err, "list nodes")
	workload := t.Cluster.Sleeper("huge")
	workload.Requirements.MemoryMiB = cluster.MaxMemoryMiB
	for _, node := range nodes {
		if node.MemoryMiB >= cluster.MaxMemoryMiB {
			t.Skipf("node %s has all the memory that a workload may ask for", node.Hostname)
		}
	}
	fails(t, "memory beyond every node", launch(ctx, tenant, workload, bat.LaunchTime), "memory")
}

func privileged(ctx context.Context, t *bat.T) {
	tenant := t.Tenant(ctx)
	workload := t.Cluster.Sleeper("mighty")
	workload.Privileged = true
	tenant.Workload(ctx, workload)
	request := api.CreateInstances{Workload: workload.Name}
	refused := func(when string) {
		if _, err := tenant.API.CreateInstances(ctx, request); !errors.Is(err, cluster.ErrPermission) {
			t.Errorf("%s: %v, expected not permitted", when, err)
		}
	}
	permit := func(allow bool) {
		_, err := t.Cluster.Operator.UpdateTenant(ctx, tenant.ID, api.UpdateTenant{PrivilegedContainers: &allow})
		t.Need(err, "set the permission to %t", allow)
	}
	refused("without the permission")
	if used := tenant.Usage(ctx)[api.QuotaInstances]; used != 0 {
		t.Errorf("a refused request left %g instances in use", used)
	}
	permit(true)
	instance := tenant.Await(ctx, tenant.Create(ctx, request), bat.LaunchTime, func(i api.Instance, _ bool) (bool, error) {
		return i.State == cluster.Active || i.State == cluster.Failed || i.State == cluster.Starting && i.Reason != "", nil
	})[0]
	if instance.State != cluster.Active {
		t.Logf("the node's engine cannot make privileged containers: %s", instance.Reason)
		if instance.Reason == "" || strings.Contains(instance.Reason, "may not run privileged") {
			t.Errorf("with the permission the instance failed: %q", instance.Reason)
		}
	}
	permit(false)
	refused("after the permission was taken back")
}
