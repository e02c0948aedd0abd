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
	Link     string // the bridge
	Prefix   netip.Prefix
	Gateway  netip.Addr
	Prefix6  netip.Prefix // it and Gateway6 are invalid where there is no IPv6
	Gateway6 netip.Addr
	Domain   string
	MTU      int
	Hosts    []network.Host
	Servers  []netip.Addr // DNS servers of the underlay; nil keeps those known before
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

// leaseTime6 is the shortest that dnsmasq has: a lease of DHCPv6 is its client's, which nobody else can give back, and keeps the address from
// the host that has it next.
const leaseTime6 = "2m"

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
	if s.Prefix6.IsValid() {
		lines = append(lines, renderConfig6(s)...)
	}
	return strings.Join(lines, "\n") + "\n"
}

// renderConfig6 has dnsmasq advertise itself as the router and tell hosts to ask for their address by DHCPv6 (RFC 4861, RFC 8415): none
// makes itself another, which its port would not pass.
func renderConfig6(s Subnet) []string {
	return []string{
		"enable-ra", "quiet-ra", "quiet-dhcp6",
		fmt.Sprintf("dhcp-range=%s,static,%d,%s", s.Prefix6.Masked().Addr(), s.Prefix6.Bits(), leaseTime6),
		fmt.Sprintf("dhcp-option=option6:dns-server,[%s]", s.Gateway6),
		"dhcp-option=option6:domain-search," + s.Domain,
	}
}

// renderHosts writes one line for each host, its IPv4 address first.
func renderHosts(hosts []network.Host) string {
	var lines []string
	for _, host := range hosts {
		words := []string{host.MAC}
		for _, address := range host.Addresses {
			if address.Is4() {
				words = slices.Insert(words, 1, address.String())
			} else {
				words = append(words, "["+address.String()+"]")
			}
		}
		lines = append(lines, strings.Join(words, ",")+"\n")
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}

// renderNames puts the full name first: it is the answer to a reverse query.
func renderNames(hosts []network.Host, domain string) string {
	var lines []string
	for _, host := range hosts {
		for _, address := range host.Addresses {
			lines = append(lines, fmt.Sprintf("%s %s.%s %s\n", address, host.Name, domain, host.Name))
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}

func renderServers(servers []netip.Addr) string {
	var text strings.Builder
	for _, server := range servers {
		fmt.Fprintf(&text, "server=%s\n", server)
	}
	return text.String()
}

func netMask(bits int) []byte {
	mask := ^uint32(0) << (32 - bits)
	return []byte{byte(mask >> 24), byte(mask >> 16), byte(mask >> 8), byte(mask)}
}
