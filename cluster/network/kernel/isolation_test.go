package kernel_test

import (
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ciaocloud/ciao/cluster/network"
	"github.com/ciaocloud/ciao/cluster/network/networktest"
)

// arrival is how long a frame that should arrive may take on a loaded machine. A frame that should not arrive is followed by one
// that should: when that is there, the other would have been.
const arrival = 20 * time.Second

// Every forged frame is sent by the same socket, between two that are not forged and must arrive: so the path is there when
// nothing comes through.
func TestPortsSendOnlyWithTheirOwnAddresses(t *testing.T) {
	m := newMachine(t)
	red := m.tenant("red", 2001)
	from, to := red.instance(2), red.instance(3)
	other := "02:00:ac:10:00:09"
	foreign := netip.MustParseAddr("172.16.0.9")
	out, in := listen(t, from.Space, "eth0"), listen(t, to.Space, "eth0")
	good := func(mark string) []byte {
		return ethernet(to.mac, from.mac, unix.ETH_P_IP, udp(from.address, to.address, 7, 7, []byte(mark)))
	}
	for _, c := range []struct {
		name    string
		frame   func(mark string) []byte
		counter string // empty: the frame must arrive
	}{
		{"own addresses", good, ""},
		{"own addresses, broadcast", func(mark string) []byte {
			return ethernet(broadcast, from.mac, unix.ETH_P_IP, udp(from.address, netip.MustParseAddr("172.16.0.255"), 7, 7, []byte(mark)))
		}, ""},
		{"own addresses, multicast", func(mark string) []byte {
			return ethernet("01:00:5e:00:00:fb", from.mac, unix.ETH_P_IP, udp(from.address, netip.MustParseAddr("224.0.0.251"), 7, 7, []byte(mark)))
		}, ""},
		{"own ARP", func(mark string) []byte {
			return ethernet(broadcast, from.mac, unix.ETH_P_ARP, arp(from.mac, from.address, to.address, mark))
		}, ""},
		{"ARP probe", func(mark string) []byte {
			return ethernet(broadcast, from.mac, unix.ETH_P_ARP, arp(from.mac, netip.IPv4Unspecified(), to.address, mark))
		}, ""},
		{"forged MAC", func(mark string) []byte {
			return ethernet(to.mac, other, unix.ETH_P_IP, udp(from.address, to.address, 7, 7, []byte(mark)))
		}, network.ForgedMAC},
		{"forged IP", func(mark string) []byte {
			return ethernet(to.mac, from.mac, unix.ETH_P_IP, udp(foreign, to.address, 7, 7, []byte(mark)))
		}, network.ForgedIP},
		{"the gateway's IP", func(mark string) []byte {
			return ethernet(to.mac, from.mac, unix.ETH_P_IP, udp(red.subnet.Gateway, to.address, 7, 7, []byte(mark)))
		}, network.ForgedIP},
		{"no IP", func(mark string) []byte {
			return ethernet(to.mac, from.mac, unix.ETH_P_IP, udp(netip.IPv4Unspecified(), to.address, 7, 7, []byte(mark)))
		}, network.ForgedIP},
		{"ARP for another IP", func(mark string) []byte {
			return ethernet(broadcast, from.mac, unix.ETH_P_ARP, arp(from.mac, red.subnet.Gateway, to.address, mark))
		}, network.ForgedARP},
		{"ARP for another MAC", func(mark string) []byte {
			return ethernet(broadcast, from.mac, unix.ETH_P_ARP, arp(other, from.address, to.address, mark))
		}, network.ForgedARP},
		{"ARP probe of another MAC", func(mark string) []byte {
			return ethernet(broadcast, from.mac, unix.ETH_P_ARP, arp(other, netip.IPv4Unspecified(), to.address, mark))
		}, network.ForgedARP},
		{"answer of a DHCP server", func(mark string) []byte {
			return ethernet(to.mac, from.mac, unix.ETH_P_IP, udp(from.address, to.address, 67, 68, []byte(mark)))
		}, network.DHCPServer},
		{"VLAN tag", func(mark string) []byte {
			return ethernet(to.mac, from.mac, unix.ETH_P_8021Q, append([]byte{0, 1}, good(mark)[12:]...))
		}, network.Other},
		{"unknown protocol", func(mark string) []byte {
			return ethernet(to.mac, from.mac, 0x88b5, []byte(mark))
		}, network.Other},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := m.drops(c.counter)
			out.send(c.frame("tested frame " + c.name))
			if c.counter == "" {
				if !in.sees("tested frame "+c.name, arrival) {
					t.Error("it did not arrive")
				}
				return
			}
			out.send(good("control of " + c.name))
			if in.seesBefore("control of "+c.name, "tested frame "+c.name) {
				t.Error("it arrived")
			}
			if after := m.drops(c.counter); after != before+1 {
				t.Errorf("the counter %s went from %d to %d", c.counter, before, after)
			}
		})
	}
}

// seesBefore waits for the control, and reports whether the forbidden came before it.
func (w *wire) seesBefore(control, forbidden string) (seen bool) {
	w.t.Helper()
	w.conn.SetReadDeadline(time.Now().Add(arrival))
	buffer := make([]byte, 4096)
	for {
		n, _, err := w.conn.ReadFrom(buffer)
		if err != nil {
			w.t.Fatalf("the control did not arrive either: %v", err)
		}
		seen = seen || endsWith(buffer[:n], forbidden)
		if endsWith(buffer[:n], control) {
			return seen
		}
	}
}

