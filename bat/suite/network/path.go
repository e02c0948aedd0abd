package network

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/ciaocloud/ciao/bat"
	"github.com/ciaocloud/ciao/cluster/api"
)

func mtu(ctx context.Context, t *bat.T) {
	tenant := t.Tenant(ctx)
	const size = 8 << 20
	server := t.Cluster.Container("server", fmt.Sprintf("mkdir -p /www && yes ciao | head -c %d > /www/file && exec httpd -f -h /www", size))
	server.Requirements.MemoryMiB = 48
	tenant.Workload(ctx, server)
	one := tenant.Active(ctx, tenant.Create(ctx, api.CreateInstances{Workload: "server", Name: "server"}))[0]
	const headers = 28 // IPv4 and ICMP
	full := fmt.Sprintf(`size=$(($(cat "/sys/class/net/$link/mtu") - %d)); `, headers)
	workload := t.Cluster.Container(t.Name("probe"), "")
	workload.Requirements = api.Requirements{VCPUs: 0.5, MemoryMiB: 48}
	tenant.ProbeIn(ctx, workload,
		bat.Step{Name: "the neighbour answers a full packet", Script: full + "ping -c 2 -W 2 -s $size " + address(one)},
		bat.Step{Name: "the gateway answers a full packet", Script: full + `ping -c 2 -W 2 -s $size "$gateway"`},
		bat.Step{Name: "the neighbour answers a fragmented packet", Script: "ping -c 2 -W 2 -s 4000 " + address(one)},
		bat.Step{Name: "8 MiB arrive", Script: fmt.Sprintf("within 10 wget -q -T 30 -O /tmp/file http://%s/file", address(one))},
		bat.Step{Name: "every byte is right", Script: fmt.Sprintf(`[ "$(md5sum < /tmp/file)" = "$(yes ciao | head -c %d | md5sum)" ]`, size)})
}

func outside(ctx context.Context, t *bat.T) {
	if t.Cluster.Outside == "" {
		ownListener(ctx, t)
		return
	}
	host, port, err := net.SplitHostPort(t.Cluster.Outside)
	t.Need(err, "--outside must be HOST:PORT")
	t.Tenant(ctx).Probe(ctx, bat.Step{Name: t.Cluster.Outside + " is reached", Script: fmt.Sprintf("within 5 reaches '%s' '%s'", host, port)})
}

// ownListener has an instance fetch something from this program, if this machine has an address that is not on the underlay. Whether
// the cluster's packets find the way to it is known only where the cluster is on this machine: elsewhere a failure says nothing.
func ownListener(ctx context.Context, t *bat.T) {
	own, err := outerAddress()
	if err != nil {
		t.Skipf("this machine has no address that a cluster could reach (%v): name a destination with --outside HOST:PORT", err)
	}
	listener, err := net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(netip.AddrPortFrom(own, 0)))
	t.Need(err, "listen on %s", own)
	const size = 4 << 20
	callers := make(chan netip.Addr, 16)
	serving := make(chan struct{})
	go func() { defer close(serving); serve(listener, size, callers) }()
	t.Cleanup(func(context.Context) { _ = listener.Close(); <-serving })
	tenant := t.Tenant(ctx)
	host, port, err := net.SplitHostPort(listener.Addr().String())
	t.Need(err, "the listener's address")
	problem := tenant.Try(ctx, t.Cluster.Container("fetches", ""),
		bat.Step{Name: "the tester's machine is reached", Script: fmt.Sprintf("within 5 reaches %s %s", host, port)},
		bat.Step{Name: "4 MiB arrive", Script: fmt.Sprintf(`[ "$(nc -w 5 %s %s </dev/null | wc -c)" = %d ]`, host, port, size)})
	if problem != "" {
		if !local(ctx, t) {
			t.Skipf("%s; this machine may be out of the cluster's reach: name a destination with --outside HOST:PORT", problem)
		}
		t.Fatalf("%s", problem)
	}
	caller := <-callers
	t.Logf("the tester's machine saw %s", caller)
	if slices.ContainsFunc(tenant.List(ctx), func(i api.Instance) bool { return slices.Contains(i.Addresses, caller) }) {
		t.Errorf("the instance's own address %s is seen outside", caller)
	}
}

// serve gives each caller size bytes and notes who it was, until the listener is closed.
func serve(listener *net.TCPListener, size int, callers chan<- netip.Addr) {
	for {
		conn, err := listener.AcceptTCP()
		if err != nil {
			return
		}
		if remote, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
			select {
			case callers <- remote.AddrPort().Addr().Unmap():
			default: // enough are known
			}
		}
		_, _ = conn.Write(make([]byte, size)) // the caller counts
		_ = conn.Close()
	}
}

// outerAddress is the address with which this machine would speak to the world. Nothing is sent.
func outerAddress() (netip.Addr, error) {
	conn, err := net.Dial("udp4", "192.0.2.1:9") // TEST-NET-1 (RFC 5737): nobody's
	if err != nil {
		return netip.Addr{}, err
	}
	defer conn.Close()
	return netip.MustParseAddrPort(conn.LocalAddr().String()).Addr(), nil
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
		return err == nil && slices.Contains(addresses, prefix.Addr())
	})
}
