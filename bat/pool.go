package bat

import (
	"context"
	"net/netip"
	"strings"

	"github.com/ciaocloud/ciao/cluster/api"
)

// FreePool names a pool of external IPs of a family (netip.Addr.Is4 or Is6) that has an address left; empty where none has.
func (t *T) FreePool(ctx context.Context, family func(netip.Addr) bool) string {
	pools, err := t.Cluster.Operator.Pools(ctx)
	t.Need(err, "list pools")
	for _, pool := range pools {
		if pool.Free > 0 && family(firstOf(pool)) {
			return pool.Name
		}
	}
	return ""
}

// firstOf is the first address of a pool, which says of which family all are.
func firstOf(pool api.Pool) netip.Addr {
	for _, text := range pool.Addresses {
		text, _, _ = strings.Cut(text, "/")
		if address, err := netip.ParseAddr(text); err == nil {
			return address
		}
	}
	return netip.Addr{}
}
