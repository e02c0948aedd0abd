package bat

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/api"
	"github.com/ciaocloud/ciao/cluster/client"
)

// Tenant is a throw-away tenant of one test: the operator acts for it. Its methods end the test when something goes wrong.
type Tenant struct {
	api.Tenant
	API *client.Client // acts for it

	t        *T
	launched int
}

// Tenant makes a tenant that goes with the test.
func (t *T) Tenant(ctx context.Context) *Tenant { return t.TenantAs(ctx, api.CreateTenant{}) }

// TenantAs makes a tenant that goes with the test; an empty name is made up.
func (t *T) TenantAs(ctx context.Context, request api.CreateTenant) *Tenant {
	c := t.Cluster
	if request.Name == "" {
		request.Name = t.Name("tenant")
	}
	created, err := c.Operator.CreateTenant(ctx, request)
	t.Need(err, "create tenant %s", request.Name)
	t.Cleanup(func(ctx context.Context) {
		if err := c.remove(ctx, created.ID); err != nil {
			t.Errorf("remove tenant %s: %v", created.Name, err)
		}
	})
	t.mu.Lock()
	t.tenants = append(t.tenants, created.ID)
	t.mu.Unlock()
	return &Tenant{Tenant: created, API: c.Operator.ForTenant(created.ID), t: t}
}

// Name makes up a name that nothing else in the cluster has, and that tells where it comes from.
func (t *T) Name(what string) string {
	return fmt.Sprintf("%s-%s-%d", t.Cluster.Run, what, t.Cluster.made.Add(1))
}

// Container is a workload that runs a shell script in the image that the tests use.
func (c *Cluster) Container(name, script string) api.CreateWorkload {
	return api.CreateWorkload{
		Name: name, Kind: cluster.KindContainer, Image: c.image, Pull: cluster.PullPolicy(c.pull), Command: []string{"sh", "-c", script},
		Requirements: api.Requirements{VCPUs: 0.05, MemoryMiB: 16}, StopGrace: "2s",
	}
}

// sleeping waits until it is asked to end, and then ends at once.
const sleeping = `trap 'exit 0' TERM; while :; do sleep 3600 & wait $!; done`

// Sleeper is a workload that waits until it is asked to end.
func (c *Cluster) Sleeper(name string) api.CreateWorkload { return c.Container(name, sleeping) }

// Recipe is a workload of the test's kind that runs a shell script: a virtual machine does so when it is up, and runs on when the script has
// ended.
func (t *T) Recipe(name, script string) api.CreateWorkload {
	return t.Cluster.recipe(t.Kind, name, script)
}

func (c *Cluster) recipe(kind cluster.Kind, name, script string) api.CreateWorkload {
	recipe := c.Container(name, script)
	switch kind {
	case cluster.KindProcess: // its shell is the node's
		recipe.Kind, recipe.Image, recipe.Pull = cluster.KindProcess, "", ""
	case cluster.KindVM:
		recipe = c.machine(name)
		recipe.CloudInit = "#!/bin/sh\n" + script + "\n"
	}
	return recipe
}

// machine is a workload of virtual machines that wait to be asked to end.
func (c *Cluster) machine(name string) api.CreateWorkload {
	return api.CreateWorkload{
		Name: name, Kind: cluster.KindVM, Image: c.machineImage, Requirements: api.Requirements{VCPUs: 1, MemoryMiB: 96}, StopGrace: "2s",
	}
}

// Sleeper is a workload of the test's kind that waits until it is asked to end.
func (t *T) Sleeper(name string) api.CreateWorkload { return t.Cluster.SleeperOf(t.Kind, name) }

// SleeperOf is a workload of any kind that waits until it is asked to end.
func (c *Cluster) SleeperOf(kind cluster.Kind, name string) api.CreateWorkload {
	if kind == cluster.KindVM {
		return c.machine(name)
	}
	return c.recipe(kind, name, sleeping)
}

// Failing is a workload of the test's kind whose instances fail, and the words that tell why.
func (t *T) Failing(name string) (failing api.CreateWorkload, words string) {
	failing = t.Sleeper(name)
	if t.Kind == cluster.KindVM { // which runs whatever its disk has: only a node can refuse it
		failing.Requirements.MemoryMiB = cluster.MaxMemoryMiB
		return failing, "memory"
	}
	failing.Command = []string{"/no/such/command"}
	return failing, failing.Command[0]
}

// Kinds says which kinds of instances the cluster's nodes run.
func (t *T) Kinds(ctx context.Context) []cluster.Kind {
	nodes, err := t.Cluster.Operator.Nodes(ctx, string(cluster.Compute))
	t.Need(err, "list nodes")
	var kinds []cluster.Kind
	for _, node := range nodes {
		kinds = append(kinds, node.Kinds...)
	}
	if t.Cluster.machineImage == "" {
		kinds = slices.DeleteFunc(kinds, func(k cluster.Kind) bool { return k == cluster.KindVM })
	}
	slices.Sort(kinds)
	return slices.Compact(kinds)
}

