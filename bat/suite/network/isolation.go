package network

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	"github.com/ciaocloud/ciao/bat"
	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/api"
	"github.com/ciaocloud/ciao/cluster/config"
)

func dhcp(ctx context.Context, t *bat.T) {
	tenant := t.Tenant(ctx)
	tenant.Workload(ctx, listener(t))
	rogue := tenant.Active(ctx, tenant.Create(ctx, api.CreateInstances{Workload: "listener"}))[0]
	tenant.Probe(ctx,
		bat.Step{Name: "an address is lent", Script: askDHCP},
		bat.Step{Name: "it is the instance's own, and the CNCI is the router", Script: `[ "$(cat /tmp/lent)" = "$own $gateway" ]`},
		bat.Step{Name: "it is so again", Script: askDHCP + ` && [ "$(cat /tmp/lent)" = "$own $gateway" ]`})
	tenant.Await(ctx, []api.Instance{rogue}, bat.SettleTime, bat.In(cluster.Exited)) // it did answer; nobody got that
}

func isolatedAddresses(ctx context.Context, t *bat.T) {
	blue, green := t.Tenant(ctx), t.Tenant(ctx)
	shared := blue.Sleepers(ctx, "shared")[0]
	there := green.ManySleepers(ctx, "only-green", 6)
	if prefix(ctx, t, blue) != prefix(ctx, t, green) {
		t.Logf("the tenants have different ranges here: the shared address says less than it could")
	}
	last := there[len(there)-1]
	steps := []bat.Step{
		{Name: "an address of the other tenant alone does not answer", Script: "! ping -c 2 -W 2 " + address(last)},
		{Name: "nor does it answer ARP", Script: fmt.Sprintf(`! arping -b -c 3 -w 4 -I "$link" %s | grep -q 'reply from'`, address(last))},
		{Name: "one host answers for an address that both use", Script: fmt.Sprintf(`[ "$(arping -b -c 2 -w 4 -I "$link" %s | grep -c 'reply from')" -le 2 ]`, address(shared))},
		{Name: "the other tenant's name is not known here", Script: domain + `! resolves only-green-6.$domain "$gateway" ` + address(last)},
		{Name: "its own neighbour answers", Script: "ping -c 1 -W 2 " + address(shared)},
	}
	blue.Probe(ctx, steps...)
	green.Probe(ctx,
		bat.Step{Name: "in its own network the address answers", Script: "ping -c 1 -W 2 " + address(last)},
		bat.Step{Name: "and answers ARP", Script: fmt.Sprintf(`arping -b -c 2 -w 3 -I "$link" %s | grep -q 'reply from'`, address(last))})
}

func isolatedBroadcast(ctx context.Context, t *bat.T) {
	blue, green := t.Tenant(ctx), t.Tenant(ctx)
	var ears []api.Instance
	for _, tenant := range []*bat.Tenant{blue, green} {
		tenant.Workload(ctx, listener(t))
		ears = append(ears, tenant.Active(ctx, tenant.Create(ctx, api.CreateInstances{Workload: "listener"}))...)
	}
	green.Probe(ctx, bat.Step{Name: "a broadcast is sent and the CNCI hears it", Script: askDHCP})
	inside := green.Await(ctx, ears[1:], bat.SettleTime, bat.In(cluster.Exited))[0]
	if inside.ExitCode == nil || *inside.ExitCode != heard {
		t.Fatalf("the listener of the sender's own network ended with %v (%s): nothing can be said", inside.ExitCode, inside.Reason)
	}
	blue.Probe(ctx, bat.Step{Name: "time passes", Script: "sleep 4"}) // the other listener looks every second
	if other := blue.Get(ctx, ears[0].ID); other.State != cluster.Active {
		t.Errorf("the listener of the other network is %s with exit code %v: it heard the broadcast", other.State, other.ExitCode)
	}
}

func underlay(ctx context.Context, t *bat.T) {
	tenant := t.Tenant(ctx)
	one := tenant.Sleepers(ctx, "one")[0]
	targets := targets(ctx, t)
	if len(targets) == 0 {
		t.Skipf("no address on the underlay is known")
	}
	six := targets6(ctx, t)
	var attempts strings.Builder
	var verdicts []bat.Step
	try := func(promise, script string) {
		mark := fmt.Sprintf("/tmp/answered-%d", len(verdicts))
		fmt.Fprintf(&attempts, "( %s ) && : > %s &\n", script, mark)
		verdicts = append(verdicts, bat.Step{Name: promise, Script: "! [ -e " + mark + " ]"})
	}
	each := func(target, traceroute string) {
		try(target+" does not answer ping", "ping -c 2 -W 1 "+target)
		try(target+" does not answer UDP 4789", answersUDP(traceroute, target))
		for _, port := range []int{22, config.SSNTPPort, config.APIPort} {
			try(fmt.Sprintf("%s port %d cannot be reached", target, port), fmt.Sprintf("reaches %s %d", target, port))
		}
	}
	for _, target := range targets {
		each(target, "traceroute")
	}
	steps := []bat.Step{
		{Name: "the gateway answers", Script: `ping -c 1 -W 2 "$gateway"`},
		{Name: "a neighbour answers UDP 4789, so that one could tell", Script: answersUDP("traceroute", address(one))},
	}
	if len(six) > 0 {
		steps = append(steps,
			bat.Step{Name: "the gateway answers over IPv6", Script: "ping -c 1 -W 2 " + gateway6(ctx, t, tenant)},
			bat.Step{Name: "a neighbour answers UDP 4789 over IPv6", Script: answersUDP("traceroute6", one.Addresses[1].String())})
	}
	for _, target := range six {
		each(target, "traceroute6")
	}
	steps = append(steps,
		bat.Step{Name: "a mark can be made", Script: "mkdir -p /tmp && : > /tmp/mark && [ -e /tmp/mark ]"},
		bat.Step{Name: "all are tried at the same time, for each is waited for in vain", Script: attempts.String() + "wait"})
	prober := t.Cluster.Container("prober", "")
	prober.Requirements.MemoryMiB = 64 // for all that are tried at the same time
	tenant.ProbeIn(ctx, prober, append(steps, verdicts...)...)
}

// answersUDP sends to UDP 4789, VXLAN's port, and wants to be told that nobody listens there.
func answersUDP(traceroute, target string) string {
	return fmt.Sprintf("%s -n -q 1 -w 1 -m 3 -p 4789 %s 2>/dev/null | tail -n +2 | grep -qF %s", traceroute, target, target)
}

// maxTargets keeps the probe's time within bounds on a large cluster.
const maxTargets = 4

// targets are addresses on the underlay: some nodes', some CNCIs', and the controller's if it is there too.
func targets(ctx context.Context, t *bat.T) []string {
	var found []netip.Addr
	nodes, err := t.Cluster.Operator.Nodes(ctx, "")
	t.Need(err, "list nodes")
	for _, node := range nodes {
		found = append(found, node.Underlay...)
	}
	found = found[:min(len(found), maxTargets/2)]
	cncis, err := t.Cluster.Operator.CNCIs(ctx)
	t.Need(err, "list CNCIs")
	for _, cnci := range cncis {
		if underlay, err := netip.ParseAddr(cnci.Underlay); err == nil && len(found) < maxTargets {
			found = append(found, underlay)
		}
	}
	var texts []string
	for _, one := range found {
		texts = append(texts, one.String())
	}
	controller, err := netip.ParseAddr(t.Cluster.Host())
	if err == nil && len(found) > 0 {
		if near, err := found[0].Prefix(24); err == nil && near.Contains(controller) {
			texts = append(texts, controller.String())
		}
	}
	return texts
}
