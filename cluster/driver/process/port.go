package process

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/driver"
	"github.com/ciaocloud/ciao/cluster/network/netns"
)

// portName is what a process sees its port as.
const portName = "eth0"

// settings are of every process's network namespace: ping and the well-known TCP ports need no root there (icmp(7); kernel,
// networking/ip-sysctl), as in the Docker Engine's.
var settings = map[string]string{
	"/proc/sys/net/ipv4/ping_group_range":           "0 2147483647",
	"/proc/sys/net/ipv4/ip_unprivileged_port_start": "0",
}

// connect makes the instance's network namespace, which lasts until the instance is deleted, and sees that it holds the configured port.
func (d *Driver) connect(id string, n driver.Network) error {
	namespace, err := netns.Make(d.mark(id), func(*os.File) error { return nil })
	if err != nil {
		return err
	}
	defer namespace.Close()
	fresh, err := take(n.Port, namespace)
	if err != nil {
		return err
	}
	if err := netns.Inside(namespace, func() error { return configure(n, fresh) }); err != nil {
		return fmt.Errorf("configure the port %s: %w", n.Port, err)
	}
	return nil
}

// take moves a port that was newly made into the namespace; one that has been there since an earlier start is not here.
func take(port string, namespace *os.File) (fresh bool, err error) {
	link, err := netlink.LinkByName(port)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return false, nil
	}
	if err == nil {
		err = netlink.LinkSetNsFd(link, int(namespace.Fd()))
	}
	if err != nil {
		return false, fmt.Errorf("take the port %s: %w", port, err)
	}
	return true, nil
}

// configure is called in the namespace.
func configure(n driver.Network, fresh bool) error {
	for name, value := range settings {
		if err := os.WriteFile(name, []byte(value), 0); err != nil {
			return err
		}
	}
	loopback, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(loopback); err != nil {
		return err
	}
	link, err := adopt(n, fresh)
	if err != nil {
		return err
	}
	mac, err := net.ParseMAC(n.MAC)
	if err != nil {
		return fmt.Errorf("%w: %w", cluster.ErrInvalid, err)
	}
	if err := netlink.LinkSetHardwareAddr(link, mac); err != nil {
		return err
	}
	if n.MTU > 0 {
		if err := netlink.LinkSetMTU(link, n.MTU); err != nil {
			return err
		}
	}
	if ipv6() { // what a neighbour advertises is no router
		if err := os.WriteFile("/proc/sys/net/ipv6/conf/"+portName+"/accept_ra", []byte("0"), 0); err != nil {
			return err
		}
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return err
	}
	return address(link, n)
}

// adopt finds the port, and gives it the name by which the process knows it.
func adopt(n driver.Network, fresh bool) (netlink.Link, error) {
	old, err := netlink.LinkByName(portName)
	if err == nil && !fresh {
		return old, nil
	}
	if err == nil { // it has lost its other end, or is about to
		if err := netlink.LinkDel(old); err != nil && !errors.Is(err, unix.ENODEV) {
			return nil, err
		}
	}
	link, err := netlink.LinkByName(n.Port)
	if err != nil {
		return nil, fmt.Errorf("%w: the port is not there: %w", cluster.ErrUnavailable, err)
	}
	return link, netlink.LinkSetName(link, portName)
}

// address gives the port its addresses and the ways to the gateways, of both families.
func address(link netlink.Link, n driver.Network) error {
	for _, one := range n.Addresses {
		prefix := n.Prefix
		if one.Is6() {
			prefix = n.Prefix6
		}
		if !prefix.IsValid() || one.Is6() && !ipv6() {
			continue
		}
		// Nobody else can have the address, so that no time is spent on asking.
		wanted := &netlink.Addr{IPNet: ipNet(netip.PrefixFrom(one, prefix.Bits())), Flags: unix.IFA_F_NODAD}
		if err := netlink.AddrReplace(link, wanted); err != nil {
			return fmt.Errorf("add %s: %w", one, err)
		}
	}
	for _, gateway := range []netip.Addr{n.Gateway, n.Gateway6} {
		if !gateway.IsValid() || gateway.Is6() && !ipv6() {
			continue
		}
		if err := netlink.RouteReplace(&netlink.Route{LinkIndex: link.Attrs().Index, Gw: gateway.AsSlice()}); err != nil {
			return fmt.Errorf("add the route by %s: %w", gateway, err)
		}
	}
	return nil
}

// ipv6 says whether the node's kernel has IPv6.
func ipv6() bool {
	_, err := os.Stat("/proc/sys/net/ipv6")
	return err == nil
}

func ipNet(prefix netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: prefix.Addr().AsSlice(), Mask: net.CIDRMask(prefix.Bits(), prefix.Addr().BitLen())}
}
