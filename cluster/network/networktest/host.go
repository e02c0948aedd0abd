package networktest

import (
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/require"
)

// Host stands for a machine: its underlay is a bridge, on which it has an address of its own and a DHCP server. Beyond it, reached
// through its NAT only, is an outside.
type Host struct {
	*Space
	Outside *Space
	router  *exec.Cmd
	leases  string // the file of its DHCP server
}

// Names and addresses of a Host.
const (
	Parent         = "ciao_br"  // the underlay's link
	HostUnderlay   = "ciaovlan" // the host's own link on it
	outsideLink    = "wan"
	OutsideAddress = "203.0.113.2"
	// OutsideAddress6 is of the range for documentation (RFC 3849).
	OutsideAddress6 = "2001:db8:cb00:7100::2"
)

// Underlay is the range of a Host's underlay; its own address is HostAddress, at which its DHCP and DNS server is, too. It advertises
// Underlay6 there, in which it has HostAddress6.
var (
	Underlay     = netip.MustParsePrefix("198.51.100.0/24")
	HostAddress  = netip.MustParseAddr("198.51.100.1")
	Underlay6    = netip.MustParsePrefix("fd7a:31c5:90e4::/64")
	HostAddress6 = netip.MustParseAddr("fd7a:31c5:90e4::1")
)

// Prefix6 is the IPv6 prefix of a test's subnet with a key.
func Prefix6(key uint32) netip.Prefix {
	return cluster.SubnetPrefix6(netip.MustParsePrefix("fdc0:ffee:1200::/40"), key)
}

// NewHost makes a host in a throw-away namespace. Its DNS server knows the name host.test.
func NewHost(t testing.TB) *Host {
	t.Helper()
	require.Command(t, "dnsmasq", "nft")
	h := &Host{Space: NewSpace(t), Outside: NewSpace(t)}
	h.IP("link add " + Parent + " type bridge")
	h.IP("link set " + Parent + " up")
	h.IP("link add " + HostUnderlay + " link " + Parent + " type macvlan mode bridge")
	h.IP("addr add 198.51.100.1/24 dev " + HostUnderlay)
	h.IP("link set " + HostUnderlay + " up")
	h.address6(HostUnderlay, HostAddress6.String()+"/64")
	h.IP("link add " + outsideLink + " type veth peer name lan")
	h.connectOutside(t)
	h.serve(t)
	h.Advertise6(t)
	return h
}

// connectOutside joins the outside by a veth. It has no route back to the underlay, so that only what the host translates returns.
func (h *Host) connectOutside(t testing.TB) {
	t.Helper()
	peer := h.Outside.Start("sleep", "3600") // ip(8) names a namespace by a process in it
	h.IP("link set lan netns " + pidOf(peer))
	h.IP("addr add 203.0.113.1/24 dev " + outsideLink)
	h.IP("link set " + outsideLink + " up")
	h.Outside.IP("addr add " + OutsideAddress + "/24 dev lan")
	h.Outside.IP("link set lan up")
	h.address6(outsideLink, "2001:db8:cb00:7100::1/64")
	h.Outside.address6("lan", OutsideAddress6+"/64")
	h.Run("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding")
	for _, family := range []string{"ip", "ip6"} {
		h.Run("nft", "add table "+family+" host; add chain "+family+" host post { type nat hook postrouting priority 100; }; add rule "+family+" host post oifname "+outsideLink+" masquerade")
	}
}

// address6 gives a link of a space IPv6 and an address that is good at once.
func (s *Space) address6(link, address string) {
	s.t.Helper()
	s.Run("sh", "-c", "echo 0 > /proc/sys/net/ipv6/conf/"+link+"/accept_dad; echo 0 > /proc/sys/net/ipv6/conf/"+link+"/disable_ipv6")
	s.IP("addr add " + address + " dev " + link + " nodad")
}

func (h *Host) serve(t testing.TB) {
	t.Helper()
	pid := filepath.Join(t.TempDir(), "pid")
	h.leases = filepath.Join(t.TempDir(), "leases")
	h.Start("dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--user=root", "--pid-file="+pid, "--log-facility=/dev/null",
		"--interface="+HostUnderlay, "--except-interface=lo", "--bind-interfaces", "--no-resolv", "--no-hosts", "--no-ping", "--dhcp-leasefile="+h.leases, "--dhcp-authoritative",
		"--dhcp-range=198.51.100.50,198.51.100.250,1h", "--address=/host.test/192.0.2.7")
	Eventually(t, "the host's DHCP server", func() bool {
		matches, err := filepath.Glob(pid)
		return err == nil && len(matches) == 1
	})
}

// Lent are the addresses that the host's DHCP server has lent.
func (h *Host) Lent(t testing.TB) []netip.Addr {
	t.Helper()
	leases, err := os.ReadFile(h.leases)
	if err != nil {
		t.Fatal(err)
	}
	var lent []netip.Addr
	for line := range strings.Lines(string(leases)) { // time, MAC, address, host name, client id
		if fields := strings.Fields(line); len(fields) > 2 {
			lent = append(lent, netip.MustParseAddr(fields[2]))
		}
	}
	return lent
}

// Advertise6 has the host be a router of IPv6 on its underlay, as it is from the beginning, until Silence6.
func (h *Host) Advertise6(t testing.TB) {
	t.Helper()
	h.router = h.Start("dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--user=root", "--pid-file=", "--log-facility=/dev/null", "--port=0",
		"--interface="+HostUnderlay, "--except-interface=lo", "--bind-interfaces", "--enable-ra", "--dhcp-range="+Underlay6.Addr().String()+",ra-only")
}

// Silence6 ends what Advertise6 began. What it has advertised holds on.
func (h *Host) Silence6() {
	h.router.Process.Kill()
	h.router.Wait()
}

// Eventually waits for a condition, for as long as a loaded machine may need.
func Eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	for !condition() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: still waiting after 20 s", what)
		}
		<-poll.C
	}
}
