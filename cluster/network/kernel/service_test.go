package kernel_test

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"github.com/ciaocloud/ciao/cluster/network"
	"github.com/ciaocloud/ciao/cluster/network/dhcp"
	"github.com/ciaocloud/ciao/cluster/network/networktest"
)

// ask queries the gateway from an instance and returns the answers, or the response code when there are none.
func (i *instance) ask(name string, kind uint16) []string {
	i.tenant.t.Helper()
	var response *dns.Msg
	query := new(dns.Msg).SetQuestion(dns.Fqdn(name), kind)
	client := dns.Client{Timeout: 2 * time.Second}
	networktest.Eventually(i.tenant.t, "an answer about "+name, func() bool {
		var conn *dns.Conn
		i.Do(func() (err error) {
			conn, err = client.Dial("172.16.0.1:53")
			return err
		})
		defer conn.Close()
		var err error
		response, _, err = client.ExchangeWithConn(query, conn)
		return err == nil
	})
	var answers []string
	for _, record := range response.Answer {
		answers = append(answers, strings.TrimPrefix(record.String(), record.Header().String()))
	}
	if len(answers) == 0 {
		return []string{dns.RcodeToString[response.Rcode]}
	}
	return answers
}

func TestNamesOfATenant(t *testing.T) {
	m := newMachine(t)
	red, blue := m.tenant("red", 3001), m.tenant("blue", 3002)
	red2, _ := red.instance(2), red.instance(3)
	blue9 := blue.instance(9)
	for _, c := range []struct {
		name string
		from *instance
		ask  string
		kind uint16
		want string
	}{
		{"full name", red2, "web-3.red.ciao", dns.TypeA, "172.16.0.3"},
		{"bare name", red2, "web-3", dns.TypeA, "172.16.0.3"},
		{"reverse", red2, "3.0.16.172.in-addr.arpa", dns.TypePTR, "web-3.red.ciao."},
		{"unknown name of the domain", red2, "web-4.red.ciao", dns.TypeA, "NXDOMAIN"},
		{"the other tenant's domain", red2, "web-9.blue.ciao", dns.TypeA, "REFUSED"},
		{"the other tenant's name", blue9, "web-3", dns.TypeA, "NXDOMAIN"},
		{"IPv6", red2, "web-3.red.ciao", dns.TypeAAAA, "fdc0:ffee:1200:bb9::3"},
		{"IPv6 by the bare name", red2, "web-3", dns.TypeAAAA, "fdc0:ffee:1200:bb9::3"},
		{"reverse of IPv6", red2, "3.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.9.b.b.0.0.0.2.1.e.e.f.f.0.c.d.f.ip6.arpa", dns.TypePTR, "web-3.red.ciao."},
		{"IPv6 of the other tenant", red2, "9.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.a.b.b.0.0.0.2.1.e.e.f.f.0.c.d.f.ip6.arpa", dns.TypePTR, "NXDOMAIN"},
		{"the underlay's DNS", red2, "host.test", dns.TypeA, "192.0.2.7"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff([]string{c.want}, c.from.ask(c.ask, c.kind)); diff != "" {
				t.Errorf("answer (-want +got):\n%s", diff)
			}
		})
	}
	t.Run("a removed name", func(t *testing.T) {
		pid := red.dnsmasq()
		red.wanted.Hosts = red.wanted.Hosts[:1]
		red.configure()
		networktest.Eventually(t, "the name to vanish", func() bool { return red2.ask("web-3.red.ciao", dns.TypeA)[0] == "NXDOMAIN" })
		if red.dnsmasq() != pid {
			t.Error("dnsmasq was restarted for it")
		}
	})
}

// dnsmasq is the pid of the tenant's dnsmasq; zero without one.
func (t *tenant) dnsmasq() int {
	text, err := os.ReadFile(t.pidFile())
	if err != nil {
		return 0
	}
	pid, _ := strconv.Atoi(strings.TrimSpace(string(text)))
	return pid
}

func (t *tenant) pidFile() string {
	return filepath.Join("/run/ciao", t.cluster, network.ConcentratorNamespace(t.cluster, "cnci-"+t.name), "pid")
}

// lease is what a DHCP client gets in the instance's port.
func (i *instance) lease() (dhcp.Lease, error) {
	i.IP("link set eth0 up")
	ctx, cancel := context.WithTimeout(i.tenant.t.Context(), 20*time.Second)
	defer cancel()
	client := dhcp.Client{Link: "eth0", MAC: i.Link("eth0").HardwareAddr, Inside: func(f func() error) error { i.Do(f); return nil }}
	for {
		lease, err := client.Acquire(ctx, netip.Addr{})
		if err == nil || ctx.Err() != nil {
			return lease, err
		}
	}
}

