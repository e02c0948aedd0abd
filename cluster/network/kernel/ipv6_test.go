package kernel_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/insomniacslk/dhcp/dhcpv6/nclient6"
	"golang.org/x/sys/unix"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/network"
	"github.com/ciaocloud/ciao/cluster/network/networktest"
)

// wayOut waits until the tenant's CNCI has an IPv6 address on the underlay, and has it in its filter.
func (t *tenant) wayOut() {
	t.t.Helper()
	networktest.Eventually(t.t, "the CNCI's address of the underlay's IPv6 prefix", func() bool {
		out := t.gateway.IP("-6 -o addr show dev " + network.Underlay + " scope global")
		return strings.Contains(out, "inet6") && !strings.Contains(out, "tentative")
	})
	t.configure()
}

func TestTenantsReachTheirOwnAndTheOutsideByIPv6(t *testing.T) {
	m := newMachine(t)
	other := m.beside("node-2")
	red, blue := m.tenant("red", 1101), m.tenant("blue", 1102)
	far := red.on(other)
	spread(red, far)
	red2, red3, red4, blue2 := red.instance(2), red.instance(3), far.instance(4), blue.instance(2)
	spread(red, far)
	red.wayOut()
	blue.wayOut()
	for _, c := range []struct {
		name    string
		from    *instance
		to      string
		reaches bool
	}{
		{"a neighbour", red2, red3.address6.String(), true},
		{"back", red3, red2.address6.String(), true},
		{"a neighbour on another node", red2, red4.address6.String(), true},
		{"back from another node", red4, red2.address6.String(), true},
		{"the gateway", red2, red.subnet.Gateway6.String(), true},
		{"the outside", red2, networktest.OutsideAddress6, true},
		{"the outside from another node", red4, networktest.OutsideAddress6, true},
		{"the outside from the other tenant", blue2, networktest.OutsideAddress6, true},
		{"an address of the other tenant", blue2, red3.address6.String(), false},
		{"the other tenant's gateway", blue2, red.subnet.Gateway6.String(), false},
		{"the host on the underlay", red2, networktest.HostAddress6.String(), false},
		{"its CNCI on the underlay", red2, red.underlay6(), false},
		{"the other tenant's CNCI", red2, blue.underlay6(), false},
		{"an IPv4 destination that is translated", red2, "64:ff9b::" + networktest.HostAddress.String(), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.from.reaches(c.to) != c.reaches {
				t.Errorf("%s reaches %s: %t, want %t", c.from.id, c.to, !c.reaches, c.reaches)
			}
		})
	}
	t.Run("a packet in fragments", func(t *testing.T) {
		if out, err := red2.Try("ping", "-c", "1", "-W", "2", "-s", "3000", red4.address6.String()); err != nil {
			t.Errorf("it is not answered: %s", out)
		}
	})
	t.Run("the outside by TCP, as the machine", func(t *testing.T) { seenOutside6(t, m, red2) })
	t.Run("what is blocked", func(t *testing.T) {
		red.wanted.Blocked = []netip.Prefix{netip.MustParsePrefix(networktest.OutsideAddress6 + "/128")}
		red.configure()
		if red2.reaches(networktest.OutsideAddress6) {
			t.Error("it is reached")
		}
		if counters, err := red.concentrator.Counters(t.Context()); err != nil || counters[network.Blocked] == 0 {
			t.Errorf("counters %v, %v", counters, err)
		}
	})
}

// underlay6 is the CNCI's address of the underlay's IPv6 prefix.
func (t *tenant) underlay6() string {
	t.t.Helper()
	for word := range strings.FieldsSeq(t.gateway.IP("-6 -o addr show dev " + network.Underlay + " scope global")) {
		if prefix, err := netip.ParsePrefix(word); err == nil {
			return prefix.Addr().String()
		}
	}
	t.t.Fatal("the CNCI has no IPv6 address on the underlay")
	return ""
}

