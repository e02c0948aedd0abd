package network

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/ciaocloud/ciao/bat"
	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/api"
	"github.com/ciaocloud/ciao/cluster/client"
)

// mapTime is how long an external IP may take to be where it is wanted.
const mapTime = 20 * time.Second

// webPort is what the server of these tests listens on; a process may not have the lower ones.
const webPort = 8080

// server is a workload that answers on webPort.
func server(t *bat.T) api.CreateWorkload {
	return t.Recipe("server", fmt.Sprintf("exec busybox httpd -f -p %d -h /tmp", webPort))
}

func externalIP(ctx context.Context, t *bat.T)   { externalIPOf(ctx, t, netip.Addr.Is4) }
func externalIPv6(ctx context.Context, t *bat.T) { externalIPOf(ctx, t, netip.Addr.Is6) }

// externalIPOf judges the life of an external IP of a family.
func externalIPOf(ctx context.Context, t *bat.T, family func(netip.Addr) bool) {
	pool := freePool(ctx, t, family)
	blue, green := t.Tenant(ctx), t.Tenant(ctx)
	recipe := server(t)
	recipe.Ports = []api.PortSpec{{Port: webPort, Address: cluster.AtExternalIP, Published: lowPort}}
	blue.Workload(ctx, recipe)
	web := blue.Active(ctx, blue.Create(ctx, api.CreateInstances{Workload: "server", Name: "web"}))[0]
	lent, err := blue.API.CreateExternalIP(ctx, api.CreateExternalIP{Pool: pool, Instance: web.ID})
	t.Need(err, "attach an external IP of pool %s", pool)
	await(ctx, t, blue, lent, cluster.ExternalMapped)
	if shown := blue.Get(ctx, web.ID); len(shown.ExternalIPs) != 1 || shown.ExternalIPs[0] != lent.Address {
		t.Errorf("the instance shows the external IPs %v, expected %s", shown.ExternalIPs, lent.Address)
	}
	if !family(lent.Address) {
		t.Errorf("%s of pool %s is of another family than the pool's", lent.Address, pool)
	}
	behind := web.Addresses[slices.IndexFunc(web.Addresses, family)]
	// A CNCI that has just come has to hear of the underlay's IPv6.
	reached := bat.Step{Name: "the external IP is reached, and the port that is published on it", Script: fmt.Sprintf("within 40 reaches %s %d && ping -c 1 -W 2 %s && reaches %s %d", lent.Address, webPort, lent.Address, lent.Address, lowPort)}
	green.Probe(ctx, reached,
		bat.Step{Name: "the address behind it is not", Script: fmt.Sprintf("! reaches %s %d", behind, webPort)})
	blue.Probe(ctx, reached)
	if t.Cluster.Local(ctx) {
		answers(ctx, t, api.PublishedPort{Host: lent.Address.String(), Published: webPort})
	}
	_, err = blue.API.DetachExternalIP(ctx, lent.Address.String())
	t.Need(err, "detach %s", lent.Address)
	await(ctx, t, blue, lent, cluster.ExternalReserved)
	green.Probe(ctx, bat.Step{Name: "detached, it is not reached", Script: fmt.Sprintf("! reaches %s %d && ! ping -c 1 -W 1 %s", lent.Address, webPort, lent.Address)})
	all, err := blue.API.Events(ctx, client.EventFilter{})
	t.Need(err, "list events")
	events := map[string]int{}
	for _, event := range all {
		events[event.Reason]++
	}
	if events["Mapped"] != 1 || events["Unmapped"] != 1 {
		t.Errorf("%d events Mapped and %d Unmapped, expected one of each", events["Mapped"], events["Unmapped"])
	}
}

func externalIPOfTheDeleted(ctx context.Context, t *bat.T) {
	pool := freePool(ctx, t, netip.Addr.Is4)
	tenant := t.Tenant(ctx)
	one := tenant.Sleepers(ctx, "one")[0]
	lent, err := tenant.API.CreateExternalIP(ctx, api.CreateExternalIP{Pool: pool, Instance: one.ID})
	t.Need(err, "attach an external IP of pool %s", pool)
	await(ctx, t, tenant, lent, cluster.ExternalMapped)
	tenant.Delete(ctx, one)
	await(ctx, t, tenant, lent, cluster.ExternalReserved)
	two := tenant.Sleepers(ctx, "two")[0]
	_, err = tenant.API.AttachExternalIP(ctx, lent.Address.String(), two.ID)
	t.Need(err, "attach %s to another instance", lent.Address)
	await(ctx, t, tenant, lent, cluster.ExternalMapped)
}

// freePool names a pool of a family that has an address left; without one the test is skipped.
func freePool(ctx context.Context, t *bat.T, family func(netip.Addr) bool) string {
	pool := t.FreePool(ctx, family)
	if pool == "" {
		t.Skipf("no pool of external IPs of that family has a free address: `ciao create pool` makes one")
	}
	return pool
}

func await(ctx context.Context, t *bat.T, tenant *bat.Tenant, lent api.ExternalIP, state cluster.ExternalIPState) {
	ctx, cancel := context.WithTimeout(ctx, t.Cluster.Scale(mapTime))
	defer cancel()
	_, err := tenant.API.AwaitExternalIP(ctx, lent.Address.String(), state)
	t.Need(err, "wait until %s is %s", lent.Address, state)
}
