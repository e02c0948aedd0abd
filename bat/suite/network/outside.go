package network

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ciaocloud/ciao/bat"
)

func outside(ctx context.Context, t *bat.T) {
	if t.Cluster.Outside == "" {
		beyond(ctx, t)
		return
	}
	host, port, err := net.SplitHostPort(t.Cluster.Outside)
	t.Need(err, "--outside must be HOST:PORT")
	if strings.ContainsAny(host+port, "'\n") {
		t.Fatalf("--outside must be HOST:PORT")
	}
	t.Tenant(ctx).Probe(ctx, bat.Step{Name: t.Cluster.Outside + " is reached", Script: fmt.Sprintf("within 5 reaches '%s' '%s'", host, port)})
}

// The place beyond the machine: a part of TEST-NET-3 (RFC 5737), and one of IPv6's range for documentation (RFC 3849), that have two hosts.
const farSize = 4 << 20

// family is one of the two ways to the place beyond the machine.
type family struct {
	name    string
	machine netip.Prefix // the machine's address there
	server  netip.Prefix
	open    bool // the underlay has it, so that there is a way out
}

func families(ctx context.Context, t *bat.T) []family {
	_, own := underlay6(ctx, t)
	return []family{
		{"IPv4", netip.MustParsePrefix("203.0.113.129/30"), netip.MustParsePrefix("203.0.113.130/30"), true},
		{"IPv6", netip.MustParsePrefix("2001:db8:cb00:71ff::1/64"), netip.MustParsePrefix("2001:db8:cb00:71ff::2/64"), len(own) > 0},
	}
}

// beyond makes a server in a namespace that hangs on this machine by one link, and has an instance fetch from it, by each family that the
// underlay has; by one that it has not nobody may come.
func beyond(ctx context.Context, t *bat.T) {
	if !t.Cluster.Local(ctx) || os.Geteuid() != 0 {
		t.Skipf("no destination outside is known: name one with --outside HOST:PORT (as root on the cluster's own machine one is made)")
	}
	ways := families(ctx, t)
	if !hasIPv6() {
		ways = ways[:1]
	}
	space := placeBeyond(ctx, t, ways)
	var steps []bat.Step
	callers := make([]chan netip.Addr, len(ways))
	for n, way := range ways {
		listener, err := listenIn("/run/netns/"+space, netip.AddrPortFrom(way.server.Addr(), 0).String())
		t.Need(err, "listen outside")
		serving := make(chan struct{})
		callers[n] = make(chan netip.Addr, 16)
		go func() { defer close(serving); serve(listener, callers[n]) }()
		t.Cleanup(func(context.Context) { _ = listener.Close(); <-serving })
		_, port, err := net.SplitHostPort(listener.Addr().String())
		t.Need(err, "the server's address")
		steps = append(steps, way.steps(port)...)
	}
	t.Tenant(ctx).Probe(ctx, steps...)
	for n, way := range ways {
		way.judge(t, callers[n])
	}
}

func (f family) steps(port string) []bat.Step {
	at := f.server.Addr().String() + " " + port
	if !f.open {
		return []bat.Step{{Name: "a server outside is not reached over " + f.name + ", which the underlay has not", Script: "! reaches " + at}}
	}
	return []bat.Step{
		{Name: "a server outside is reached over " + f.name, Script: "within 5 reaches " + at},
		{Name: "4 MiB arrive over " + f.name, Script: fmt.Sprintf(`[ "$(timeout 30 nc -w 5 %s </dev/null | wc -c)" = %d ]`, at, farSize)}}
}

// flags are those of an address that is good at once.
func (f family) flags() string {
	if f.server.Addr().Is6() {
		return "nodad"
	}
	return ""
}

// judge looks at whom the server saw.
func (f family) judge(t *bat.T, callers <-chan netip.Addr) {
	select {
	case caller := <-callers:
		if !f.open || caller != f.machine.Addr() {
			t.Errorf("the server saw %s over %s, expected the machine's address %s or, without %s on the underlay, nobody", caller, f.name, f.machine.Addr(), f.name)
		}
	default:
		if f.open {
			t.Errorf("the server saw nobody over %s", f.name)
		}
	}
}

// placeBeyond makes the namespace, which goes with the test.
func placeBeyond(ctx context.Context, t *bat.T, ways []family) (space string) {
	space = t.Name("outside")
	link := "bat" + space[len(space)-8:] // names of links have at most 15 bytes
	t.Cleanup(func(ctx context.Context) {
		_ = ip(ctx, "link", "del", link) // it went with the namespace, as a rule
		if err := ip(ctx, "netns", "del", space); err != nil {
			t.Errorf("remove the namespace: %v", err)
		}
	})
	for _, words := range []string{
		"netns add " + space,
		"link add " + link + " type veth peer name eth0 netns " + space,
		"link set " + link + " up",
		"-n " + space + " link set eth0 up",
	} {
		t.Need(ip(ctx, strings.Fields(words)...), "make a place outside")
	}
	for _, way := range ways {
		if way.server.Addr().Is6() { // new links of some machines have it off
			t.Need(os.WriteFile("/proc/sys/net/ipv6/conf/"+link+"/disable_ipv6", []byte("0"), 0), "give the link IPv6")
			t.Need(ip(ctx, "netns", "exec", space, "sh", "-c", "echo 0 > /proc/sys/net/ipv6/conf/eth0/disable_ipv6"), "give the place outside IPv6")
		}
		t.Need(ip(ctx, strings.Fields(fmt.Sprintf("addr add %s dev %s %s", way.machine, link, way.flags()))...), "give the link an address")
		t.Need(ip(ctx, strings.Fields(fmt.Sprintf("-n %s addr add %s dev eth0 %s", space, way.server, way.flags()))...), "give the place outside an address")
	}
	return space
}

func ip(ctx context.Context, words ...string) error {
	if out, err := exec.CommandContext(ctx, "ip", words...).CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(words, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// listenIn listens in a network namespace, from a thread that is not used again.
func listenIn(space, address string) (listener net.Listener, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		file, openErr := os.Open(space)
		if err = openErr; err != nil {
			return
		}
		defer file.Close()
		if err = unix.Setns(int(file.Fd()), unix.CLONE_NEWNET); err == nil {
			listener, err = net.Listen("tcp", address)
		}
	}()
	<-done
	return listener, err
}

// serve gives each caller farSize bytes and notes who it was, until the listener is closed.
func serve(listener net.Listener, callers chan<- netip.Addr) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		if remote, err := netip.ParseAddrPort(conn.RemoteAddr().String()); err == nil {
			select {
			case callers <- remote.Addr().Unmap():
			default: // enough are known
			}
		}
		_, _ = conn.Write(make([]byte, farSize)) // the caller counts
		_ = conn.Close()
	}
}
