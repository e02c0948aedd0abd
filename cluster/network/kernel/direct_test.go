package kernel_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/ciaocloud/ciao/cluster/network"
	"github.com/ciaocloud/ciao/cluster/network/networktest"
)

// datagram is a frame of an instance for a neighbour.
func datagram(from, to *instance, mark string) []byte {
	return ethernet(to.mac, from.mac, unix.ETH_P_IP, udp(from.address, to.address, 7, 7, []byte(mark)))
}

// announcement is a frame of an instance for all.
func announcement(from *instance, mark string) []byte {
	return ethernet(broadcast, from.mac, unix.ETH_P_IP, udp(from.address, netip.MustParseAddr("172.16.0.255"), 7, 7, []byte(mark)))
}

// underlayOf captures what comes to a node or a CNCI, tunnelled frames as they are on the way.
func underlayOf(t *testing.T, space *networktest.Space) *wire {
	return listen(t, space, network.Underlay)
}

func (m *machine) space() *networktest.Space { return networktest.OpenSpace(m.t, m.node.Namespace()) }

// Three nodes have the tenant, and one has another: a frame for an instance goes to its node and nowhere else, a frame for all
// goes to the nodes of the tenant and to its CNCI.
func TestFramesGoStraightToTheirNode(t *testing.T) {
	m1 := newMachine(t)
	m2, m3, m4 := m1.beside("node-2"), m1.beside("node-3"), m1.beside("node-4")
	red1 := m1.tenant("red", 4001)
	red2, red3 := red1.on(m2), red1.on(m3)
	m4.tenant("blue", 4002)
	spread(red1, red2, red3)
	one, two, three := red1.instance(2), red2.instance(3), red3.instance(4)
	spread(red1, red2, red3)

	gateway, idle, foreign := underlayOf(t, red1.gateway), underlayOf(t, m3.space()), underlayOf(t, m4.space())
	wires := map[*instance]*wire{one: listen(t, one.Space, "eth0"), two: listen(t, two.Space, "eth0")}
	for _, c := range []struct {
		name     string
		from, to *instance
	}{{"there", one, two}, {"back", two, one}} {
		t.Run(c.name, func(t *testing.T) {
			mark, control := "for one node, "+c.name, "for all nodes, "+c.name
			wires[c.from].send(datagram(c.from, c.to, mark))
			if !wires[c.to].sees(mark, arrival) {
				t.Fatal("it did not arrive")
			}
			wires[c.from].send(announcement(c.from, control))
			if gateway.seesBefore(control, mark) {
				t.Error("the CNCI got a frame that was not for it")
			}
			if idle.seesBefore(control, mark) {
				t.Error("a third node got a frame that was not for it")
			}
			m1.host.Do(sendUDP(networktest.HostAddress, m4.facts.Underlay, []byte("ping "+c.name)))
			if foreign.seesBefore("ping "+c.name, control) {
				t.Error("a node without the tenant got its broadcast")
			}
		})
	}
	t.Run("an instance without an entry is found", func(t *testing.T) {
		subnet := &m1.wanted.Subnets[0]
		subnet.Neighbours = nil
		m1.apply()
		wires[one].send(datagram(one, two, "for whoever has it"))
		if !wires[two].sees("for whoever has it", arrival) {
			t.Error("it did not arrive")
		}
	})
	t.Run("the underlay is closed on all nodes", func(t *testing.T) {
		for _, to := range []netip.Addr{m1.facts.Underlay, m2.facts.Underlay, m4.facts.Underlay, red1.underlay} {
			if three.reaches(to.String()) {
				t.Errorf("an instance reaches %s", to)
			}
		}
	})
}

// Packets of the tenants' MTU pass whole, and those that are larger are refused where they come from.
func TestMTUBetweenNodes(t *testing.T) {
	m1 := newMachine(t)
	m2 := m1.beside("node-2")
	red1 := m1.tenant("red", 4101)
	red2 := red1.on(m2)
	spread(red1, red2)
	one, two := red1.instance(2), red2.instance(3)
	spread(red1, red2)
	const headers = 20 + 8 // IPv4, ICMP
	largest := m1.facts.MTU - headers
	if out, err := one.Try("ping", "-M", "do", "-c", "1", "-W", "5", "-s", fmt.Sprint(largest), two.address.String()); err != nil {
		t.Errorf("the largest packet does not pass: %s", out)
	}
	out, err := one.Try("ping", "-M", "do", "-c", "1", "-W", "1", "-s", fmt.Sprint(largest+1), two.address.String())
	if err == nil || !strings.Contains(out, fmt.Sprint("mtu=", m1.facts.MTU)) {
		t.Errorf("a larger packet is not refused with the MTU: %v: %s", err, out)
	}
}

