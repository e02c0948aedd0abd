// Package network judges tenants' networks from inside: by containers that ping, ask for names and addresses, and try what they must
// not be able to do.
package network

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/ciaocloud/ciao/bat"
	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/api"
)

// Suite lists the tests.
func Suite() bat.Suite {
	return bat.Suite{Name: "network", Summary: "tenants' networks, seen from inside", Tests: []bat.Test{
		{
			Name:        "Neighbours",
			Summary:     "A tenant's instances reach each other, from their first instruction on.",
			Description: "A container looks at its link, address and route, and pings its gateway and its neighbour by address as its first actions; then by name, and asks for the neighbour's MAC.",
			Expected:    "One link with the listed address; both answer at once; the name answers; the MAC is the listed one.",
			Run:         neighbours,
		},
		{
			Name:        "IPv6",
			Summary:     "A tenant's instances reach each other by IPv6, from their first instruction on, and have names for it.",
			Description: "A container looks at its IPv6 address and route, and pings its gateway and its neighbour as its first actions, with a packet in fragments, too; asks the gateway for the neighbour's AAAA record, for the name of its address, and over IPv6.",
			Expected:    "One address beside the link's own; both answer at once; names and addresses are the listed ones.",
			Run:         ipv6,
		},
		{
			Name:        "IsolatedIPv6",
			Summary:     "A tenant's IPv6 addresses do not exist for another tenant.",
			Description: "A container pings an address and the gateway of another tenant, asks for its name, and pings all nodes of its link.",
			Expected:    "Nobody of the other tenant answers; the own neighbour does, and the other tenant's own neighbour reaches the address.",
			Run:         isolatedIPv6,
		},
		{
			Name:        "Names",
			Summary:     "The CNCI itself answers for the names of the tenant's instances.",
			Description: "Asks the gateway's DNS, not the engine's, for an instance by its full name, by UDP; for one that was deleted; for one that never was.",
			Expected:    "The listed address; no address; no address.",
			Run:         names,
		},
		{
			Name:        "DHCP",
			Summary:     "The CNCI lends each instance its own address, and nobody else does.",
			Description: "An instance asks for an address by DHCP while a neighbour answers every such request with another address.",
			Expected:    "Its own address and the CNCI as router; the neighbour's answer does not arrive.",
			Run:         dhcp,
		},
		{
			Name:        "IsolatedAddresses",
			Summary:     "What exists in one tenant's network does not exist in another's, though their addresses are the same.",
			Description: "Two tenants with the same range; one looks for an address that only the other uses, by ping and by ARP, and for a name, and counts who answers for an address that both use.",
			Expected:    "Nobody answers; for the shared address one host answers; within its own tenant the address answers.",
			Run:         isolatedAddresses,
		},
		{
			Name:        "IsolatedBroadcast",
			Summary:     "A broadcast stays in its tenant's network.",
			Description: "A container of each tenant listens for broadcasts; one tenant sends some.",
			Expected:    "Heard in its own network, not in the other.",
			Run:         isolatedBroadcast,
		},
		{
			Name:        "Underlay",
			Summary:     "Instances cannot reach the cluster's own machines and services.",
			Description: "From inside, tries SSNTP, the API, SSH and UDP 4789 of each node's, each CNCI's and the controller's address on the underlay, and pings them; the same over IPv6 where the cluster is on this machine and its underlay has IPv6.",
			Expected:    "Nothing answers, though the gateway and a neighbour do, by both families.",
			Run:         underlay,
		},
		{
			Name:        "Outside",
			Summary:     "Instances reach the outside, behind their CNCI's address.",
			Description: "Connects to --outside HOST:PORT; without it, where the cluster is on this machine, fetches 4 MiB by IPv4 and by IPv6 from a server in a namespace beyond the machine that has no way back to tenants' addresses.",
			Expected:    "Connected; every byte arrives; the server sees the machine's address. Where the underlay has no IPv6, nobody comes by that.",
			Run:         outside,
		},
		{
			Name:        "ExternalIP",
			Summary:     "An instance is reached by an external IP, and only while it has it.",
			Description: "Attaches an address of a pool to a tenant's server, which publishes its port on it, too; another tenant, the tenant itself and, where the cluster is on it, this machine connect to it, and ping it; detaches it.",
			Expected:    "All reach the server by it, and the other tenant not by the address behind it; detached, nobody answers; one event Mapped and one Unmapped.",
			Run:         externalIP,
		},
		{
			Name:        "ExternalIPv6",
			Summary:     "An instance is reached by an external IPv6 address, and only while it has it.",
			Description: "The same with an address of a pool of IPv6 addresses; skipped where there is none.",
			Expected:    "As for IPv4.",
			Run:         externalIPv6,
		},
		{
			Name:        "ExternalIPOfTheDeleted",
			Summary:     "An external IP outlives the instance that it was attached to.",
			Description: "Deletes an instance that has an external IP, and attaches that to another.",
			Expected:    "The tenant has it still, attached to nothing, then mapped to the other.",
			Run:         externalIPOfTheDeleted,
		},
		{
			Name:        "Ports",
			Summary:     "Published ports lead to their instance: those of the CNCI from the underlay, those of an external IP from everywhere.",
			Description: "Starts a process that publishes one port under a chosen and a named number of the CNCI, and under a low one of its external IP; asks for a second such instance; connects from this machine and from another tenant; deletes it and starts the next.",
			Expected:    "All three are shown, and answer; the second instance is refused, exit code 4; the other tenant reaches the external IP alone; the named number leads to the next instance.",
			Kind:        cluster.KindProcess,
			Run:         ports,
		},
		{
			Name:        "IdleCNCI",
			Summary:     "A CNCI without instances goes after its idle time, and another comes with the next instance.",
			Description: "Deletes a tenant's only instance, waits until its CNCI is gone, and creates another instance, which pings its gateway and asks it for its own name.",
			Expected:    "The CNCI is kept for controller.cnci_idle and gone soon after; the next instance has another, which serves it. Skipped where the idle time is not known or longer than a minute.",
			Run:         idleCNCI,
		},
		{
			Name:        "MTU",
			Summary:     "The MTU fits the underlay: full packets and long transfers arrive.",
			Description: "Pings a neighbour and the gateway with the largest packet that fits and with one that must be fragmented, and fetches 8 MiB from a neighbour.",
			Expected:    "All answer; the checksum is right.",
			Run:         mtu,
		},
	}}
}

