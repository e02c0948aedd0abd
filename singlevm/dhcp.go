package singlevm

import (
	"bufio"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
)

// dhcpArguments make dnsmasq the data centre's DHCP and DNS server on the underlay, and its router of IPv6, and nothing else: it reads no file of the
// machine's own dnsmasq, and gives out no address that answers already.
func (s *Setup) dhcpArguments() []string {
	arguments := []string{
		"--keep-in-foreground", "--conf-file=/dev/null", "--log-facility=-", "--user=root",
		"--interface=" + underlayHost, "--except-interface=lo", "--bind-interfaces",
		"--dhcp-range=" + leaseFirst + "," + leaseLast + ",255.255.255.0,1h",
		"--dhcp-option=option:router," + hostAddress, "--dhcp-option=option:dns-server," + hostAddress,
		"--dhcp-leasefile=" + s.layout.leases(), "--dhcp-authoritative", "--no-ping", "--no-hosts",
		"--pid-file=" + filepath.Join(s.layout.gateway(), "dnsmasq.pid"), "--cache-size=1000",
	}
	if hasIPv6() {
		arguments = append(arguments, "--enable-ra", "--dhcp-range="+netip.MustParsePrefix(underlayPrefix6).Addr().String()+",ra-only,64,1h")
	}
	servers := upstreams("/etc/resolv.conf")
	arguments = append(arguments, "--no-resolv")
	for _, server := range servers {
		arguments = append(arguments, "--server="+server)
	}
	return arguments
}

// upstreams are the machine's own DNS servers.
func upstreams(file string) []string {
	data, err := os.Open(file)
	if err != nil {
		return nil
	}
	defer data.Close()
	var servers []string
	for lines := bufio.NewScanner(data); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 || fields[0] != "nameserver" {
			continue
		}
		if address, err := netip.ParseAddr(fields[1]); err == nil {
			servers = append(servers, address.String())
		}
	}
	return servers
}