// A node that has the tenant no more is refused like any stranger.
func TestFormerPeersAreStrangers(t *testing.T) {
	m1 := newMachine(t)
	m2 := m1.beside("node-2")
	red1 := m1.tenant("red", 4201)
	red2 := red1.on(m2)
	spread(red1, red2)
	one, other := red1.instance(2), red1.instance(3)
	in, control := listen(t, one.Space, "eth0"), listen(t, other.Space, "eth0")
	forged := func(mark string) []byte { return vxlan(4201, datagram(other, one, mark)) }
	m2.space().Do(sendUDP(m2.facts.Underlay, m1.facts.Underlay, forged("from a peer")))
	if !in.sees("from a peer", arrival) {
		t.Fatal("a peer is refused: the test shows nothing")
	}
	spread(red1)
	before := m1.drops(network.Stranger)
	m2.space().Do(sendUDP(m2.facts.Underlay, m1.facts.Underlay, forged("from a former peer")))
	networktest.Eventually(t, "the counter of strangers", func() bool { return m1.drops(network.Stranger) == before+1 })
	control.send(datagram(other, one, "control"))
	if in.seesBefore("control", "from a former peer") {
		t.Error("it arrived")
	}
}

// A node that shares one network with another is no peer in the networks that it does not have: what it sends into them is refused,
// by the other node and by the CNCI.
func TestPeersOfOneNetworkAreStrangersInAnother(t *testing.T) {
	m1 := newMachine(t)
	m2 := m1.beside("node-2")
	red, blue := m1.tenant("red", 4401), m1.tenant("blue", 4402)
	redToo := red.on(m2)
	spread(red, redToo)
	mate, victim, control := red.instance(2), blue.instance(2), blue.instance(3)
	spread(red, redToo)
	far, farControl, near := listen(t, victim.Space, "eth0"), listen(t, control.Space, "eth0"), listen(t, mate.Space, "eth0")
	inject := func(to netip.Addr, key uint32, mark string) {
		frame := ethernet(broadcast, "02:00:ac:10:00:63", unix.ETH_P_IP, udp(victim.address, netip.MustParseAddr("172.16.0.255"), 7, 7, []byte(mark)))
		m2.space().Do(sendUDP(m2.facts.Underlay, to, vxlan(key, frame)))
	}
	strangers := func(counters func(context.Context) (map[string]uint64, error)) uint64 {
		found, err := counters(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return found[network.Stranger]
	}
	inject(m1.facts.Underlay, 4401, "into its own network")
	if !near.sees("into its own network", arrival) {
		t.Fatal("a peer's frame did not arrive: the test shows nothing")
	}
	for _, c := range []struct {
		name     string
		to       netip.Addr
		counters func(context.Context) (map[string]uint64, error)
	}{
		{"at the node", m1.facts.Underlay, m1.node.Counters},
		{"at the CNCI", blue.underlay, blue.concentrator.Counters},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := strangers(c.counters)
			inject(c.to, 4402, "into another network "+c.name)
			networktest.Eventually(t, "the counter", func() bool { return strangers(c.counters) == before+1 })
			farControl.send(datagram(control, victim, "control "+c.name))
			if far.seesBefore("control "+c.name, "into another network "+c.name) {
				t.Error("it arrived")
			}
		})
	}
}

// connect opens a TCP connection between two namespaces; serve has its other end until it returns.
func connect(t testing.TB, from, to *networktest.Space, address netip.Addr, serve func(net.Conn)) net.Conn {
	t.Helper()
	at := netip.AddrPortFrom(address, 7).String()
	var listener net.Listener
	to.Do(func() (err error) {
		listener, err = net.Listen("tcp4", at)
		return err
	})
	done := make(chan struct{})
	go func() {
		defer close(done)
		if conn, err := listener.Accept(); err == nil {
			defer conn.Close()
			serve(conn)
		}
	}()
	var conn net.Conn
	from.Do(func() (err error) {
		conn, err = net.DialTimeout("tcp4", at, arrival)
		return err
	})
	t.Cleanup(func() { conn.Close(); listener.Close(); <-done })
	return conn
}

