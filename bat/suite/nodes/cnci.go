package nodes

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/ciaocloud/ciao/bat"
	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/api"
	"github.com/ciaocloud/ciao/cluster/client"
)

// cnciMoves has the node of a tenant's CNCI evacuated, while its instance stays where it is.
func cnciMoves(ctx context.Context, t *bat.T) {
	usable := ready(ctx, t, 2)
	tenant, other := t.Tenant(ctx), t.Tenant(ctx)
	server := t.Cluster.Container("server", "exec httpd -f -h /tmp")
	server.Requirements.Node = usable[0].ID
	server.Ports = []api.PortSpec{{Port: 80}}
	tenant.Workload(ctx, server)
	web := tenant.Active(ctx, tenant.Create(ctx, api.CreateInstances{Workload: "server", Name: "web"}))[0]
	lent := attached(ctx, t, tenant, web)
	before := cnci(ctx, t, tenant)
	restored(t, before.Node)
	_, err := t.Cluster.Operator.EvacuateNode(ctx, before.Node, false)
	t.Need(err, "evacuate node %s", before.Node)
	after := before
	t.Until(ctx, moveTime, "the CNCI is on another node", func(ctx context.Context) (bool, string) {
		after = cnci(ctx, t, tenant)
		return after.Node != before.Node && after.State == cluster.Active && after.Underlay != "", fmt.Sprintf("%s on %s %s", after.State, after.Node, after.Reason)
	})
	tenant.Probe(ctx,
		bat.Step{Name: "the CNCI answers", Script: `within 10 ping -c 1 -W 2 "$gateway"`},
		bat.Works("it knows the name of the instance", `resolves web "$gateway" `+web.Addresses[0].String()))
	if lent != "" {
		mapped(ctx, t, tenant, lent)
		other.Probe(ctx, bat.Step{Name: "the external IP is reached at the new CNCI", Script: fmt.Sprintf("within 10 reaches %s 80", lent)})
	}
	now := tenant.Get(ctx, web.ID)
	if now.State != cluster.Active || now.Generation != web.Generation || now.Node != web.Node {
		t.Errorf("the instance was active on %s in generation %d and is %s on %s in %d", web.Node, web.Generation, now.State, now.Node, now.Generation)
	}
	if len(now.Ports) != 1 || now.Ports[0].Host != after.Underlay || now.Ports[0].Published != web.Ports[0].Published {
		t.Errorf("its port was %+v and is %+v, expected the same at %s", web.Ports, now.Ports, after.Underlay)
	}
	events, err := tenant.API.Events(ctx, client.EventFilter{})
	t.Need(err, "list events")
	for _, event := range events {
		if event.Severity == cluster.Error {
			t.Errorf("an event tells of an error: %s: %s", event.Reason, event.Message)
		}
	}
}

// cnci is the tenant's only one.
func cnci(ctx context.Context, t *bat.T, tenant *bat.Tenant) api.CNCI {
	all, err := tenant.API.CNCIs(ctx)
	t.Need(err, "list CNCIs")
	if len(all) != 1 {
		t.Fatalf("the tenant has %d CNCIs, expected 1", len(all))
	}
	return all[0]
}

// attached gives an instance an external IP of whatever pool has one; empty where none has.
func attached(ctx context.Context, t *bat.T, tenant *bat.Tenant, instance api.Instance) string {
	pool := t.FreePool(ctx, netip.Addr.Is4)
	if pool == "" {
		t.Logf("no pool of external IPs has a free address: they are not judged")
		return ""
	}
	lent, err := tenant.API.CreateExternalIP(ctx, api.CreateExternalIP{Pool: pool, Instance: instance.ID})
	t.Need(err, "attach an external IP of pool %s", pool)
	mapped(ctx, t, tenant, lent.Address.String())
	return lent.Address.String()
}

func mapped(ctx context.Context, t *bat.T, tenant *bat.Tenant, address string) {
	ctx, cancel := context.WithTimeout(ctx, t.Cluster.Scale(30*time.Second))
	defer cancel()
	_, err := tenant.API.AwaitExternalIP(ctx, address, cluster.ExternalMapped)
	t.Need(err, "wait until %s is mapped", address)
}