// seenOutside6 checks that a server beyond the machine sees the machine call.
func seenOutside6(t *testing.T, m *machine, from *instance) {
	var server net.Listener
	m.host.Outside.Do(func() (err error) {
		server, err = net.Listen("tcp6", "["+networktest.OutsideAddress6+"]:8080")
		return err
	})
	defer server.Close()
	go func() {
		if conn, err := server.Accept(); err == nil {
			fmt.Fprint(conn, conn.RemoteAddr().(*net.TCPAddr).IP)
			conn.Close()
		}
	}()
	var conn net.Conn
	from.Do(func() (err error) {
		conn, err = net.DialTimeout("tcp6", server.Addr().String(), 20*time.Second)
		return err
	})
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	if seen, err := io.ReadAll(conn); err != nil || string(seen) != "2001:db8:cb00:7100::1" {
		t.Errorf("the server saw %q, %v; want the machine's address", seen, err)
	}
}

// A CNCI whose underlay has no IPv6 yet serves its subnet, forwards nothing, and follows when a router appears: from then on it
// blocks the prefix that it learned.
func TestCNCIFollowsTheUnderlaysPrefix(t *testing.T) {
	m := newMachine(t)
	m.host.Silence6()
	red := m.tenant("red", 1201)
	red2, red3 := red.instance(2), red.instance(3)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- red.concentrator.Run(ctx) }()
	if !red2.reaches(red3.address6.String()) || !red2.reaches(red.subnet.Gateway6.String()) {
		t.Error("the subnet itself has no IPv6")
	}
	if red2.reaches(networktest.OutsideAddress6) {
		t.Error("there is a way out where the underlay has no IPv6")
	}
	m.host.Advertise6(t)
	networktest.Eventually(t, "a way out", func() bool { return red2.reaches(networktest.OutsideAddress6) })
	if red2.reaches(networktest.HostAddress6.String()) {
		t.Error("the host on the underlay is reached")
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// Every forged frame is sent between two that are not forged and must arrive, as for IPv4. The marks of fragments and neighbour
// messages come last, where no one looks.
func TestPortsSendOnlyWithTheirOwnIPv6Addresses(t *testing.T) {
	for _, kind := range []network.PortKind{network.Veth, network.Tap} {
		t.Run(string(kind), func(t *testing.T) { testPorts6(t, kind) })
	}
}

// sender is a port by which frames are sent that no stack has made.
type sender struct {
	mac      string
	address6 netip.Addr
	send     func(frame []byte)
}

func (t *tenant) sender(number int, kind network.PortKind) sender {
	t.t.Helper()
	if kind == network.Veth {
		i := t.instance(number)
		return sender{i.mac, i.address6, listen(t.t.(*testing.T), i.Space, "eth0").send}
	}
	address := netip.AddrFrom4([4]byte{172, 16, 0, byte(number)})
	s := sender{mac: network.MACOf(address).String(), address6: cluster.HostAddress(t.subnet.Prefix6, uint32(number))}
	t.machine.wanted.Ports = append(t.machine.wanted.Ports, network.Port{Instance: "machine", Subnet: t.subnet.ID, Kind: kind, MAC: s.mac, Addresses: []netip.Addr{address, s.address6}})
	t.apply()
	var machine *os.File
	t.space().Do(func() (err error) {
		machine, err = openTap(network.NodeEnd("machine"))
		return err
	})
	t.t.Cleanup(func() { machine.Close() })
	s.send = func(frame []byte) {
		if _, err := machine.Write(frame); err != nil {
			t.t.Fatal(err)
		}
	}
	return s
}

// openTap takes a tap as whoever starts a virtual machine does.
func openTap(name string) (*os.File, error) {
	request, err := unix.NewIfreq(name)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil // after the call, for a tap that is not one yet cannot be waited for
}

// virtual is a namespace that stands for a virtual machine: it has the other end of a tap.
func (t *tenant) virtual(number int) *instance {
	t.t.Helper()
	i := t.expect(number, network.Tap)
	var port, own *os.File
	t.space().Do(func() (err error) {
		port, err = openTap(network.NodeEnd(i.id))
		return err
	})
	i.Do(func() (err error) {
		own, err = openTap("eth0")
		return err
	})
	i.IP("link set eth0 address " + i.mac)
	var relays sync.WaitGroup
	relays.Go(func() { relay(port, own) })
	relays.Go(func() { relay(own, port) })
	t.t.Cleanup(func() {
		port.Close()
		own.Close()
		relays.Wait()
	})
	return i
}

// relay hands frames on until a tap is closed; what a link that is down does not take is lost.
func relay(to io.Writer, from io.Reader) {
	frame := make([]byte, 1<<16)
	for {
		n, err := from.Read(frame)
		if errors.Is(err, os.ErrClosed) {
			return
		}
		_, _ = to.Write(frame[:n])
	}
}

func testPorts6(t *testing.T, kind network.PortKind) {
	m := newMachine(t)
	red := m.tenant("red", 2301)
	to := red.instance(3)
	sender := red.sender(2, kind)
	in := listen(t, to.Space, "eth0")
	var (
		own, gateway, victim = sender.address6, red.subnet.Gateway6, to.address6
		local                = network.LinkLocalOf(sender.mac)
		routers, nodes       = netip.MustParseAddr("ff02::2"), netip.MustParseAddr("ff02::1")
		none                 = netip.IPv6Unspecified()
		otherLocal           = network.LinkLocalOf("02:00:ac:10:00:09")
	)
	frame := func(packet []byte) []byte { return ethernet(to.mac, sender.mac, unix.ETH_P_IPV6, packet) }
	datagram := func(from netip.Addr, source uint16, mark string) []byte {
		return ip6(from, victim, unix.IPPROTO_UDP, udp6(source, 7, mark))
	}
	good := func(mark string) []byte { return frame(datagram(own, 7, mark)) }
	networktest.Eventually(t, "a path", func() bool { // the bridge forwards for a port a moment after its other end is up
		sender.send(good("path"))
		return in.sees("path", 100*time.Millisecond)
	})
	for _, c := range []struct {
		name    string
		packet  func(mark string) []byte
		counter string // empty: the frame must arrive
	}{
		{"own address", func(mark string) []byte { return datagram(own, 7, mark) }, ""},
		{"own link-local address", func(mark string) []byte { return datagram(local, 7, mark) }, ""},
		{"multicast", func(mark string) []byte { return ip6(own, nodes, unix.IPPROTO_UDP, udp6(7, 7, mark)) }, ""},
		{"own neighbour advertisement", func(mark string) []byte {
			return ip6(own, nodes, unix.IPPROTO_ICMPV6, neighbourMessage(136, own, mark))
		}, ""},
		{"link-local neighbour advertisement", func(mark string) []byte {
			return ip6(local, nodes, unix.IPPROTO_ICMPV6, neighbourMessage(136, local, mark))
		}, ""},
		{"neighbour solicitation", func(mark string) []byte {
			return ip6(own, nodes, unix.IPPROTO_ICMPV6, neighbourMessage(135, gateway, mark))
		}, ""},
		{"probe of its own address", func(mark string) []byte {
			return ip6(none, nodes, unix.IPPROTO_ICMPV6, neighbourMessage(135, own, mark))
		}, ""},
		{"probe of its link-local address", func(mark string) []byte {
			return ip6(none, nodes, unix.IPPROTO_ICMPV6, neighbourMessage(135, local, mark))
		}, ""},
		{"router solicitation", func(mark string) []byte {
			return ip6(none, routers, unix.IPPROTO_ICMPV6, icmp6(133, make([]byte, 4), mark))
		}, ""},
		{"listener report", func(mark string) []byte {
			return ip6(none, netip.MustParseAddr("ff02::16"), unix.IPPROTO_HOPOPTS, routerAlert(unix.IPPROTO_ICMPV6, icmp6(143, make([]byte, 4), mark)))
		}, ""},
		{"DHCPv6 request", func(mark string) []byte {
			return ip6(local, netip.MustParseAddr("ff02::1:2"), unix.IPPROTO_UDP, udp6(546, 547, mark))
		}, ""},
		{"first fragment of UDP", func(mark string) []byte {
			return ip6(own, victim, unix.IPPROTO_FRAGMENT, fragment6(unix.IPPROTO_UDP, 0, udp6(7, 7, mark)))
		}, ""},
		{"later fragment of an echo", func(mark string) []byte {
			return ip6(own, victim, unix.IPPROTO_FRAGMENT, fragment6(unix.IPPROTO_ICMPV6, 1232, []byte(mark)))
		}, ""},

		{"another address", func(mark string) []byte { return datagram(victim.Next(), 7, mark) }, network.ForgedIP6},
		{"the gateway's address", func(mark string) []byte { return datagram(gateway, 7, mark) }, network.ForgedIP6},
		{"another link-local address", func(mark string) []byte { return datagram(otherLocal, 7, mark) }, network.ForgedIP6},
		{"no address", func(mark string) []byte { return datagram(none, 7, mark) }, network.ForgedIP6},
		{"probe of another address", func(mark string) []byte {
			return ip6(none, nodes, unix.IPPROTO_ICMPV6, neighbourMessage(135, victim, mark))
		}, network.ForgedIP6},
		{"solicitation in another's name", func(mark string) []byte {
			return ip6(gateway, nodes, unix.IPPROTO_ICMPV6, neighbourMessage(135, victim, mark))
		}, network.ForgedIP6},
		{"advertisement of the gateway", func(mark string) []byte {
			return ip6(own, nodes, unix.IPPROTO_ICMPV6, neighbourMessage(136, gateway, mark))
		}, network.ForgedNeighbour},
		{"advertisement in the gateway's name", func(mark string) []byte {
			return ip6(gateway, nodes, unix.IPPROTO_ICMPV6, neighbourMessage(136, gateway, mark))
		}, network.ForgedNeighbour},
		{"advertisement behind options", func(mark string) []byte {
			return ip6(own, nodes, unix.IPPROTO_DSTOPTS, options6(unix.IPPROTO_ICMPV6, neighbourMessage(136, gateway, mark)))
		}, network.ForgedNeighbour},
		{"advertisement in a fragment", func(mark string) []byte {
			return ip6(own, nodes, unix.IPPROTO_FRAGMENT, fragment6(unix.IPPROTO_ICMPV6, 0, neighbourMessage(136, gateway, mark)))
		}, network.ForgedNeighbour},
		{"router advertisement", func(mark string) []byte {
			return ip6(local, nodes, unix.IPPROTO_ICMPV6, icmp6(134, make([]byte, 12), mark))
		}, network.RouterIP6},
		{"router advertisement behind options", func(mark string) []byte {
			return ip6(local, nodes, unix.IPPROTO_HOPOPTS, options6(unix.IPPROTO_ICMPV6, icmp6(134, make([]byte, 12), mark)))
		}, network.RouterIP6},
		{"router advertisement in a fragment", func(mark string) []byte {
			return ip6(local, nodes, unix.IPPROTO_FRAGMENT, fragment6(unix.IPPROTO_ICMPV6, 0, icmp6(134, make([]byte, 12), mark)))
		}, network.RouterIP6},
		{"redirect", func(mark string) []byte {
			return ip6(local, victim, unix.IPPROTO_ICMPV6, icmp6(137, make([]byte, 36), mark))
		}, network.RouterIP6},
		{"answer of a DHCPv6 server", func(mark string) []byte { return ip6(local, victim, unix.IPPROTO_UDP, udp6(547, 546, mark)) }, network.DHCPServer6},
		{"answer of a DHCPv6 server in a fragment", func(mark string) []byte {
			return ip6(own, victim, unix.IPPROTO_FRAGMENT, fragment6(unix.IPPROTO_UDP, 0, udp6(547, 546, mark)))
		}, network.DHCPServer6},
		{"options", func(mark string) []byte {
			return ip6(own, victim, unix.IPPROTO_DSTOPTS, options6(unix.IPPROTO_UDP, udp6(7, 7, mark)))
		}, network.HeadersIP6},
		{"a routing header", func(mark string) []byte {
			return ip6(own, victim, unix.IPPROTO_ROUTING, options6(unix.IPPROTO_UDP, udp6(7, 7, mark)))
		}, network.HeadersIP6},
		{"options in a fragment", func(mark string) []byte {
			return ip6(own, victim, unix.IPPROTO_FRAGMENT, fragment6(unix.IPPROTO_DSTOPTS, 0, options6(unix.IPPROTO_ICMPV6, []byte(mark))))
		}, network.HeadersIP6},
		{"a packet in a packet", func(mark string) []byte { return ip6(own, victim, unix.IPPROTO_IPV6, datagram(gateway, 7, mark)) }, network.HeadersIP6},
		{"half a header", func(mark string) []byte { return append([]byte{0x60, 0, 0}, mark...) }, network.ForgedIP6},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := m.drops(c.counter)
			sender.send(frame(c.packet("tested frame " + c.name)))
			if c.counter == "" {
				if !in.sees("tested frame "+c.name, arrival) {
					t.Error("it did not arrive")
				}
				return
			}
			sender.send(good("control of " + c.name))
			if in.seesBefore("control of "+c.name, "tested frame "+c.name) {
				t.Error("it arrived")
			}
			if after := m.drops(c.counter); after != before+1 {
				t.Errorf("the counter %s went from %d to %d", c.counter, before, after)
			}
		})
	}
}

