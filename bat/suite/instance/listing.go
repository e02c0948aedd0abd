package instance

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/ciaocloud/ciao/bat"
	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/api"
	"github.com/ciaocloud/ciao/cluster/client"
)

func fields(ctx context.Context, t *bat.T) {
	tenant := t.Tenant(ctx)
	sleeper := t.Sleeper("sleeper")
	tenant.Workload(ctx, sleeper)
	var created, listed struct{ Items []api.Instance }
	t.Ciao(ctx, tenant.ID, "create", "instance", "sleeper", "--instances", "3", "--name", "seen", "--label", "tier=front", "--wait", "-o", "json").JSON(t, "create", &created)
	t.Ciao(ctx, tenant.ID, "list", "instances", "-o", "json").JSON(t, "list", &listed)
	if len(created.Items) != 3 || len(listed.Items) != 3 {
		t.Fatalf("%d instances were created and %d are listed, expected 3", len(created.Items), len(listed.Items))
	}
	unique(t, listed.Items)
	for _, i := range listed.Items {
		complete(t, tenant, i, sleeper.Requirements)
	}
	one := listed.Items[0]
	for _, ref := range []string{one.ID, one.Name} {
		var shown api.Instance
		t.Ciao(ctx, tenant.ID, "show", "instance", ref, "-o", "json").JSON(t, "show", &shown)
		if identity(shown) != identity(one) || shown.State != one.State || shown.Node != one.Node {
			t.Errorf("shown by %s it is %+v, listed %+v", ref, shown, one)
		}
	}
	forms(ctx, t, tenant, one)
	filters(ctx, t, tenant, one)
}

// complete wants everything to be known of an active instance.
func complete(t *bat.T, tenant *bat.Tenant, i api.Instance, needs api.Requirements) {
	for field, empty := range map[string]bool{
		"id": !cluster.ValidID(i.ID), "name": !strings.HasPrefix(i.Name, "seen-"), "tenant": i.Tenant != tenant.ID, "workload": i.Workload != "sleeper",
		"workload_id": !cluster.ValidID(i.WorkloadID), "kind": i.Kind != t.Kind, "state": i.State != cluster.Active,
		"desired": i.Desired != cluster.WantActive, "node": !cluster.ValidID(i.Node), "mac": i.MAC == "", "addresses": !bothFamilies(i.Addresses),
		"subnet": i.Subnet == "", "labels": i.Labels["tier"] != "front", "created": i.Created.IsZero(), "changed": i.Changed.Before(i.Created),
		"explanation": i.Explanation == "", "generation": i.Generation != 1, "vcpus": i.VCPUs != needs.VCPUs, "memory_mib": i.MemoryMiB != needs.MemoryMiB,
	} {
		if empty {
			t.Errorf("the field %s of %s is not as it should be: %+v", field, i.Name, i)
		}
	}
}

// bothFamilies wants a private address of IPv4, and one of IPv6 after it.
func bothFamilies(addresses []netip.Addr) bool {
	return len(addresses) == 2 && addresses[0].Is4() && addresses[0].IsPrivate() && addresses[1].Is6() && addresses[1].IsPrivate()
}

func forms(ctx context.Context, t *bat.T, tenant *bat.Tenant, one api.Instance) {
	table := t.Ciao(ctx, tenant.ID, "list", "instances").Works(t, "list as a table")
	yaml := t.Ciao(ctx, tenant.ID, "show", "instance", one.Name, "-o", "yaml").Works(t, "show as YAML")
	for what, out := range map[string]string{"the table": table.Out, "YAML": yaml.Out} {
		for _, text := range []string{one.ID, one.Name, one.Addresses[0].String(), "active"} {
			if !strings.Contains(out, text) {
				t.Errorf("%s lacks %q:\n%s", what, text, out)
			}
		}
	}
	line := t.Ciao(ctx, tenant.ID, "show", "instance", one.Name, "-f", `{{.id}} {{join "," .addresses}}`).Works(t, "show through a template")
	if want := one.ID + " " + one.Addresses[0].String() + "," + one.Addresses[1].String() + "\n"; line.Out != want {
		t.Errorf("through a template it is %q, expected %q", line.Out, want)
	}
}

func filters(ctx context.Context, t *bat.T, tenant *bat.Tenant, one api.Instance) {
	tenant.Stop(ctx, one)
	there := 0
	for _, i := range tenant.List(ctx) {
		if i.Node == one.Node {
			there++
		}
	}
	for _, filter := range []struct {
		args []string
		want int
	}{
		{[]string{"--state", "active"}, 2}, {[]string{"--state", "stopped"}, 1}, {[]string{"--label", "tier=front"}, 3},
		{[]string{"--label", "tier=back"}, 0}, {[]string{"sleeper"}, 3}, {[]string{"--node", one.Node}, there},
	} {
		var listed struct{ Items []api.Instance }
		t.Ciao(ctx, tenant.ID, append([]string{"list", "instances", "-o", "json"}, filter.args...)...).JSON(t, "list with a filter", &listed)
		if len(listed.Items) != filter.want {
			t.Errorf("with %v, %d instances are listed, expected %d", filter.args, len(listed.Items), filter.want)
		}
	}
}

