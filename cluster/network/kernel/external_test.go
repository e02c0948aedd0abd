package kernel_test

import (
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/ciaocloud/ciao/cluster/network"
	"github.com/ciaocloud/ciao/cluster/network/networktest"
)

var lent = netip.MustParsePrefix("198.51.100.16/28")

// lend gives an instance an external address.
func (i *instance) lend(external string) {
	i.tenant.t.Helper()
	i.tenant.wanted.Lent = []netip.Prefix{lent}
	i.tenant.wanted.Mappings = append(i.tenant.wanted.Mappings, network.Mapping{External: netip.MustParseAddr(external), Internal: i.address})
	i.tenant.configure()
}

// answers reports whether a ping from a place outside tenants' networks is answered.
func answers(from *networktest.Space, address string) bool {
	_, err := from.Try("ping", "-c", "1", "-W", "1", address)
	return err == nil
}

// serve has an instance answer each TCP connection to port 80 with its name.
func (i *instance) serve() { i.answer("80", i.id) }

// answer has an instance answer each TCP connection to a port.
func (i *instance) answer(port, text string) {
	i.Start("busybox", "nc", "-ll", "-p", port, "-e", "echo", text)
	networktest.Eventually(i.tenant.t, i.id+" serves", func() bool {
		out, err := i.Try("busybox", "nc", "-w", "1", "127.0.0.1", port)
		return err == nil && strings.TrimSpace(out) == text
	})
}

// echo has an instance send datagrams back.
func (i *instance) echo(port string) (server net.PacketConn) {
	i.tenant.t.Helper()
	i.Do(func() (err error) {
		server, err = net.ListenPacket("udp4", ":"+port)
		return err
	})
	go func() {
		buffer := make([]byte, 64)
		for {
			n, from, err := server.ReadFrom(buffer)
			if err != nil {
				return // it was closed
			}
			_, _ = server.WriteTo(buffer[:n], from) // who asked notices
		}
	}()
	return server
}

// gets is what a connection to port 80 is answered.
func gets(from *networktest.Space, address string) string { return asks(from, address, "80") }

// asks is what a connection to a port is answered.
func asks(from *networktest.Space, address, port string) string {
	out, err := from.Try("sh", "-c", "timeout 2 busybox nc -w 2 "+address+" "+port+" </dev/null")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(out)
}

func TestExternalAddresses(t *testing.T) {
	m := newMachine(t)
	red, blue := m.tenant("red", 5001), m.tenant("blue", 5002)
	red2, red3, blue2 := red.instance(2), red.instance(3), blue.instance(2)
	red2.serve()
	blue.wanted.Lent = []netip.Prefix{lent}
	blue.configure()
	if answers(m.host.Space, "198.51.100.20") {
		t.Fatal("somebody answers for the address before it is mapped")
	}
	red2.lend("198.51.100.20")

	t.Run("reached from the host", func(t *testing.T) {
		if !answers(m.host.Space, "198.51.100.20") {
			t.Error("the first ping is not answered")
		}
		if got := gets(m.host.Space, "198.51.100.20"); got != "red-2" {
			t.Errorf("got %q", got)
		}
	})
	t.Run("speaks with it", func(t *testing.T) {
		seen := listen(t, m.host.Space, networktest.HostUnderlay)
		red2.Start("ping", "-c", "3", "-p", "6d61726b", networktest.OutsideAddress)
		if !seen.seesFrom(netip.MustParseAddr("198.51.100.20"), netip.MustParseAddr(networktest.OutsideAddress)) {
			t.Error("no packet with the external address as its source")
		}
	})
	t.Run("a neighbour without one speaks with the CNCI's", func(t *testing.T) {
		seen := listen(t, m.host.Space, networktest.HostUnderlay)
		red3.Start("ping", "-c", "3", networktest.OutsideAddress)
		if !seen.seesFrom(red.underlay, netip.MustParseAddr(networktest.OutsideAddress)) {
			t.Error("no packet with the CNCI's address as its source")
		}
	})
	t.Run("hairpin", func(t *testing.T) {
		for _, from := range []*instance{red3, red2} { // the second reaches itself
			if got := gets(from.Space, "198.51.100.20"); got != "red-2" {
				t.Errorf("%s got %q", from.id, got)
			}
		}
	})
	t.Run("other tenants reach it by the external address only", func(t *testing.T) {
		if got := gets(blue2.Space, "198.51.100.20"); got != "red-2" {
			t.Errorf("got %q", got)
		}
		if blue2.reaches(red.underlay.String()) {
			t.Error("the CNCI itself answers another tenant")
		}
		if blue2.reaches(networktest.HostAddress.String()) {
			t.Error("the host answers a tenant")
		}
	})
	t.Run("nothing else comes in", func(t *testing.T) {
		m.host.IP("route add 172.16.0.0/24 via " + red.underlay.String())
		defer m.host.IP("route del 172.16.0.0/24")
		if answers(m.host.Space, "172.16.0.2") || answers(m.host.Space, "172.16.0.3") {
			t.Error("an instance is reached by its own address from the underlay")
		}
	})
	t.Run("an agent that starts again keeps it", func(t *testing.T) {
		red.concentrator = red.agent()
		if red.configure(); !answers(m.host.Space, "198.51.100.20") {
			t.Error("it does not answer any more")
		}
	})
	t.Run("what was taken away behind the agent's back comes back", func(t *testing.T) {
		red.gateway.IP("addr del 198.51.100.20/32 dev underlay")
		red.concentrator = red.agent()
		if red.configure(); !answers(m.host.Space, "198.51.100.20") {
			t.Error("it does not answer any more")
		}
	})
	t.Run("detached, also for a connection that stands", func(t *testing.T) {
		conn := dialTCP(t, m.host.Space, "198.51.100.20:80") // its answers would be translated for as long as it lasts
		defer conn.Close()
		red.wanted.Mappings = nil
		red.configure()
		if answers(m.host.Space, "198.51.100.20") {
			t.Error("it still answers")
		}
		if out := red.gateway.IP("addr show dev underlay"); strings.Contains(out, "198.51.100.20") {
			t.Errorf("the address is still there:\n%s", out)
		}
		if out := red.gateway.Run("cat", "/proc/net/nf_conntrack"); strings.Contains(out, "198.51.100.20") {
			t.Errorf("a connection is remembered:\n%s", out)
		}
	})
}