// A carrier that sets up a container's addresses and routes is not forestalled by a kernel that has heard of a router; a machine hears of it.
func TestContainersHearOfNoRouter(t *testing.T) {
	m := newMachine(t)
	red := m.tenant("red", 3602)
	container, machine := red.instance(4), red.virtual(5)
	machine.IP("link set eth0 up")
	gateway := listen(t, red.gateway, network.BridgeName(red.subnet.ID))
	from, nodes := network.LinkLocalOf(gateway.link.HardwareAddr.String()), netip.MustParseAddr("ff02::1")
	say := func(packet []byte) {
		gateway.send(ethernet("33:33:00:00:00:01", gateway.link.HardwareAddr.String(), unix.ETH_P_IPV6, packet))
	}
	for name, i := range map[string]*instance{"container": container, "machine": machine} {
		in := listen(t, i.Space, "eth0")
		networktest.Eventually(t, "the path to the "+name, func() bool {
			say(ip6(from, nodes, unix.IPPROTO_UDP, udp6(7, 7, "path")))
			return in.sees("path", 100*time.Millisecond)
		})
		say(ip6(from, nodes, unix.IPPROTO_ICMPV6, icmp6(134, make([]byte, 12), "router")))
		say(ip6(from, nodes, unix.IPPROTO_UDP, udp6(7, 7, "control")))
		if heard := in.seesBefore("control", "router"); heard != (i == machine) {
			t.Errorf("the %s hears of the router: %t", name, heard)
		}
	}
}

