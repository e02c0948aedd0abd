package network

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/ciaocloud/ciao/bat"
)

// gateway6 is the IPv6 address of a tenant's CNCI in its subnet.
func gateway6(ctx context.Context, t *bat.T, tenant *bat.Tenant) string {
	cncis, err := tenant.API.CNCIs(ctx)
	t.Need(err, "list CNCIs")
	if len(cncis) != 1 {
		t.Fatalf("the tenant has %d CNCIs, expected 1", len(cncis))
	}
	prefix, err := netip.ParsePrefix(cncis[0].Prefix6)
	t.Need(err, "the subnet's IPv6 prefix")
	return prefix.Masked().Addr().Next().String()
}

func ipv6(ctx context.Context, t *bat.T) {
	tenant := t.Tenant(ctx)
	one := tenant.Sleepers(ctx, "one")[0]
	there, gw := one.Addresses[1].String(), gateway6(ctx, t, tenant)
	tenant.Probe(ctx,
		bat.Step{Name: "there is one address beside the link's own", Script: `[ "$(ip -6 addr show "$link" | grep -c 'inet6 f[cd]')" = 1 ]`},
		bat.Step{Name: "the route goes over the CNCI", Script: `ip -6 route | grep -q '^default via ` + gw + ` '`},
		bat.Step{Name: "the gateway answers at once", Script: "ping -c 1 -W 2 " + gw},
		bat.Step{Name: "the neighbour answers at once", Script: "ping -c 1 -W 2 " + there},
		bat.Works("the neighbour answers with a packet in fragments", "ping -c 1 -W 2 -s 3000 "+there),
		bat.Step{Name: "the name has the address", Script: domain + fmt.Sprintf(`within 10 resolves one.$domain "$gateway" %s`, there)},
		bat.Step{Name: "the address has the name", Script: domain + fmt.Sprintf(`within 10 resolves %s "$gateway" one.$domain`, there)},
		bat.Step{Name: "the gateway's DNS answers over IPv6", Script: domain + fmt.Sprintf(`within 10 resolves one.$domain %s %s`, gw, there)})
}

func isolatedIPv6(ctx context.Context, t *bat.T) {
	blue, green := t.Tenant(ctx), t.Tenant(ctx)
	own := blue.Sleepers(ctx, "own")[0].Addresses[1].String()
	foreign := green.Sleepers(ctx, "foreign")[0].Addresses[1].String()
	blue.Probe(ctx,
		bat.Step{Name: "an address of the other tenant does not answer", Script: "! ping -c 2 -W 2 " + foreign},
		bat.Step{Name: "nor its gateway", Script: "! ping -c 2 -W 2 " + gateway6(ctx, t, green)},
		bat.Step{Name: "nor the other tenant's name", Script: domain + `! resolves foreign.$domain "$gateway" ` + foreign},
		bat.Step{Name: "its own neighbour answers", Script: "ping -c 1 -W 2 " + own},
		bat.Step{Name: "all nodes of its link are its own tenant's", Script: `! ping -c 3 -W 2 "ff02::1%$link" | grep -F ` + foreign})
	green.Probe(ctx, bat.Step{Name: "in its own network the address answers", Script: "ping -c 1 -W 2 " + foreign})
}