// echo is a connection over which lines go and come back.
type echo struct {
	t    *testing.T
	conn net.Conn
	back *bufio.Reader
	sent int
}

func newEcho(t *testing.T, from, to *instance) *echo {
	t.Helper()
	conn := connect(t, from.Space, to.Space, to.address, func(conn net.Conn) { io.Copy(conn, conn) })
	return &echo{t: t, conn: conn, back: bufio.NewReader(conn)}
}

// works sends a line and waits for it.
func (e *echo) works() error {
	e.sent++
	line := fmt.Sprintf("line %d\n", e.sent)
	e.conn.SetDeadline(time.Now().Add(arrival))
	if _, err := io.WriteString(e.conn, line); err != nil {
		return err
	}
	got, err := e.back.ReadString('\n')
	if err == nil && got != line {
		err = fmt.Errorf("got %q, want %q", got, line)
	}
	return err
}

// during keeps the connection busy while f runs; every line must come back.
func (e *echo) during(f func()) {
	e.t.Helper()
	stop, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		for {
			select {
			case <-stop:
				ended <- nil
				return
			default:
			}
			if err := e.works(); err != nil {
				ended <- err
				return
			}
		}
	}()
	f()
	close(stop)
	if err := <-ended; err != nil {
		e.t.Errorf("the connection broke at line %d: %v", e.sent, err)
	}
	e.t.Logf("%d lines came back", e.sent)
}

// entries are the forwarding entries of the tenant's tunnel on the node.
func (t *tenant) entries() []string {
	lines := strings.Split(strings.TrimSpace(t.space().Run("bridge", "fdb", "show", "dev", network.VXLANName(t.subnet.ID))), "\n")
	tunnel := slices.DeleteFunc(lines, func(line string) bool { return !strings.Contains(line, " dst ") })
	return slices.Sorted(slices.Values(tunnel))
}

// A node's launcher was away while its entries went wrong and another node got the tenant: its successor puts right what is wrong, and
// a connection that goes on all the while does not notice.
func TestReturningNodeIsRepairedUnderTraffic(t *testing.T) {
	m1 := newMachine(t)
	m2, m3 := m1.beside("node-2"), m1.beside("node-3")
	red1 := m1.tenant("red", 4301)
	red2, red3 := red1.on(m2), red1.on(m3)
	spread(red1, red2, red3)
	one, two := red1.instance(2), red2.instance(3)
	spread(red1, red2, red3)
	connection := newEcho(t, one, two)
	if err := connection.works(); err != nil {
		t.Fatal(err)
	}
	links, tunnel := m2.space().IP("-o link"), network.VXLANName(red1.subnet.ID)
	connection.during(func() {
		three := red3.instance(4)
		m2.node = m2.launch()
		spread(red1, red2, red3)
		right := red2.entries()
		stale := network.MACOf(netip.MustParseAddr("172.16.0.99")).String()
		for _, change := range []string{
			"del " + three.mac + " dev " + tunnel + " dst " + m3.facts.Underlay.String(),
			"add " + stale + " dev " + tunnel + " dst " + m3.facts.Underlay.String(),
			"del " + network.FloodMAC + " dev " + tunnel + " dst " + m3.facts.Underlay.String(),
		} {
			m2.space().Run("bridge", strings.Fields("fdb "+change)...)
		}
		m2.node = m2.launch()
		m2.apply()
		if diff := cmp.Diff(right, red2.entries()); diff != "" {
			t.Errorf("entries after the repair (-want +got):\n%s", diff)
		}
		if !slices.ContainsFunc(right, func(line string) bool { return strings.HasPrefix(line, three.mac) }) || !three.reaches(two.address.String()) {
			t.Errorf("the new neighbour is not known: %v", right)
		}
	})
	if diff := cmp.Diff(links, m2.space().IP("-o link")); diff != "" {
		t.Errorf("links were changed (-before +after):\n%s", diff)
	}
}
