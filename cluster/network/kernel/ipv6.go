package kernel

import (
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ciaocloud/ciao/cluster/network"
	"github.com/ciaocloud/ciao/cluster/network/netns"
)

// setting is one of a link's settings for IPv6.
type setting struct{ name, value string }

// setIPv6 makes a link's settings for IPv6, in order. Those that are as they should be are not written: disable_ipv6 has effects.
func setIPv6(namespace *os.File, link string, settings ...setting) error {
	return netns.Inside(namespace, func() error {
		for _, s := range settings {
			path := filepath.Join("/proc/sys/net/ipv6/conf", link, s.name)
			have, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			if strings.TrimSpace(string(have)) == s.value {
				continue
			}
			if err := os.WriteFile(path, []byte(s.value), 0); err != nil {
				return err
			}
		}
		return nil
	})
}

// hasIPv6 is false on a machine whose kernel was started without IPv6.
func hasIPv6() bool {
	_, err := os.Stat("/proc/sys/net/ipv6")
	return !errors.Is(err, fs.ErrNotExist)
}

// withoutIPv6 is what is wanted of a CNCI on such a machine.
func withoutIPv6(wanted network.Concentrator) network.Concentrator {
	wanted.Subnet.Prefix6, wanted.Subnet.Gateway6 = netip.Prefix{}, netip.Addr{}
	wanted.Hosts = slices.Clone(wanted.Hosts)
	wanted.Mappings = slices.DeleteFunc(slices.Clone(wanted.Mappings), func(m network.Mapping) bool { return m.External.Is6() })
	for i, host := range wanted.Hosts {
		wanted.Hosts[i].Addresses = slices.DeleteFunc(slices.Clone(host.Addresses), netip.Addr.Is6)
	}
	return wanted
}

// unmapped6 says of the external IPv6 addresses why such a machine does not map them.
func unmapped6(wanted network.Concentrator) (unable []network.Unclaimed) {
	for _, m := range wanted.Mappings {
		if m.External.Is6() {
			unable = append(unable, network.Unclaimed{External: m.External, Problem: "the kernel of the CNCI's node was started without IPv6"})
		}
	}
	return unable
}

// listening are the settings of a link that makes itself addresses of what routers advertise. It asks routers at once and each second, and asks nobody
// whether its own addresses are in use: they are of its MAC, which no other has.
var listening = []setting{
	{"accept_dad", "0"}, {"router_solicitation_delay", "0"}, {"router_solicitation_interval", "1"}, {"accept_ra", "2"}, {"disable_ipv6", "0"},
}

// listen6 has the link to the underlay make itself addresses of what routers there advertise (RFC 4862), though it forwards.
func (u *underlay) listen6() error {
	if err := setIPv6(u.namespace, network.Underlay, listening...); err != nil {
		return unavailable("bring the link to the underlay into its IPv6", err)
	}
	return nil
}

// prefixes6 are those of the addresses that the link to the underlay has made itself.
func (u *underlay) prefixes6() ([]netip.Prefix, error) {
	link, err := u.links.LinkByName(network.Underlay)
	if err != nil {
		return nil, unavailable("find the link to the underlay", err)
	}
	addresses, err := whole(func() ([]netlink.Addr, error) { return u.links.AddrList(link, unix.AF_INET6) })
	if err != nil {
		return nil, unavailable("list IPv6 addresses of the underlay", err)
	}
	var prefixes []netip.Prefix
	for _, address := range addresses {
		if prefix := prefixOf(address); !prefix.Addr().IsLinkLocalUnicast() && !external(address) {
			prefixes = append(prefixes, prefix.Masked())
		}
	}
	slices.SortFunc(prefixes, netip.Prefix.Compare)
	return slices.Compact(prefixes), nil
}