// A DHCPv6 client gets its own address, and the router's advertisement tells it to ask and who the router is.
func TestHostsGetTheirAddressByDHCPv6(t *testing.T) {
	m := newMachine(t)
	red := m.tenant("red", 3601)
	client := red.virtual(5)
	client.Run("sh", "-c", "echo 0 > /proc/sys/net/ipv6/conf/eth0/accept_dad; echo 1 > /proc/sys/net/ipv6/conf/eth0/accept_ra; echo 0 > /proc/sys/net/ipv6/conf/eth0/disable_ipv6")
	client.IP("link set eth0 up")
	networktest.Eventually(t, "a route to the gateway", func() bool { return strings.Contains(client.IP("-6 route"), "default via fe80::") })
	if made := client.IP("-6 -o addr show dev eth0 scope global"); made != "" {
		t.Errorf("the link made itself an address: %s", made)
	}
	if diff := cmp.Diff([]string{client.address6.String()}, client.addresses6(t)); diff != "" {
		t.Errorf("addresses (-want +got):\n%s", diff)
	}
}

// addresses6 asks for addresses by DHCPv6.
func (i *instance) addresses6(t *testing.T) (addresses []string) {
	t.Helper()
	link := i.Link("eth0")
	zone := strconv.Itoa(link.Index) // the name would be looked up elsewhere
	var conn *net.UDPConn
	networktest.Eventually(t, "a socket of the link-local address", func() bool {
		i.Do(func() error {
			conn, _ = net.ListenUDP("udp6", &net.UDPAddr{IP: network.LinkLocalOf(i.mac).AsSlice(), Port: 546, Zone: zone})
			return nil
		})
		return conn != nil
	})
	servers := &net.UDPAddr{IP: net.ParseIP("ff02::1:2"), Port: 547, Zone: zone}
	client, err := nclient6.NewWithConn(conn, link.HardwareAddr, nclient6.WithBroadcastAddr(servers), nclient6.WithTimeout(time.Second), nclient6.WithRetry(20))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	advertised, err := client.Solicit(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	answer, err := client.Request(t.Context(), advertised)
	if err != nil {
		t.Fatal(err)
	}
	for _, option := range answer.Options.OneIANA().Options.Addresses() {
		addresses = append(addresses, option.IPv6Addr.String())
	}
	return addresses
}

// ip6 is an IPv6 packet (RFC 8200, section 3).
func ip6(from, to netip.Addr, next byte, body []byte) []byte {
	header := []byte{0x60, 0, 0, 0}
	header = binary.BigEndian.AppendUint16(header, uint16(len(body)))
	header = append(append(append(header, next, 255), from.AsSlice()...), to.AsSlice()...)
	return append(header, body...)
}

// udp6 has no checksum, for nobody but the tests' sockets receives it.
func udp6(source, destination uint16, mark string) []byte {
	datagram := binary.BigEndian.AppendUint16(nil, source)
	datagram = binary.BigEndian.AppendUint16(datagram, destination)
	datagram = binary.BigEndian.AppendUint16(datagram, uint16(8+len(mark)))
	return append(append(datagram, 0, 0), mark...)
}

func icmp6(kind byte, body []byte, mark string) []byte {
	return append(append([]byte{kind, 0, 0, 0}, body...), mark...)
}

// neighbourMessage is a solicitation or an advertisement of a target (RFC 4861, section 4.3).
func neighbourMessage(kind byte, target netip.Addr, mark string) []byte {
	return icmp6(kind, append([]byte{0x20, 0, 0, 0}, target.AsSlice()...), mark)
}

// options6 is a header of options, all padding, or of any kind that begins like one.
func options6(next byte, body []byte) []byte {
	return append([]byte{next, 0, 1, 4, 0, 0, 0, 0}, body...)
}

// routerAlert is the hop-by-hop option of listeners' messages (RFC 2711).
func routerAlert(next byte, body []byte) []byte {
	return append([]byte{next, 0, 5, 2, 0, 0, 1, 0}, body...)
}

// fragment6 is a fragment that others follow, at an offset of a multiple of eight bytes.
func fragment6(next byte, offset uint16, body []byte) []byte {
	header := binary.BigEndian.AppendUint16([]byte{next, 0}, offset|1)
	return append(append(header, 0, 0, 0, 9), body...)
}
