package container_test

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/docker/docker/client"
	"github.com/google/uuid"
	"github.com/vishvananda/netlink"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/driver"
	"github.com/ciaocloud/ciao/cluster/driver/container"
	"github.com/ciaocloud/ciao/cluster/driver/container/localimage"
	"github.com/ciaocloud/ciao/cluster/driver/container/netplugin"
	"github.com/ciaocloud/ciao/cluster/driver/drivertest"
)

const (
	busybox = "ciao-test/busybox:1"
	patient = 2 * time.Minute
)

// runs until it is asked to stop, and then ends at once.
const untilStopped = "trap 'exit 0' TERM; while :; do sleep 1 & wait $!; done"

// node is a node of its own on an engine: a cluster, a plugin, a driver and ports.
type node struct {
	config container.Config
	driver *container.Driver
	engine *client.Client
	last   atomic.Uint32 // host number of the last address
}

// newNode makes a node on the engine at host (empty: the machine's own) and removes everything of it when the test ends.
func newNode(t testing.TB, host string) *node {
	t.Helper()
	n := &node{config: container.Config{Cluster: "t" + random(4), Node: uuid.NewString(), Host: host, Log: slog.New(slog.DiscardHandler)}}
	n.engine = dial(t, host)
	if err := localimage.Busybox(t.Context(), n.engine, busybox); err != nil {
		t.Fatal(err)
	}
	n.driver = n.open(t)
	stop := serve(t, n.config)
	t.Cleanup(func() {
		defer stop()
		ctx, cancel := context.WithTimeout(context.Background(), patient)
		defer cancel()
		if err := n.driver.Clean(ctx); err != nil {
			t.Errorf("clean up: %v", err)
		}
	})
	return n
}

// serve runs the node's network plugin until stop is called.
func serve(t testing.TB, config container.Config) (stop func()) {
	t.Helper()
	plugin, err := netplugin.Listen(netplugin.Config{Cluster: config.Cluster, Node: config.Node, Log: config.Log})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := plugin.Run(ctx); err != nil {
			t.Errorf("plugin: %v", err)
		}
	})
	return func() { cancel(); running.Wait() }
}

func (n *node) open(t testing.TB) *container.Driver {
	t.Helper()
	d, err := container.New(n.config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func dial(t testing.TB, host string) *client.Client {
	t.Helper()
	options := []client.Opt{client.FromEnv, client.WithAPIVersionNegotiation()}
	if host != "" {
		options = append(options, client.WithHost(host))
	}
	engine, err := client.NewClientWithOpts(options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { engine.Close() })
	return engine
}

var prefix6 = netip.MustParsePrefix("fdc0:ffee:1200:5::/64")

// instance makes one with a port; its subnet is the node's only one.
func (n *node) instance(t testing.TB, script string) driver.Instance {
	t.Helper()
	host := byte(n.last.Add(1) + 1)
	id := uuid.NewString()
	instance := driver.Instance{
		ID: id, Generation: 1, Name: "i" + id[:8], Tenant: "tenant-1", Kind: cluster.KindContainer,
		Spec: cluster.WorkloadSpec{
			Kind: cluster.KindContainer, Image: busybox, Command: []string{"/bin/sh", "-c", script},
			Requirements: cluster.Requirements{MemoryMiB: 64},
		}.WithDefaults(),
		Network: driver.Network{
			Subnet: "subnet-1", Prefix: netip.MustParsePrefix("172.16.5.0/24"), Gateway: netip.MustParseAddr("172.16.5.1"),
			Prefix6: prefix6, Gateway6: cluster.HostAddress(prefix6, 1),
			Domain: "tenant.test", MAC: fmt.Sprintf("02:00:00:05:00:%02x", host),
			Addresses: []netip.Addr{netip.AddrFrom4([4]byte{172, 16, 5, host}), cluster.HostAddress(prefix6, uint32(host))}, Port: "ce" + random(6), MTU: 1450,
		},
		Directory: t.TempDir(),
	}
	n.port(t, instance)
	return instance
}

// port makes an instance's veth as the network part does, with its peer on the host side, unless it is there.
func (n *node) port(t testing.TB, instance driver.Instance) {
	t.Helper()
	name := instance.Network.Port
	if _, err := netlink.LinkByName(peerName(name)); err == nil {
		return // its other end is here, or in the container
	}
	mac, err := net.ParseMAC(instance.Network.MAC)
	if err != nil {
		t.Fatal(err)
	}
	peer := peerName(name)
	link := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name, HardwareAddr: mac, MTU: instance.Network.MTU}, PeerName: peer}
	if err := netlink.LinkAdd(link); err != nil {
		t.Fatalf("veth %s: %v", name, err)
	}
	t.Cleanup(func() {
		if link, err := netlink.LinkByName(peer); err == nil {
			netlink.LinkDel(link)
		}
	})
	other, err := netlink.LinkByName(peer)
	if err == nil {
		err = netlink.LinkSetUp(other)
	}
	if err != nil {
		t.Fatalf("veth %s: %v", peer, err)
	}
}

func peerName(port string) string { return "cp" + port[2:] }

func random(bytes int) string {
	buffer := make([]byte, bytes)
	rand.Read(buffer)
	return hex.EncodeToString(buffer)
}

// harness is the node as the conformance suite wants it.
func (n *node) harness() drivertest.Harness {
	return drivertest.Harness{
		Driver:       n.driver,
		Reopen:       func(t *testing.T) driver.Driver { return n.open(t) },
		Instance:     func(t *testing.T) driver.Instance { return n.instance(t, untilStopped) },
		Port:         func(t *testing.T, instance driver.Instance) { n.port(t, instance) },
		Exit:         func(code int) []string { return []string{"/bin/sh", "-c", fmt.Sprintf("exit %d", code)} },
		Stubborn:     []string{"sleep", "1000"}, // the first process of a container has no default action for SIGTERM
		MissingImage: "127.0.0.1:1/nobody/has-this:1",
		MissingError: cluster.ErrNotFound, // no registry answers there, which the engine takes for its last word
		Shell:        true,
	}
}