// needKind skips the test where no node runs instances of its kind. Containers are needed by all tests.
func (t *T) needKind(ctx context.Context) {
	if t.Kind == cluster.KindContainer {
		return
	}
	if !slices.Contains(t.Kinds(ctx), t.Kind) {
		t.Skipf("no node runs instances of kind %s, or there is no workload %s, whose image the tests of virtual machines use", t.Kind, tinyWorkload)
	}
}

// Workload creates a workload of the tenant.
func (n *Tenant) Workload(ctx context.Context, request api.CreateWorkload) api.Workload {
	created, err := n.API.CreateWorkload(ctx, request)
	n.t.Need(err, "create workload %s", request.Name)
	return created
}

// Sleepers creates instances that wait, and returns them when they are active.
func (n *Tenant) Sleepers(ctx context.Context, names ...string) []api.Instance {
	n.ensureSleeper(ctx)
	var created []api.Instance
	for _, name := range names {
		created = append(created, n.Create(ctx, api.CreateInstances{Workload: "sleeper", Name: name})...)
	}
	return n.Active(ctx, created)
}

// ManySleepers creates count instances that wait by one request, and returns them when they are active.
func (n *Tenant) ManySleepers(ctx context.Context, stem string, count int) []api.Instance {
	n.ensureSleeper(ctx)
	return n.Active(ctx, n.Create(ctx, api.CreateInstances{Workload: "sleeper", Name: stem, Count: count}))
}

func (n *Tenant) ensureSleeper(ctx context.Context) {
	if n.launched++; n.launched == 1 {
		n.Workload(ctx, n.t.Sleeper("sleeper"))
	}
}

// Create creates instances and returns them as they were recorded.
func (n *Tenant) Create(ctx context.Context, request api.CreateInstances) []api.Instance {
	created, err := n.API.CreateInstances(ctx, request)
	n.t.Need(err, "create instances of %s", request.Workload)
	return created
}

// Active waits until instances run.
func (n *Tenant) Active(ctx context.Context, instances []api.Instance) []api.Instance {
	return n.Await(ctx, instances, LaunchTime, client.Active)
}

// Await waits until instances are where reached wants them.
func (n *Tenant) Await(ctx context.Context, instances []api.Instance, limit time.Duration, reached client.Reached) []api.Instance {
	ctx, cancel := context.WithTimeout(ctx, n.t.Cluster.Scale(limit))
	defer cancel()
	seen := map[string]cluster.State{}
	there, err := n.API.Wait(ctx, instances, reached, func(i api.Instance) {
		if seen[i.ID] != i.State {
			seen[i.ID] = i.State
			n.t.Logf("%s is %s %s", i.Name, i.State, strings.TrimSpace(i.Reason))
		}
	})
	n.t.Need(err, "wait")
	return there
}

// In is reached when an instance is in one of the states.
func In(states ...cluster.State) client.Reached {
	return func(instance api.Instance, gone bool) (bool, error) {
		if gone {
			return false, fmt.Errorf("instance %s: %w: it was deleted meanwhile", instance.Name, cluster.ErrNotFound)
		}
		for _, state := range states {
			if instance.State == state {
				return true, nil
			}
		}
		return false, nil
	}
}

// Get shows an instance.
func (n *Tenant) Get(ctx context.Context, ref string) api.Instance {
	instance, err := n.API.Instance(ctx, ref)
	n.t.Need(err, "show instance %s", ref)
	return instance
}

// Stop stops an instance and returns it when it has stopped.
func (n *Tenant) Stop(ctx context.Context, instance api.Instance) api.Instance {
	_, err := n.API.StopInstance(ctx, instance.ID)
	n.t.Need(err, "stop instance %s", instance.Name)
	return n.Await(ctx, []api.Instance{instance}, StopTime, client.Inactive)[0]
}

// Start starts an instance and returns it when it is active.
func (n *Tenant) Start(ctx context.Context, instance api.Instance) api.Instance {
	started, err := n.API.StartInstance(ctx, instance.ID)
	n.t.Need(err, "start instance %s", instance.Name)
	return n.Active(ctx, []api.Instance{started})[0]
}

// Delete deletes instances and returns when they are gone.
func (n *Tenant) Delete(ctx context.Context, instances ...api.Instance) {
	for _, instance := range instances {
		_, err := n.API.DeleteInstance(ctx, instance.ID)
		n.t.Need(err, "delete instance %s", instance.Name)
	}
	n.Await(ctx, instances, GoneTime, client.Deleted)
}

// List lists the tenant's instances.
func (n *Tenant) List(ctx context.Context) []api.Instance {
	found, err := n.API.Instances(ctx, client.InstanceFilter{})
	n.t.Need(err, "list instances")
	return found
}

// Usage is what the tenant holds, by the names of quotas.
func (n *Tenant) Usage(ctx context.Context) map[string]float64 {
	quota, err := n.API.Quota(ctx, n.ID)
	n.t.Need(err, "show the quota")
	used := map[string]float64{}
	for _, item := range quota.Items {
		used[item.Name] = item.Used
	}
	return used
}
