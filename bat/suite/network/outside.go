package network

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
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

// The place beyond the machine: a part of TEST-NET-3 (RFC 5737) that has two hosts.
const (
	nearAddress = "203.0.113.129" // the machine's
	farAddress  = "203.0.113.130" // the server's
	farBits     = "/30"
	farSize     = 4 << 20
)

// beyond makes a server in a namespace that hangs on this machine by one link, and has an instance fetch from it.
func beyond(ctx context.Context, t *bat.T) {
	if !local(ctx, t) || os.Geteuid() != 0 {
		t.Skipf("no destination outside is known: name one with --outside HOST:PORT (as root on the cluster's own machine one is made)")
	}
	listener := listenBeyond(ctx, t)
	callers, serving := make(chan netip.Addr, 16), make(chan struct{})
	go func() { defer close(serving); serve(listener, callers) }()
	t.Cleanup(func(context.Context) { _ = listener.Close(); <-serving })
	_, port, err := net.SplitHostPort(listener.Addr().String())
	t.Need(err, "the server's address")
	t.Tenant(ctx).Probe(ctx,
		bat.Step{Name: "a server outside is reached", Script: fmt.Sprintf("within 5 reaches %s %s", farAddress, port)},
		bat.Step{Name: "4 MiB arrive", Script: fmt.Sprintf(`[ "$(timeout 30 nc -w 5 %s %s </dev/null | wc -c)" = %d ]`, farAddress, port, farSize)})
	if caller := <-callers; caller.String() != nearAddress {
		t.Errorf("the server saw %s, expected the machine's address %s", caller, nearAddress)
	}
}

// listenBeyond makes the namespace, which goes with the test, and a listener in it.
func listenBeyond(ctx context.Context, t *bat.T) net.Listener {
	space := t.Name("outside")
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
		"addr add " + nearAddress + farBits + " dev " + link,
		"link set " + link + " up",
		"-n " + space + " addr add " + farAddress + farBits + " dev eth0",
		"-n " + space + " link set eth0 up",
	} {
		t.Need(ip(ctx, strings.Fields(words)...), "make a place outside")
	}
	listener, err := listenIn("/run/netns/"+space, farAddress+":0")
	t.Need(err, "listen outside")
	return listener
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
			listener, err = net.Listen("tcp4", address)
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

// local says whether the cluster is on this machine: the controller's address is one of its own.
func local(ctx context.Context, t *bat.T) bool {
	addresses, err := net.DefaultResolver.LookupNetIP(ctx, "ip4", t.Cluster.Host())
	if err != nil {
		return false
	}
	own, err := net.InterfaceAddrs()
	if err != nil {
		return false
	}
	return slices.ContainsFunc(own, func(a net.Addr) bool {
		prefix, err := netip.ParsePrefix(a.String())
		return err == nil && slices.ContainsFunc(addresses, func(c netip.Addr) bool { return c.Unmap() == prefix.Addr() })
	})
}