func TestHostsGetTheirAddressByDHCP(t *testing.T) {
	m := newMachine(t)
	red := m.tenant("red", 3101)
	client := red.port(5)
	lease, err := client.lease()
	if err != nil {
		t.Fatal(err)
	}
	got := []string{lease.Address.String(), lease.Router.String(), lease.Servers[0].String()}
	if diff := cmp.Diff([]string{"172.16.0.5/24", "172.16.0.1", "172.16.0.1"}, got); diff != "" {
		t.Errorf("lease (-want +got):\n%s", diff)
	}
	t.Run("the address goes to another host at once", func(t *testing.T) {
		pid := red.dnsmasq()
		mac := "02:00:ac:10:00:99"
		red.machine.wanted.Ports = nil
		red.apply()
		red.wanted.Hosts[0].MAC = mac
		red.machine.wanted.Ports = []network.Port{{Instance: "successor", Subnet: red.subnet.ID, Kind: network.Veth, MAC: mac, Addresses: []netip.Addr{client.address}}}
		red.configure()
		red.apply()
		successor := &instance{Space: networktest.NewSpace(t), tenant: red, id: "successor"}
		red.engine.IP("link set " + network.EngineEnd("successor") + " netns " + holder(successor.Space) + " name eth0")
		lease, err := successor.lease()
		if err != nil {
			t.Fatal(err)
		}
		if lease.Address.Addr() != client.address {
			t.Errorf("the successor got %s, want %s", lease.Address, client.address)
		}
		if red.dnsmasq() != pid {
			t.Error("dnsmasq was restarted for it")
		}
	})
}

func TestDnsmasqComesBack(t *testing.T) {
	m := newMachine(t)
	red := m.tenant("red", 3201)
	red2 := red.instance(2)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- red.concentrator.Run(ctx) }()
	first := red.dnsmasq()
	if err := unix.Kill(first, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	networktest.Eventually(t, "another dnsmasq", func() bool { pid := red.dnsmasq(); return pid != 0 && pid != first })
	if got := red2.ask("web-2", dns.TypeA); got[0] != "172.16.0.2" {
		t.Errorf("answer %v", got)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// An agent that is gone without a word has left dnsmasq; the next one takes it over, and a pid file that names somebody else's process
// is nobody's death.
func TestSuccessorTakesDnsmasqOver(t *testing.T) {
	m := newMachine(t)
	red := m.tenant("red", 3301)
	red2 := red.instance(2)
	pid := red.dnsmasq()
	t.Run("the same settings", func(t *testing.T) {
		red.concentrator = red.agent()
		red.configure()
		if red.dnsmasq() != pid {
			t.Errorf("dnsmasq %d was replaced by %d", pid, red.dnsmasq())
		}
		if got := red2.ask("web-2", dns.TypeA); got[0] != "172.16.0.2" {
			t.Errorf("answer %v", got)
		}
	})
	t.Run("other settings", func(t *testing.T) {
		red.concentrator = red.agent()
		red.wanted.Domain = "other.ciao"
		red.configure()
		if red.dnsmasq() == pid || unix.Kill(pid, 0) == nil && alive(pid) {
			t.Error("the old dnsmasq runs on")
		}
		if got := red2.ask("web-2.other.ciao", dns.TypeA); got[0] != "172.16.0.2" {
			t.Errorf("answer %v", got)
		}
	})
	t.Run("a pid that is another's now", func(t *testing.T) {
		stranger := red.gateway.Start("sleep", "3600")
		old := red.dnsmasq()
		unix.Kill(old, unix.SIGKILL)
		if err := os.WriteFile(red.pidFile(), []byte(strconv.Itoa(stranger.Process.Pid)), 0o644); err != nil {
			t.Fatal(err)
		}
		red.concentrator = red.agent()
		red.configure()
		if !alive(stranger.Process.Pid) {
			t.Error("the stranger was killed")
		}
		if got := red2.ask("web-2.other.ciao", dns.TypeA); got[0] != "172.16.0.2" {
			t.Errorf("answer %v", got)
		}
	})
}

// alive is whether the process is there and no zombie.
func alive(pid int) bool {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err == nil && !strings.Contains(string(text), ") Z ")
}