// gateway is the address of a tenant's CNCI in its subnet: the first host's.
func gateway(ctx context.Context, t *bat.T, tenant *bat.Tenant) netip.Addr {
	return prefix(ctx, t, tenant).Masked().Addr().Next()
}

func prefix(ctx context.Context, t *bat.T, tenant *bat.Tenant) netip.Prefix {
	cncis, err := tenant.API.CNCIs(ctx)
	t.Need(err, "list CNCIs")
	if len(cncis) != 1 {
		t.Fatalf("the tenant has %d CNCIs, expected 1", len(cncis))
	}
	return cncis[0].Prefix
}

func address(i api.Instance) string { return i.Addresses[0].String() }

func neighbours(ctx context.Context, t *bat.T) {
	tenant := t.Tenant(ctx)
	one := tenant.Sleepers(ctx, "one")[0]
	gw := gateway(ctx, t, tenant).String()
	tenant.Probe(ctx,
		bat.Step{Name: "there is one link, with one address", Script: `[ "$(ls /sys/class/net | grep -vc '^lo$')" = 1 ] && [ "$(echo "$own" | wc -w)" = 1 ]`},
		bat.Step{Name: "the route goes over the CNCI", Script: `[ "$gateway" = ` + gw + ` ]`},
		bat.Step{Name: "the gateway answers at once", Script: "ping -c 1 -W 2 " + gw},
		bat.Step{Name: "the neighbour answers at once", Script: "ping -c 1 -W 2 " + address(one)},
		bat.Works("the neighbour answers by name", "ping -c 1 -W 2 one"),
		bat.Step{Name: "the neighbour's MAC is the listed one", Script: fmt.Sprintf(`arping -c 2 -w 3 -I "$link" %s | grep -qi '\[%s\]'`, address(one), one.MAC)})
}

// domain is how a shell inside finds the tenant's DNS domain.
const domain = `domain=$(sed -n 's/^search \([^ ]*\).*/\1/p' /etc/resolv.conf); `

func names(ctx context.Context, t *bat.T) {
	tenant := t.Tenant(ctx)
	there := tenant.Sleepers(ctx, "stays", "goes")
	stays, goes := there[0], there[1]
	found := func(i api.Instance) bat.Step {
		return bat.Step{Name: "the CNCI knows " + i.Name, Script: domain + `within 10 resolves ` + i.Name + `.$domain "$gateway" ` + address(i)}
	}
	tenant.Probe(ctx,
		bat.Step{Name: "there is a domain", Script: domain + `[ -n "$domain" ]`},
		found(stays), found(goes),
		bat.Step{Name: "a name that never was is not known", Script: domain + `! nslookup never-was.$domain "$gateway" 2>/dev/null | tail -n +3 | grep -q '^Address'`})
	tenant.Delete(ctx, goes)
	tenant.Probe(ctx,
		found(stays),
		bat.Step{Name: "the deleted name is forgotten", Script: domain + `within 10 refused resolves goes.$domain "$gateway" ` + address(goes)})
}

// askDHCP has a shell ask for an address; what it was lent is in the file /tmp/lent.
const askDHCP = `printf '#!/bin/sh\n[ "$1" = bound ] && echo "$ip $router" > /tmp/lent\nexit 0\n' > /tmp/script; chmod +x /tmp/script
rm -f /tmp/lent; udhcpc -f -n -q -t 4 -T 3 -i "$link" -s /tmp/script`

// listener is a container that answers DHCP requests with addresses of its own, and ends with the code heard when it got one. It is
// how these tests hear a broadcast with busybox alone.
func listener(t *bat.T) api.CreateWorkload {
	return t.Cluster.Container("listener", `trap 'exit 0' TERM
link=$(ls /sys/class/net | grep -v '^lo$' | head -n 1)
touch /tmp/leases
printf 'start 172.31.255.200\nend 172.31.255.210\ninterface %s\nlease_file /tmp/leases\npidfile /tmp/pid\nremaining no\noption subnet 255.255.255.0\n' "$link" > /tmp/conf
udhcpd -f /tmp/conf > /tmp/log 2>&1 &
while ! grep -q OFFER /tmp/log; do sleep 1 & wait $!; done
exit 7`)
}

// heard is the exit code of a listener that heard something.
const heard = 7