// dialTCP connects from a namespace.
func dialTCP(t *testing.T, space *networktest.Space, address string) (conn net.Conn) {
	t.Helper()
	space.Do(func() (err error) {
		conn, err = net.DialTimeout("tcp", address, 5*time.Second)
		return err
	})
	return conn
}

// An address that a machine of the underlay has is not taken from it.
func TestExternalAddressInUse(t *testing.T) {
	m := newMachine(t)
	red := m.tenant("red", 5101)
	red2 := red.instance(2)
	m.host.IP("addr add 198.51.100.21/32 dev " + networktest.HostUnderlay)
	red2.lend("198.51.100.22") // beside it, one that is free
	red.wanted.Mappings = append(red.wanted.Mappings, network.Mapping{External: netip.MustParseAddr("198.51.100.21"), Internal: red2.address})
	facts, err := red.concentrator.Apply(t.Context(), *red.wanted)
	if err != nil {
		t.Fatal(err)
	}
	if len(facts.Unclaimed) != 1 || facts.Unclaimed[0].External.String() != "198.51.100.21" ||
		!strings.Contains(facts.Unclaimed[0].Problem, m.host.Link(networktest.HostUnderlay).HardwareAddr.String()) {
		t.Errorf("unclaimed: %+v", facts.Unclaimed)
	}
	if !answers(m.host.Space, "198.51.100.22") {
		t.Error("the one that is free does not answer")
	}
	m.host.IP("addr del 198.51.100.21/32 dev " + networktest.HostUnderlay)
	if facts, err = red.concentrator.Apply(t.Context(), *red.wanted); err != nil || len(facts.Unclaimed) != 0 {
		t.Errorf("unclaimed: %+v, %v", facts.Unclaimed, err)
	}
	if !answers(m.host.Space, "198.51.100.21") {
		t.Error("it does not answer when it is free")
	}
}

// The connections of a host that goes are forgotten, so that none reaches the next with its address; those of others stay.
func TestConnectionsEndWithTheirHost(t *testing.T) {
	m := newMachine(t)
	red := m.tenant("red", 5202)
	red2, red3 := red.instance(2), red.instance(3)
	for k, i := range []*instance{red2, red3} {
		i.Start("busybox", "nc", "-ll", "-p", "22", "-e", "sleep", "60")
		networktest.Eventually(t, i.id+" listens", func() bool {
			_, err := i.Try("grep", "-qE", ":0016 .* 0A ", "/proc/net/tcp", "/proc/net/tcp6")
			return err == nil
		})
		red.wanted.Hosts[k].LoginPort = uint16(33002 + k)
	}
	red.configure()
	for _, port := range []string{"33002", "33003"} {
		defer dialTCP(t, m.host.Space, red.underlay.String()+":"+port).Close()
	}
	remembered := func(i *instance) bool {
		return strings.Contains(red.gateway.Run("cat", "/proc/net/nf_conntrack"), "src="+i.address.String()+" ")
	}
	if !remembered(red2) || !remembered(red3) {
		t.Fatal("the connections are not tracked: this shows nothing")
	}
	red.wanted.Hosts = red.wanted.Hosts[1:]
	red.configure()
	if remembered(red2) {
		t.Error("a connection of the host that is gone is remembered")
	}
	if !remembered(red3) {
		t.Error("a connection of the host that stays is forgotten")
	}
}