func (m *machine) drops(counter string) uint64 {
	m.t.Helper()
	counters, err := m.node.Counters(m.t.Context())
	if err != nil {
		m.t.Fatal(err)
	}
	return counters[counter]
}

// Two tenants with the same range on one node: what one sends to all, or to an address of the other, its own neighbour gets and
// the other never.
func TestTenantsDoNotSeeEachOther(t *testing.T) {
	m := newMachine(t)
	red, blue := m.tenant("red", 2101), m.tenant("blue", 2102)
	from, neighbour := red.instance(2), red.instance(3)
	stranger, control := blue.instance(3), blue.instance(4) // the stranger has the neighbour's addresses
	out, near, far := listen(t, from.Space, "eth0"), listen(t, neighbour.Space, "eth0"), listen(t, stranger.Space, "eth0")
	farControl := listen(t, control.Space, "eth0")
	for _, c := range []struct {
		name  string
		frame func(mark string) []byte
	}{
		{"ARP", func(mark string) []byte {
			return ethernet(broadcast, from.mac, unix.ETH_P_ARP, arp(from.mac, from.address, stranger.address, mark))
		}},
		{"broadcast", func(mark string) []byte {
			return ethernet(broadcast, from.mac, unix.ETH_P_IP, udp(from.address, netip.MustParseAddr("255.255.255.255"), 7, 7, []byte(mark)))
		}},
		{"multicast", func(mark string) []byte {
			return ethernet("01:00:5e:00:00:01", from.mac, unix.ETH_P_IP, udp(from.address, netip.MustParseAddr("224.0.0.1"), 7, 7, []byte(mark)))
		}},
		{"the stranger's MAC and IP", func(mark string) []byte {
			return ethernet(stranger.mac, from.mac, unix.ETH_P_IP, udp(from.address, stranger.address, 7, 7, []byte(mark)))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			out.send(c.frame("red " + c.name))
			if !near.sees("red "+c.name, arrival) {
				t.Fatal("the neighbour did not get it: the test shows nothing")
			}
			farControl.send(ethernet(stranger.mac, control.mac, unix.ETH_P_IP, udp(control.address, stranger.address, 7, 7, []byte("blue "+c.name))))
			if far.seesBefore("blue "+c.name, "red "+c.name) {
				t.Error("the other tenant got it")
			}
		})
	}
}

// A tenant that wraps a frame for the other tenant's subnet in VXLAN, to the node or to a CNCI, reaches nobody with it: not through
// its own gateway, and not by the node's address on the bridge.
func TestTunnelsAreClosedToTenants(t *testing.T) {
	m := newMachine(t)
	red, blue := m.tenant("red", 2201), m.tenant("blue", 2202)
	from, victim, control := red.instance(2), blue.instance(3), blue.instance(4)
	gateway := network.MACOf(red.subnet.Gateway).String()
	out, far, farControl := listen(t, from.Space, "eth0"), listen(t, victim.Space, "eth0"), listen(t, control.Space, "eth0")
	inner := func(mark string) []byte {
		return ethernet(victim.mac, network.MACOf(blue.subnet.Gateway).String(), unix.ETH_P_IP, udp(blue.subnet.Gateway, victim.address, 7, 7, []byte(mark)))
	}
	bridge := m.linkMAC(network.BridgeName(red.subnet.ID))
	for _, c := range []struct {
		name, mac string
		to        netip.Addr
	}{
		{"to the node by the gateway", gateway, m.facts.Underlay},
		{"to the other CNCI by the gateway", gateway, blue.underlay},
		{"to its own CNCI", gateway, red.underlay},
		{"to its own gateway", gateway, red.subnet.Gateway},
		{"to the node by the bridge", bridge, m.facts.Underlay},
	} {
		t.Run(c.name, func(t *testing.T) {
			out.send(ethernet(c.mac, from.mac, unix.ETH_P_IP, udp(from.address, c.to, 4789, network.VXLANPort, vxlan(2202, inner("tunnelled "+c.name)))))
			// The slow way of what is tested is by the CNCI: give it the time of an answer from there.
			if !from.reaches(red.subnet.Gateway.String()) {
				t.Fatal("the gateway does not answer: the test shows nothing")
			}
			farControl.send(ethernet(victim.mac, control.mac, unix.ETH_P_IP, udp(control.address, victim.address, 7, 7, []byte("control "+c.name))))
			if far.seesBefore("control "+c.name, "tunnelled "+c.name) {
				t.Error("it arrived")
			}
		})
	}
	// The same datagram from who may send it arrives: the frames above were not refused for their form.
	t.Run("from a peer", func(t *testing.T) {
		blue.gateway.Do(sendUDP(blue.underlay, m.facts.Underlay, vxlan(2202, inner("from a peer"))))
		if !far.sees("from a peer", arrival) {
			t.Error("it did not arrive")
		}
	})
	// A machine of the underlay that is no peer is refused.
	t.Run("from a stranger on the underlay", func(t *testing.T) {
		m.host.Do(sendUDP(networktest.HostAddress, m.facts.Underlay, vxlan(2202, inner("from a stranger"))))
		networktest.Eventually(t, "the node's counter", func() bool { return m.drops(network.Stranger) > 0 })
		farControl.send(ethernet(victim.mac, control.mac, unix.ETH_P_IP, udp(control.address, victim.address, 7, 7, []byte("control stranger"))))
		if far.seesBefore("control stranger", "from a stranger") {
			t.Error("it arrived")
		}
	})
}

func (m *machine) linkMAC(name string) string {
	m.t.Helper()
	return networktest.OpenSpace(m.t, m.node.Namespace()).Link(name).HardwareAddr.String()
}
