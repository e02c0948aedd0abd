package kernel_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/ciaocloud/ciao/cluster/network"
	"github.com/ciaocloud/ciao/cluster/network/networktest"
)

// What is lent of the underlay's IPv6 range, and addresses of it.
var lent6 = netip.MustParsePrefix("fd7a:31c5:90e4::100/120")

const external6, other6 = "fd7a:31c5:90e4::120", "fd7a:31c5:90e4::121"

// lend6 gives an instance an external IPv6 address.
func (i *instance) lend6(external string) {
	i.tenant.t.Helper()
	i.tenant.wanted.Lent = []netip.Prefix{lent6}
	i.tenant.wanted.Mappings = append(i.tenant.wanted.Mappings, network.Mapping{External: netip.MustParseAddr(external), Internal: i.address6})
	i.tenant.configure()
}

// answers6 waits until the host is answered: the kernel hears questions for a new address only when it has joined the address's group, which it does in
// its own time.
func (m *machine) answers6(address string) {
	m.t.Helper()
	networktest.Eventually(m.t, address+" answers the host", func() bool { return answers(m.host.Space, address) })
}

// IPv6 has what IPv4 has: see TestExternalAddresses and TestPublishedPorts.
func TestExternalAddressesOfIPv6(t *testing.T) {
	m := newMachine(t)
	red, blue := m.tenant("red", 6001), m.tenant("blue", 6002)
	red2, red3, blue2 := red.instance(2), red.instance(3), blue.instance(2)
	red2.serve()
	red2.answer("8080", "red-2 on 8080")
	red.wayOut()
	blue.wanted.Lent = []netip.Prefix{lent6}
	blue.wayOut()
	if answers(m.host.Space, external6) {
		t.Fatal("somebody answers for the address before it is mapped")
	}
	red.wanted.Hosts[0].Ports = []network.HostPort{{Published: 81, Port: 8080, External: true}, {Published: 16008, Port: 80}}
	own := red.underlay6()
	red2.lend6(external6)

	t.Run("reached from the host", func(t *testing.T) {
		m.answers6(external6)
		if got := gets(m.host.Space, external6); got != "red-2" {
			t.Errorf("got %q", got)
		}
		if got := asks(m.host.Space, external6, "81"); got != "red-2 on 8080" {
			t.Errorf("its published port answers %q", got)
		}
		if got := asks(m.host.Space, own, "16008"); got != "" {
			t.Errorf("a port of the CNCI answers %q at its IPv6 address", got)
		}
	})
	t.Run("speaks with it", func(t *testing.T) {
		seen := listen(t, m.host.Space, networktest.HostUnderlay)
		red2.Start("ping", "-c", "3", networktest.OutsideAddress6)
		if !seen.seesFrom6(external6, networktest.OutsideAddress6) {
			t.Error("no packet with the external address as its source")
		}
	})
	t.Run("a neighbour without one speaks with the CNCI's", func(t *testing.T) {
		seen := listen(t, m.host.Space, networktest.HostUnderlay)
		red3.Start("ping", "-c", "3", networktest.OutsideAddress6)
		if !seen.seesFrom6(own, networktest.OutsideAddress6) {
			t.Error("no packet with the CNCI's address as its source")
		}
	})
	t.Run("hairpin", func(t *testing.T) {
		for _, from := range []*instance{red3, red2} { // the second reaches itself
			if got := gets(from.Space, external6); got != "red-2" {
				t.Errorf("%s got %q", from.id, got)
			}
		}
	})
	t.Run("other tenants reach it by the external address only", func(t *testing.T) {
		if got := gets(blue2.Space, external6); got != "red-2" {
			t.Errorf("got %q", got)
		}
		if blue2.reaches(own) {
			t.Error("the CNCI itself answers another tenant")
		}
		if blue2.reaches(networktest.HostAddress6.String()) {
			t.Error("the host answers a tenant")
		}
	})
	t.Run("nothing else comes in", func(t *testing.T) {
		m.host.IP("-6 route add " + red.subnet.Prefix6.String() + " via " + own)
		defer m.host.IP("-6 route del " + red.subnet.Prefix6.String())
		if answers(m.host.Space, red2.address6.String()) || answers(m.host.Space, red3.address6.String()) {
			t.Error("an instance is reached by its own address from the underlay")
		}
	})
	t.Run("an agent that starts again keeps it", func(t *testing.T) {
		red.concentrator = red.agent()
		red.configure()
		m.answers6(external6)
	})
	t.Run("what was taken away behind the agent's back comes back", func(t *testing.T) {
		red.gateway.IP("addr del " + external6 + "/128 dev underlay")
		red.concentrator = red.agent()
		red.configure()
		m.answers6(external6)
	})
	t.Run("detached, also for a connection that stands", func(t *testing.T) {
		conn := dialTCP(t, m.host.Space, "["+external6+"]:80")
		defer conn.Close()
		remembered := func() bool {
			return strings.Contains(red.gateway.Run("cat", "/proc/net/nf_conntrack"), "90e4:0000:0000:0000:0000:0120")
		}
		if !remembered() {
			t.Fatal("the connection is not tracked: this shows nothing")
		}
		red.wanted.Mappings = nil
		red.configure()
		if answers(m.host.Space, external6) {
			t.Error("it still answers")
		}
		if out := red.gateway.IP("addr show dev underlay"); strings.Contains(out, external6) || !strings.Contains(out, own) {
			t.Errorf("the address is still there, or the CNCI's own is not:\n%s", out)
		}
		if remembered() {
			t.Error("a connection is remembered")
		}
	})
}

