package kernel

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/network"
	"github.com/ciaocloud/ciao/cluster/network/dhcp"
	"github.com/ciaocloud/ciao/cluster/network/netns"
)

// Limits of waiting for the underlay's DHCP server.
const (
	acquireLimit = 10 * time.Second
	confirmLimit = 3 * time.Second // when there is an address already
	retryLease   = 5 * time.Second
)

// underlay is the address of one namespace on the underlay: static, or lent and renewed. Its methods are called one at a time.
type underlay struct {
	namespace *os.File
	links     *netlink.Handle
	static    netip.Prefix
	router    netip.Addr
	log       *slog.Logger

	lease dhcp.Lease // zero before there is one
	renew time.Time  // when to ask again
}

// addUnderlay makes a macvlan (bridge mode: all on one parent reach each other) on parent in the host's namespace, directly in
// the target, or completes the one that is there. Its MAC is what the DHCP server knows it by.
func addUnderlay(host, target *os.File, parent string, mac net.HardwareAddr, mark string) error {
	inner, err := openHandle(target)
	if err != nil {
		return err
	}
	defer inner.Close()
	link, err := inner.LinkByName(network.Underlay)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		if err = makeUnderlay(host, target, parent, mac); err == nil {
			link, err = inner.LinkByName(network.Underlay)
		}
	}
	if err != nil {
		return unavailable("link to the underlay", err)
	}
	if link.Attrs().Alias != mark {
		if err := inner.LinkSetAlias(link, mark); err != nil {
			return unavailable("mark the link to the underlay", err)
		}
	}
	if err := inner.LinkSetUp(link); err != nil {
		return unavailable("bring the link to the underlay up", err)
	}
	return nil
}

func makeUnderlay(host, target *os.File, parent string, mac net.HardwareAddr) error {
	outer, err := openHandle(host)
	if err != nil {
		return err
	}
	defer outer.Close()
	on, err := outer.LinkByName(parent)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return fmt.Errorf("there is no link %s to reach the underlay by (make it, or name another in the cluster file): %w", parent, cluster.ErrUnavailable)
	}
	if err != nil {
		return err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.ParentIndex, attrs.HardwareAddr = network.Underlay, on.Attrs().Index, mac
	attrs.Namespace = netlink.NsFd(target.Fd())
	err = outer.LinkAdd(&netlink.Macvlan{LinkAttrs: attrs, Mode: netlink.MACVLAN_MODE_BRIDGE})
	return ignore(err, unix.EEXIST)
}

// ready returns the address and the MTU of the underlay, waiting for a lease if need be.
func (u *underlay) ready(ctx context.Context) (netip.Prefix, int, error) {
	link, err := u.links.LinkByName(network.Underlay)
	if err != nil {
		return netip.Prefix{}, 0, unavailable("find the link to the underlay", err)
	}
	have, err := u.current(link)
	if err != nil {
		return netip.Prefix{}, 0, err
	}
	mtu := link.Attrs().MTU
	switch {
	case u.static.IsValid() && have == u.static:
		return have, mtu, nil
	case u.static.IsValid():
		return u.static, mtu, u.settle(link, dhcp.Lease{Address: u.static, Router: u.router})
	case have.IsValid() && have == u.lease.Address:
		return have, mtu, nil
	}
	prefix, err := u.acquire(ctx, link, have)
	return prefix, mtu, err
}

