package kernel_test

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ciaocloud/ciao/cluster/network"
	"github.com/ciaocloud/ciao/cluster/network/networktest"
)

// A virtual machine is heard when it asks for its address, by DHCP or DHCPv6, and when it uses it, and not by what it sends before that; a
// container never is. The frame after each arrives: so the one before has passed the filter.
func TestGuestsAreHeard(t *testing.T) {
	m := newMachine(t)
	red := m.tenant("red", 2401)
	to := red.instance(3)
	guest := red.sender(2, network.Tap)
	in := listen(t, to.Space, "eth0")
	own, nowhere := netip.MustParseAddr("172.16.0.2"), netip.IPv4Unspecified()
	heard := func() []string {
		t.Helper()
		instances, err := m.node.Heard(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return instances
	}
	networktest.Eventually(t, "a path", func() bool { // the bridge forwards for a port a moment after its other end is up
		guest.send(ethernet(broadcast, guest.mac, unix.ETH_P_ARP, arp(guest.mac, nowhere, to.address, "path")))
		return in.sees("path", 100*time.Millisecond)
	})
	if got := heard(); len(got) > 0 { // the container has asked who its gateway is
		t.Errorf("before it asks for an address %v are heard", got)
	}
	dhcp6 := append(append([]byte{0x02, 0x22, 0x02, 0x23}, 0, 8+4, 0, 0), 1, 0, 0, 1)
	for _, c := range []struct {
		name  string
		frame []byte
		heard bool
	}{
		{"a probe for another's address", ethernet(broadcast, guest.mac, unix.ETH_P_ARP, arp(guest.mac, nowhere, to.address, "")), false},
		{"a forged address", ethernet(broadcast, guest.mac, unix.ETH_P_ARP, arp(guest.mac, to.address, to.address, "")), false},
		{"the question for an address", ethernet(broadcast, guest.mac, unix.ETH_P_IP, udp(nowhere, netip.MustParseAddr("255.255.255.255"), 68, 67, []byte("question"))), true},
		{"its address", ethernet(broadcast, guest.mac, unix.ETH_P_ARP, arp(guest.mac, own, to.address, "")), true},
		{"the question for an IPv6 address", ethernet("33:33:00:01:00:02", guest.mac, unix.ETH_P_IPV6,
			ip6(network.LinkLocalOf(guest.mac), netip.MustParseAddr("ff02::1:2"), unix.IPPROTO_UDP, dhcp6)), true},
	} {
		guest.send(c.frame)
		guest.send(ethernet(broadcast, guest.mac, unix.ETH_P_ARP, arp(guest.mac, nowhere, to.address, "after "+c.name)))
		if !in.sees("after "+c.name, arrival) {
			t.Fatalf("what comes after %s does not arrive", c.name)
		}
		if got, want := heard(), c.heard; slices.Contains(got, "machine") != want || len(got) > 1 {
			t.Errorf("after %s %v are heard, expected the machine: %v", c.name, got, want)
		}
		if got := heard(); len(got) > 0 {
			t.Errorf("after %s %v are heard twice", c.name, got)
		}
	}
	guest.send(ethernet(broadcast, guest.mac, unix.ETH_P_ARP, arp(guest.mac, own, to.address, "")))
	guest.send(ethernet(broadcast, guest.mac, unix.ETH_P_ARP, arp(guest.mac, nowhere, to.address, "before another pass")))
	if !in.sees("before another pass", arrival) {
		t.Fatal("a frame does not arrive")
	}
	m.node = m.launch() // reads the kernel, and finds nothing to change
	m.apply()
	if got := heard(); !slices.Equal(got, []string{"machine"}) {
		t.Errorf("after a restart of the launcher %v are heard", got)
	}
}