// A login port of the CNCI's own address leads to the host's SSH server, and no other port does.
func TestLoginPort(t *testing.T) {
	m := newMachine(t)
	red := m.tenant("red", 5201)
	red2 := red.instance(2)
	red2.Start("busybox", "nc", "-ll", "-p", "22", "-e", "echo", "login")
	red.wanted.Hosts[0].LoginPort = 33002
	red.configure()
	ask := func(port string) string {
		out, _ := m.host.Try("sh", "-c", "timeout 2 busybox nc -w 2 "+red.underlay.String()+" "+port+" </dev/null")
		return strings.TrimSpace(out)
	}
	networktest.Eventually(t, "the login port answers", func() bool { return ask("33002") == "login" })
	if ask("22") == "login" {
		t.Error("port 22 of the CNCI leads to the host")
	}
	red.wanted.Hosts[0].LoginPort = 0
	if red.configure(); ask("33002") == "login" {
		t.Error("the port still leads to the host")
	}
}

// Published ports lead to their hosts, from the underlay those of the CNCI's address, from everywhere those of external addresses, and the rest of an
// external address goes on to where it went.
func TestPublishedPorts(t *testing.T) {
	m := newMachine(t)
	red, blue := m.tenant("red", 5301), m.tenant("blue", 5302)
	red2, red3, blue2 := red.instance(2), red.instance(3), blue.instance(2)
	for _, i := range []*instance{red2, red3} {
		i.serve()
		i.answer("8080", i.id+" on 8080")
	}
	blue.wanted.Lent = []netip.Prefix{lent}
	blue.configure()
	red.wanted.Hosts[0].Ports = []network.HostPort{{Published: 16008, Port: 80}, {Published: 80, Port: 8080, External: true}}
	red.wanted.Hosts[1].Ports = []network.HostPort{{Published: 8080, Port: 80}, {Published: 16012, Port: 8080}}
	red2.lend("198.51.100.20")
	cnci := red.underlay.String()
	for _, c := range []struct {
		from          *networktest.Space
		address, port string
		want          string
	}{
		{m.host.Space, cnci, "16008", "red-2"},
		{m.host.Space, cnci, "8080", "red-3"},
		{m.host.Space, cnci, "16012", "red-3 on 8080"},
		{m.host.Space, cnci, "80", ""},
		{m.host.Space, "198.51.100.20", "80", "red-2 on 8080"},
		{m.host.Space, "198.51.100.20", "8080", "red-2 on 8080"}, // by the address as a whole
		{m.host.Space, "198.51.100.20", "16008", ""},
		{red3.Space, "198.51.100.20", "80", "red-2 on 8080"},
		{red2.Space, "198.51.100.20", "80", "red-2 on 8080"},
		{blue2.Space, "198.51.100.20", "80", "red-2 on 8080"},
		{red3.Space, cnci, "16008", ""}, // the CNCI's address is not for tenants
		{blue2.Space, cnci, "16008", ""},
	} {
		if got := asks(c.from, c.address, c.port); got != c.want {
			t.Errorf("%s port %s answers %q, want %q", c.address, c.port, got, c.want)
		}
	}
	red.wanted.Hosts[0].Ports, red.wanted.Hosts[1].Ports = red.wanted.Hosts[1].Ports, nil // as when one takes over from the other
	red.configure()
	if got := asks(m.host.Space, cnci, "8080"); got != "red-2" {
		t.Errorf("the port that has passed on answers %q", got)
	}
	if got := asks(m.host.Space, cnci, "16008"); got != "" {
		t.Errorf("a port that is not published any more answers %q", got)
	}
	if got := asks(m.host.Space, "198.51.100.20", "80"); got != "red-2" {
		t.Errorf("a port of the external address that is not published any more answers %q", got)
	}
}

// A datagram to a published port reaches its host, and so does the answer.
func TestPublishedPortOfUDP(t *testing.T) {
	m := newMachine(t)
	red := m.tenant("red", 5401)
	red2 := red.instance(2)
	echo := red2.echo("5353")
	defer echo.Close()
	red.wanted.Hosts[0].Ports = []network.HostPort{{Published: 53, Port: 5353, UDP: true}}
	red.configure()
	m.host.Do(func() error {
		conn, err := net.DialTimeout("udp", red.underlay.String()+":53", 5*time.Second)
		if err != nil {
			return err
		}
		defer conn.Close()
		if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
			return err
		}
		if _, err := conn.Write([]byte("there")); err != nil {
			return err
		}
		answer := make([]byte, 16)
		n, err := conn.Read(answer)
		if got := string(answer[:n]); got != "there" {
			t.Errorf("the answer is %q (%v)", got, err)
		}
		return nil
	})
}
