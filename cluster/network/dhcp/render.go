package dhcp

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ciaocloud/ciao/cluster/network"
)

// Subnet is what dnsmasq serves.
type Subnet struct {
	Link    string // the bridge
	Prefix  netip.Prefix
	Gateway netip.Addr
	Domain  string
	MTU     int
	Hosts   []network.Host
	Servers []netip.Addr // DNS servers of the underlay; nil keeps those known before
}

// Names of the files in dnsmasq's directory.
const (
	configFile  = "dnsmasq.conf"
	hostsFile   = "hosts"   // for DHCP
	namesFile   = "names"   // for DNS
	serversFile = "servers" // to ask for other domains
	pidFile     = "pid"
	logFile     = "log"
)

// leaseTime is short, for the sake of hosts whose MTU or DNS domain changes.
const leaseTime = "1h"

// renderConfig is what dnsmasq reads once, at its start.
func renderConfig(directory string, s Subnet) string {
	mask := netip.AddrFrom4([4]byte(netMask(s.Prefix.Bits())))
	lines := []string{
		"# Written by ciao; changes are lost.",
		"interface=" + s.Link, "except-interface=lo", "bind-dynamic",
		"no-resolv", "no-hosts", "domain-needed", "bogus-priv",
		"domain=" + s.Domain, "local=/" + s.Domain + "/",
		"addn-hosts=" + filepath.Join(directory, namesFile), "servers-file=" + filepath.Join(directory, serversFile),
		fmt.Sprintf("dhcp-range=%s,static,%s,%s", s.Prefix.Masked().Addr(), mask, leaseTime),
		"dhcp-hostsfile=" + filepath.Join(directory, hostsFile),
		"dhcp-authoritative", "dhcp-ignore-names", "no-ping", "leasefile-ro", "quiet-dhcp",
		fmt.Sprintf("dhcp-lease-max=%d", 1<<(32-s.Prefix.Bits())),
		"dhcp-option=option:router," + s.Gateway.String(),
		"dhcp-option=option:dns-server," + s.Gateway.String(),
		"dhcp-option=option:domain-search," + s.Domain,
		fmt.Sprintf("dhcp-option=option:mtu,%d", s.MTU),
	}
	return strings.Join(lines, "\n") + "\n"
}

func renderHosts(hosts []network.Host) string {
	return renderLines(hosts, func(host network.Host, address netip.Addr) string {
		return fmt.Sprintf("%s,%s,%s", host.MAC, address, leaseTime)
	})
}

// renderNames puts the full name first: it is the answer to a reverse query.
func renderNames(hosts []network.Host, domain string) string {
	return renderLines(hosts, func(host network.Host, address netip.Addr) string {
		return fmt.Sprintf("%s %s.%s %s", address, host.Name, domain, host.Name)
	})
}

func renderServers(servers []netip.Addr) string {
	var text strings.Builder
	for _, server := range servers {
		fmt.Fprintf(&text, "server=%s\n", server)
	}
	return text.String()
}

func renderLines(hosts []network.Host, line func(network.Host, netip.Addr) string) string {
	var lines []string
	for _, host := range hosts {
		for _, address := range host.Addresses {
			if address.Is4() {
				lines = append(lines, line(host, address)+"\n")
			}
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}

func netMask(bits int) []byte {
	mask := ^uint32(0) << (32 - bits)
	return []byte{byte(mask >> 24), byte(mask >> 16), byte(mask >> 8), byte(mask)}
}
