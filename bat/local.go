package bat

import (
	"context"
	"net"
	"net/netip"
	"slices"
)

// Local says whether the cluster is on this machine, from which its underlay is reached then: the controller's address is one of its own.
func (c *Cluster) Local(ctx context.Context) bool {
	addresses, err := net.DefaultResolver.LookupNetIP(ctx, "ip4", c.Host())
	if err != nil {
		return false
	}
	own, err := net.InterfaceAddrs()
	if err != nil {
		return false
	}
	return slices.ContainsFunc(own, func(a net.Addr) bool {
		prefix, err := netip.ParsePrefix(a.String())
		return err == nil && slices.ContainsFunc(addresses, func(c netip.Addr) bool { return c.Unmap() == prefix.Addr() })
	})
}