// acquire asks for a lease. An address that is there and still valid, lent to a predecessor, is kept when no server answers.
func (u *underlay) acquire(ctx context.Context, link netlink.Link, have netip.Prefix) (netip.Prefix, error) {
	limit := acquireLimit
	if have.IsValid() {
		limit = confirmLimit
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	lease, err := u.client(link).Acquire(ctx, have.Addr())
	if err != nil && have.IsValid() {
		u.log.Warn("no DHCP server confirms the underlay address; keeping it while it is valid", "address", have, "err", err)
		u.renew = time.Now().Add(retryLease)
		return have, nil
	}
	if err != nil {
		return netip.Prefix{}, err
	}
	return lease.Address, u.take(link, lease)
}

// keep renews the lease when it is time, and reports whether the address has changed. Call it again at u.renew.
func (u *underlay) keep(ctx context.Context) (changed bool) {
	now := time.Now()
	if u.static.IsValid() || u.renew.IsZero() || !due(u.renew, now, now.Round(0)) {
		return false
	}
	link, err := u.links.LinkByName(network.Underlay)
	if err != nil {
		u.renew = time.Now().Add(retryLease)
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, acquireLimit)
	defer cancel()
	before := u.lease.Address
	lease := dhcp.Lease{}
	if before.IsValid() {
		lease, err = u.client(link).Renew(ctx, u.lease)
	}
	if err != nil || !before.IsValid() {
		lease, err = u.client(link).Acquire(ctx, before.Addr())
	}
	if err == nil {
		err = u.take(link, lease)
	}
	if err != nil {
		u.log.Warn("the underlay's lease is not renewed; trying again", "address", before, "err", err)
		u.renew = time.Now().Add(retryLease)
		return false
	}
	return before.IsValid() && before != lease.Address
}

// due says whether a time has come by the monotonic clock or by the wall clock. The server's clock may have gone on while this machine slept, which
// the monotonic one does not count (clock_gettime(2)), and may have jumped with ours.
func due(at, now, wall time.Time) bool { return !now.Before(at) || !wall.Before(at.Round(0)) }

// release gives the address back to the server, so that a pool does not run dry of addresses of namespaces that are gone.
func (u *underlay) release(ctx context.Context) error {
	link, err := u.links.LinkByName(network.Underlay)
	if err != nil || u.static.IsValid() {
		return nil
	}
	have, err := u.current(link)
	if err != nil || !have.IsValid() {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, confirmLimit)
	defer cancel()
	client := u.client(link)
	lease, err := client.Acquire(ctx, have.Addr()) // the server is not known any more: ask who lends it
	if err != nil {
		return nil // nobody does
	}
	return client.Release(lease)
}

func (u *underlay) client(link netlink.Link) *dhcp.Client {
	return &dhcp.Client{Link: network.Underlay, MAC: link.Attrs().HardwareAddr, Inside: func(f func() error) error { return netns.Inside(u.namespace, f) }}
}

// current is the address that the link has; zero without one.
func (u *underlay) current(link netlink.Link) (netip.Prefix, error) {
	addresses, err := whole(func() ([]netlink.Addr, error) { return u.links.AddrList(link, unix.AF_INET) })
	if err != nil {
		return netip.Prefix{}, unavailable("list addresses of the underlay", err)
	}
	for _, address := range addresses {
		ip, ok := netip.AddrFromSlice(address.IP.To4())
		bits, _ := address.Mask.Size()
		if prefix := netip.PrefixFrom(ip, bits); ok && !external(address) && (prefix == u.lease.Address || !u.lease.Address.IsValid()) {
			return prefix, nil
		}
	}
	return netip.Prefix{}, nil
}

func (u *underlay) take(link netlink.Link, lease dhcp.Lease) error {
	if err := u.settle(link, lease); err != nil {
		return err
	}
	u.lease, u.renew = lease, lease.Since.Add(lease.Length/2)
	return nil
}

// settle gives the link the lease's address and no other but external ones, for as long as the lease is: the kernel takes it away when
// nobody renews.
func (u *underlay) settle(link netlink.Link, lease dhcp.Lease) error {
	others, err := whole(func() ([]netlink.Addr, error) { return u.links.AddrList(link, unix.AF_INET) })
	if err != nil {
		return unavailable("list addresses of the underlay", err)
	}
	wanted := &netlink.Addr{IPNet: prefixNet(lease.Address), ValidLft: int(lease.Length.Seconds()), PreferedLft: int(lease.Length.Seconds())}
	if err := u.links.AddrReplace(link, wanted); err != nil {
		return unavailable("set the underlay address", err)
	}
	for _, other := range others {
		if !other.IPNet.IP.Equal(wanted.IPNet.IP) && !external(other) {
			if err := ignore(u.links.AddrDel(link, &other), unix.EADDRNOTAVAIL); err != nil {
				return unavailable("remove an old underlay address", err)
			}
		}
	}
	if !lease.Router.Is4() {
		return nil
	}
	route := &netlink.Route{LinkIndex: link.Attrs().Index, Gw: lease.Router.AsSlice()}
	if err := u.links.RouteReplace(route); err != nil {
		return unavailable("set the default route", err)
	}
	return nil
}

// there reports whether the link exists.
func (u *underlay) there() bool {
	_, err := u.links.LinkByName(network.Underlay)
	return err == nil
}

// releaseUnderlay gives the address of a namespace that is being removed back.
func releaseUnderlay(ctx context.Context, namespace *os.File, static netip.Prefix, log *slog.Logger) error {
	links, err := openHandle(namespace)
	if err != nil {
		return err
	}
	defer links.Close()
	u := underlay{namespace: namespace, links: links, static: static, log: log}
	if err := u.release(ctx); err != nil {
		log.Warn("the underlay address is not given back; its lease will run out", "err", err)
	}
	return nil
}
