package controller

import (
	"context"
	"net/netip"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/ipam"
	"github.com/ciaocloud/ciao/cluster/store"
)

// firstLoginPort is the port of the host number 0 of a subnet, or of a range of 65,536 addresses.
const firstLoginPort = 33000

// loginPort is the port of its CNCI that leads to an instance's SSH server; zero for kinds that have none by nature. For an address a.b.c.d
// it is 33000+256*c+d, as ciao had it, where that is a port for all of the subnet, and else 33000 and the host number: both are unique
// in a subnet, and follow from the address alone.
func loginPort(i cluster.Instance, prefix netip.Prefix) uint16 {
	host, ok := cluster.HostNumber(prefix, internalAddress(i.Addresses))
	if i.Kind != cluster.KindVM || !ok {
		return 0
	}
	base := prefix.Masked().Addr().As4()
	offset := uint32(base[2])<<8 | uint32(base[3])
	if firstLoginPort+offset+uint32(ipam.Capacity(prefix))+ipam.Gateway > 1<<16-1 {
		offset = 0
	}
	return uint16(firstLoginPort + offset + host)
}

// Login is where an instance's SSH server is reached from outside its network; invalid when it is not. It reads the store's memory, which
// waits for nothing.
func (c *Controller) Login(i cluster.Instance) (endpoint netip.AddrPort) {
	if i.Kind != cluster.KindVM {
		return endpoint
	}
	err := c.view(context.Background(), func(r store.Reader) error {
		subnet, err := subnets.Get(r, i.Subnet)
		if err != nil {
			return err
		}
		cnci, ok := cnciOf(r, subnet)
		if port := loginPort(i, subnet.Prefix); ok && cnci.Underlay.IsValid() && port != 0 {
			endpoint = netip.AddrPortFrom(cnci.Underlay, port)
		}
		return nil
	})
	if err != nil {
		return netip.AddrPort{} // it has no subnet yet
	}
	return endpoint
}
