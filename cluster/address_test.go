package cluster

import (
	"net"
	"net/netip"
	"testing"
)

func TestAddressesOfAHostNumber(t *testing.T) {
	for _, test := range []struct {
		prefix string
		host   uint32
		want   string
	}{
		{"172.16.4.0/22", 1, "172.16.4.1"},
		{"172.16.4.0/22", 515, "172.16.6.3"},
		{"172.16.7.9/22", 2, "172.16.4.2"},
		{"fd3e:9a4c:7100:7d1::/64", 1, "fd3e:9a4c:7100:7d1::1"},
		{"fd3e:9a4c:7100:7d1::/64", 65539, "fd3e:9a4c:7100:7d1::1:3"},
	} {
		if got := HostAddress(netip.MustParsePrefix(test.prefix), test.host).String(); got != test.want {
			t.Errorf("host %d of %s is %s, want %s", test.host, test.prefix, got, test.want)
		}
	}
}

func TestSubnetsHaveAPrefixEach(t *testing.T) {
	within := netip.MustParsePrefix("fd3e:9a4c:7100::/40")
	for key, want := range map[uint32]string{
		1:         "fd3e:9a4c:7100:1::/64",
		0x0107d1:  "fd3e:9a4c:7101:7d1::/64",
		1<<24 - 1: "fd3e:9a4c:71ff:ffff::/64",
	} {
		got := SubnetPrefix6(within, key)
		if got.String() != want || !within.Overlaps(got) {
			t.Errorf("key %d has %s, want %s", key, got, want)
		}
	}
}

func TestLinkLocal(t *testing.T) {
	mac, err := net.ParseMAC("02:00:ac:10:00:02")
	if got := LinkLocal(mac).String(); err != nil || got != "fe80::acff:fe10:2" {
		t.Errorf("got %s, %v", got, err)
	}
}