// seesFrom6 reports whether an IPv6 packet from one address to another arrives.
func (w *wire) seesFrom6(from, to string) bool {
	w.t.Helper()
	source, destination := netip.MustParseAddr(from).As16(), netip.MustParseAddr(to).As16()
	w.conn.SetReadDeadline(time.Now().Add(arrival))
	buffer := make([]byte, 4096)
	for {
		n, _, err := w.conn.ReadFrom(buffer)
		if err != nil {
			return false
		}
		if n >= 54 && [16]byte(buffer[22:38]) == source && [16]byte(buffer[38:54]) == destination {
			return true
		}
	}
}

// An IPv6 address that a machine of the underlay has is not taken from it, and neighbours that knew one elsewhere learn where it is now.
func TestExternalAddressOfIPv6InUse(t *testing.T) {
	m := newMachine(t)
	red, blue := m.tenant("red", 6101), m.tenant("blue", 6102)
	red2, blue2 := red.instance(2), blue.instance(2)
	red.wayOut()
	blue.wayOut()
	m.host.IP("addr add " + other6 + "/128 dev " + networktest.HostUnderlay + " nodad")
	red2.lend6(external6) // beside it, one that is free
	red.wanted.Mappings = append(red.wanted.Mappings, network.Mapping{External: netip.MustParseAddr(other6), Internal: red2.address6})
	facts, err := red.concentrator.Apply(t.Context(), *red.wanted)
	if err != nil {
		t.Fatal(err)
	}
	if len(facts.Unclaimed) != 1 || facts.Unclaimed[0].External.String() != other6 ||
		!strings.Contains(facts.Unclaimed[0].Problem, m.host.Link(networktest.HostUnderlay).HardwareAddr.String()) {
		t.Errorf("unclaimed: %+v", facts.Unclaimed)
	}
	m.answers6(external6)
	m.host.IP("addr del " + other6 + "/128 dev " + networktest.HostUnderlay)
	if facts, err = red.concentrator.Apply(t.Context(), *red.wanted); err != nil || len(facts.Unclaimed) != 0 {
		t.Errorf("unclaimed: %+v, %v", facts.Unclaimed, err)
	}
	m.answers6(other6)
	red.wanted.Mappings = nil
	red.configure()
	blue2.lend6(external6)
	m.answers6(external6)
}
