// Package smoke is a short look at a cluster: half a minute that says whether it is worth judging further.
package smoke

import (
	"context"

	"github.com/ciaocloud/ciao/bat"
	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/api"
)

// Suite lists the tests.
func Suite() bat.Suite {
	return bat.Suite{Name: "smoke", Summary: "a short look: does the cluster do what it is for?", Tests: []bat.Test{
		{
			Name:        "Workloads",
			Summary:     "There are workloads to make instances of.",
			Description: "Lists the workloads through the command line.",
			Expected:    "At least one is public; each has an id, a name and a kind.",
			Run:         workloads,
		},
		{
			Name:        "Nodes",
			Summary:     "There are nodes that can take instances and CNCIs.",
			Description: "Lists the nodes as an operator.",
			Expected:    "At least one ready node has the role compute, and one the role network.",
			Run:         nodes,
		},
		{
			Name:        "TwoTenants",
			Summary:     "A tenant's containers reach each other by name, and another tenant's are not there for it.",
			Description: "Creates two containers of one tenant by one request, and one of a second tenant; lists, and pings from inside; deletes all.",
			Expected:    "All become active; the name of the first is found and answers the second; the second tenant sees neither; after the delete nothing is listed and nothing is used.",
			Run:         twoTenants,
		},
		{
			Name:        "Machine",
			Summary:     "A virtual machine runs, is reached by its tenant and where its ports are published, and lets in whose key it was given.",
			Description: "Creates a machine of the image of the workload tiny with a key of its workload and one that the tenant keeps, whose SSH port is published on its CNCI's address and on an external IP. A container pings it until the guest answers, and reaches the port of the external IP. On the cluster's own machine, logs in at each place with the kept key, with the workload's, and with one that nobody was given.",
			Expected:    "The guest takes its address and answers; at each place it says its name to the key; both keys are let in, and the other is refused. Skipped where there is no such workload, or no node runs virtual machines.",
			Run:         machine,
		},
	}}
}

func workloads(ctx context.Context, t *bat.T) {
	var list struct{ Items []api.Workload }
	t.Ciao(ctx, "", "list", "workloads", "-o", "json").JSON(t, "ciao list workloads", &list)
	public := 0
	for _, workload := range list.Items {
		if workload.ID == "" || workload.Name == "" || workload.Kind == "" {
			t.Errorf("a workload lacks its id, name or kind: %+v", workload)
		}
		if workload.Visibility == cluster.Public {
			public++
		}
	}
	if public == 0 {
		t.Errorf("of %d workloads none is public", len(list.Items))
	}
}

func nodes(ctx context.Context, t *bat.T) {
	found, err := t.Cluster.Operator.Nodes(ctx, "")
	t.Need(err, "list nodes")
	ready := map[cluster.NodeRole]int{}
	for _, node := range found {
		for _, role := range node.Roles {
			if node.State == cluster.NodeReady {
				ready[role]++
			}
		}
	}
	if ready[cluster.Compute] == 0 || ready[cluster.Network] == 0 {
		t.Errorf("of %d nodes, %d are ready for instances and %d for CNCIs; both must be at least 1", len(found), ready[cluster.Compute], ready[cluster.Network])
	}
}

func twoTenants(ctx context.Context, t *bat.T) {
	blue, green := t.Tenant(ctx), t.Tenant(ctx)
	var created, lonely []api.Instance
	t.Together(
		func() { created = blue.ManySleepers(ctx, "node", 2) },
		func() { lonely = green.Sleepers(ctx, "lonely") })
	t.Together(
		func() {
			blue.Probe(ctx,
				bat.Works("the other instance answers by address", "ping -c 1 -W 2 "+created[0].Addresses[0].String()),
				bat.Works("the other instance answers by name", "ping -c 1 -W 2 node-1"))
		},
		func() { green.Probe(ctx, bat.Refused("the other tenant's name is known", "nslookup node-1")) })
	if there := green.List(ctx); len(there) != 2 {
		t.Errorf("the second tenant has %d instances listed, expected its own two", len(there))
	}
	t.Together(
		func() { blue.Delete(ctx, blue.List(ctx)...) },
		func() { green.Delete(ctx, lonely...) })
	if left := blue.List(ctx); len(left) != 0 {
		t.Errorf("%d instances are left after all were deleted", len(left))
	}
	for name, used := range blue.Usage(ctx) {
		if used != 0 {
			t.Errorf("%g of %s are still counted as used after all was deleted", used, name)
		}
	}
}