// unique wants no two instances to share an id, a name, a MAC or an address.
func unique(t *bat.T, instances []api.Instance) {
	seen := map[string]string{}
	for _, i := range instances {
		for _, text := range append([]string{i.ID, i.Name, i.MAC}, fmt.Sprint(i.Addresses)) {
			if other, taken := seen[text]; taken {
				t.Errorf("%s and %s both have %s", other, i.Name, text)
			}
			seen[text] = i.Name
		}
	}
}

func twenty(ctx context.Context, t *bat.T) {
	n := 20
	if t.Kind == cluster.KindVM {
		n = 4 // each boots, maybe under emulation
	}
	tenant := t.Tenant(ctx)
	created := tenant.ManySleepers(ctx, "crowd", n)
	listed := tenant.List(ctx)
	if len(created) != n || len(listed) != n {
		t.Fatalf("%d instances were answered and %d are listed, expected %d", len(created), len(listed), n)
	}
	unique(t, listed)
	for k := range n {
		if name := fmt.Sprintf("crowd-%d", k+1); !slices.ContainsFunc(listed, func(i api.Instance) bool { return i.Name == name && i.State == cluster.Active && i.Generation == 1 }) {
			t.Errorf("%s is not active in its first generation", name)
		}
	}
	count, err := tenant.API.DeleteInstances(ctx, client.InstanceFilter{})
	t.Need(err, "delete all")
	if count != n {
		t.Errorf("%d instances were asked to go, expected %d", count, n)
	}
	tenant.Await(ctx, created, bat.GoneTime, client.Deleted)
	if left := tenant.List(ctx); len(left) != 0 {
		t.Errorf("%d instances are left", len(left))
	}
}

func counts(ctx context.Context, t *bat.T) {
	tenant := t.Tenant(ctx)
	tenant.Sleepers(ctx, "first") // its CNCI counts, too, and is there before
	others(ctx, t)
	nodes, err := t.Cluster.Operator.Nodes(ctx, string(cluster.Compute))
	t.Need(err, "list nodes")
	i := slices.IndexFunc(nodes, func(n api.Node) bool { return n.State == cluster.NodeReady })
	if i < 0 {
		t.Fatalf("no compute node is ready")
	}
	before := nodes[i]
	workload := t.Sleeper("here")
	workload.Requirements.Node = before.ID
	tenant.Workload(ctx, workload)
	created := tenant.Active(ctx, tenant.Create(ctx, api.CreateInstances{Workload: "here", Count: 3}))
	await := func(when string, instances, running int, memory int64) {
		t.Until(ctx, bat.SettleTime, fmt.Sprintf("the node's counts %s: %d instances, %d running, %d MiB", when, instances, running, memory), func(ctx context.Context) (bool, string) {
			now, err := t.Cluster.Operator.Node(ctx, before.ID)
			if err != nil {
				return false, err.Error()
			}
			saw := fmt.Sprintf("%d instances, %d running, %d MiB", now.Instances-before.Instances, now.Running-before.Running, now.MemoryMiBAllocated-before.MemoryMiBAllocated)
			return now.Instances-before.Instances == instances && now.Running-before.Running == running && now.MemoryMiBAllocated-before.MemoryMiBAllocated == memory, saw
		})
	}
	each := workload.Requirements.MemoryMiB
	await("after three starts", 3, 3, 3*each)
	tenant.Stop(ctx, created[0])
	await("after a stop", 3, 2, 3*each)
	tenant.Delete(ctx, created...)
	await("after the delete", 0, 0, 0)
}

// others waits until the CNCIs of tenants that tests before have removed are gone, too: they hold memory of their nodes.
func others(ctx context.Context, t *bat.T) {
	t.Until(ctx, bat.SettleTime, "the CNCIs of removed tenants are gone", func(ctx context.Context) (bool, string) {
		tenants, err := t.Cluster.Operator.Tenants(ctx)
		if err != nil {
			return false, err.Error()
		}
		cncis, err := t.Cluster.Operator.CNCIs(ctx)
		if err != nil {
			return false, err.Error()
		}
		for _, cnci := range cncis {
			if !slices.ContainsFunc(tenants, func(t api.Tenant) bool { return t.ID == cnci.Tenant }) {
				return false, "CNCI " + cnci.ID + " is " + string(cnci.State)
			}
		}
		return true, ""
	})
}
