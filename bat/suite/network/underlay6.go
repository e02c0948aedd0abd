package network

import (
	"context"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"

	"github.com/ciaocloud/ciao/bat"
	"github.com/ciaocloud/ciao/cluster/api"
)

// hasIPv6 is false on a machine whose kernel was started without IPv6.
func hasIPv6() bool {
	_, err := os.Stat("/proc/sys/net/ipv6")
	return err == nil
}

// underlay6 is this machine's link on the underlay, and the prefixes of IPv6 that it has there with its addresses. Without any there is no
// way out for tenants' IPv6; an empty name says that the machine is not on the underlay.
func underlay6(ctx context.Context, t *bat.T) (link string, own []netip.Prefix) {
	nodes, err := t.Cluster.Operator.Nodes(ctx, "")
	t.Need(err, "list nodes")
	links, err := net.Interfaces()
	t.Need(err, "list links")
	for _, one := range links {
		addresses, err := one.Addrs()
		if err != nil {
			continue // it has gone
		}
		prefixes := prefixesOf(addresses)
		near := func(p netip.Prefix) bool {
			return slices.ContainsFunc(nodes, func(n api.Node) bool { return slices.ContainsFunc(n.Underlay, p.Contains) })
		}
		if slices.ContainsFunc(prefixes, near) {
			return one.Name, slices.DeleteFunc(prefixes, func(p netip.Prefix) bool { return p.Addr().Is4() || p.Addr().IsLinkLocalUnicast() })
		}
	}
	return "", nil
}

func prefixesOf(addresses []net.Addr) (prefixes []netip.Prefix) {
	for _, address := range addresses {
		if prefix, err := netip.ParsePrefix(address.String()); err == nil {
			prefixes = append(prefixes, prefix)
		}
	}
	return prefixes
}

// targets6 are IPv6 addresses on the underlay: this machine's own, and those of CNCIs, of which one may be so young that it has none yet.
func targets6(ctx context.Context, t *bat.T) (found []string) {
	link, own := underlay6(ctx, t)
	if len(own) == 0 || os.Geteuid() != 0 {
		t.Logf("no IPv6 address on the underlay is known: IPv6 is not judged")
		return nil
	}
	for _, prefix := range own {
		found = append(found, prefix.Addr().String())
	}
	ctx, cancel := context.WithTimeout(ctx, t.Cluster.Scale(bat.SettleTime))
	defer cancel()
	for cncis := []string(nil); ctx.Err() == nil; {
		if cncis = answering(ctx, neighbours6(ctx, t, link, own[0])); len(cncis) > 0 {
			found = append(found[:min(len(found), maxTargets/2)], cncis...)
			return found[:min(len(found), maxTargets)]
		}
	}
	t.Logf("no CNCI has an IPv6 address on the underlay")
	return found
}

// neighbours6 are the addresses that CNCIs would have, some of them gone: a CNCI makes its address of what routers advertise (RFC 4862), so
// that it has the last half in common with its link-local address, by which it answers a ping of all nodes.
func neighbours6(ctx context.Context, t *bat.T, link string, own netip.Prefix) (found []string) {
	_ = exec.CommandContext(ctx, "ping", "-6", "-c", "1", "-w", "1", "ff02::1%"+link).Run() // whoever answers becomes a neighbour
	said, err := exec.CommandContext(ctx, "ip", "-6", "neigh", "show", "dev", link).Output()
	if ctx.Err() == nil {
		t.Need(err, "list the neighbours of %s", link)
	}
	for line := range strings.Lines(string(said)) {
		word, _, _ := strings.Cut(line, " ")
		if neighbour, err := netip.ParseAddr(word); err == nil && neighbour.IsLinkLocalUnicast() {
			found = append(found, hostIn(own, neighbour).String())
		}
	}
	return found
}

// answering are the addresses that answer this machine.
func answering(ctx context.Context, targets []string) (found []string) {
	answers := make([]bool, len(targets))
	var all sync.WaitGroup
	for n, target := range targets {
		all.Go(func() {
			answers[n] = exec.CommandContext(ctx, "ping", "-6", "-c", "1", "-W", "1", target).Run() == nil
		})
	}
	all.Wait()
	for n, target := range targets {
		if answers[n] {
			found = append(found, target)
		}
	}
	return found
}

// hostIn is the address in a /64 that has the last half of another.
func hostIn(prefix netip.Prefix, other netip.Addr) netip.Addr {
	address, host := prefix.Addr().As16(), other.As16()
	copy(address[8:], host[8:])
	return netip.AddrFrom16(address)
}
