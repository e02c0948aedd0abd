package controller

import (
	"net/netip"
	"testing"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/ipam"
)

func TestLoginPorts(t *testing.T) {
	for _, c := range []struct {
		prefix, address string
		kind            cluster.Kind
		want            uint16
	}{
		{"172.16.0.0/24", "172.16.0.2", cluster.KindVM, 33002},
		{"172.16.5.0/24", "172.16.5.7", cluster.KindVM, 33000 + 256*5 + 7},
		{"172.16.126.0/24", "172.16.126.254", cluster.KindVM, 33000 + 256*126 + 254},
		{"172.16.127.0/24", "172.16.127.9", cluster.KindVM, 33009}, // beyond 65535 for the last of them
		{"172.16.255.0/24", "172.16.255.254", cluster.KindVM, 33254},
		{"172.17.0.0/16", "172.17.3.4", cluster.KindVM, 33000 + 256*3 + 4},
		{"172.16.0.0/24", "172.16.0.2", cluster.KindContainer, 0},
		{"172.16.0.0/24", "172.16.0.2", cluster.KindProcess, 0},
	} {
		i := cluster.Instance{Kind: c.kind, Addresses: []netip.Addr{netip.MustParseAddr("fd00::2"), netip.MustParseAddr(c.address)}}
		if got := loginPort(i, netip.MustParsePrefix(c.prefix)); got != c.want {
			t.Errorf("%s %s of %s: %d, want %d", c.kind, c.address, c.prefix, got, c.want)
		}
	}
}

// No two instances of a subnet share a port, whatever the subnet.
func TestLoginPortsAreUnique(t *testing.T) {
	for _, text := range []string{"172.16.120.0/21", "172.16.112.0/20", "172.16.127.0/24", "172.31.240.0/20", "172.20.0.0/16", "172.16.255.248/29"} {
		prefix := netip.MustParsePrefix(text)
		seen := map[uint16]netip.Addr{}
		for host := range uint32(ipam.Capacity(prefix)) {
			address := cluster.HostAddress(prefix, host+ipam.Gateway+1)
			port := loginPort(cluster.Instance{Kind: cluster.KindVM, Addresses: []netip.Addr{address}}, prefix)
			if other, used := seen[port]; used || port <= firstLoginPort {
				t.Fatalf("%s: %s has the port %d of %s", prefix, address, port, other)
			}
			seen[port] = address
		}
	}
}
