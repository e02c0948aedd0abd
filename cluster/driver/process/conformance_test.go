package process_test

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"
	"github.com/vishvananda/netlink"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/driver"
	"github.com/ciaocloud/ciao/cluster/driver/cgroup"
	"github.com/ciaocloud/ciao/cluster/driver/drivertest"
	"github.com/ciaocloud/ciao/cluster/driver/process"
	"github.com/ciaocloud/ciao/cluster/network/netns"
	"github.com/ciaocloud/ciao/require"
)

// untilStopped runs until it is asked to stop, and then ends at once.
const untilStopped = "trap 'exit 0' TERM; while :; do sleep 1 & wait $!; done"

// node is a node of its own: a driver, a directory and ports.
type node struct {
	config process.Config
	driver *process.Driver
	last   atomic.Uint32 // host number of the last address
	ports  []string      // the node's ends of all ports
}

// newNode makes a node, and proves when the test ends that nothing is left of it.
func newNode(t testing.TB) *node {
	t.Helper()
	require.Root(t)
	require.Command(t, "runc", "tini-static")
	n := &node{config: process.Config{Instances: filepath.Join(t.TempDir(), "instances"), Mark: "ciao-t" + random(4)}}
	if err := os.Mkdir(n.config.Instances, 0o700); err != nil {
		t.Fatal(err)
	}
	n.driver = n.open(t)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), drivertest.Patience)
		defer cancel()
		if err := n.driver.Clean(ctx); err != nil {
			t.Errorf("clean up: %v", err)
		}
		namespaces, _ := filepath.Glob(netns.Path(n.config.Mark + "*"))
		if left := append(cgroup.List(cgroup.Root, n.config.Mark), namespaces...); len(left) > 0 {
			t.Errorf("control groups or namespaces are left: %v", left)
		}
	})
	return n
}

func (n *node) open(t testing.TB) *process.Driver {
	t.Helper()
	d, err := process.New(n.config)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// instance makes one with a port; its subnet is the node's only one.
func (n *node) instance(t testing.TB, command ...string) driver.Instance {
	t.Helper()
	host := byte(n.last.Add(1) + 1)
	id := uuid.NewString()
	instance := driver.Instance{
		ID: id, Generation: 1, Name: "i" + id[:8], Tenant: "tenant-1", Kind: cluster.KindProcess,
		Spec: cluster.WorkloadSpec{
			Kind: cluster.KindProcess, Command: command, Requirements: cluster.Requirements{MemoryMiB: 64},
		}.WithDefaults(),
		Network: driver.Network{
			Subnet: "subnet-1", Prefix: netip.MustParsePrefix("172.16.5.0/24"), Gateway: netip.MustParseAddr("172.16.5.1"),
			Prefix6: netip.MustParsePrefix("fd00:5::/64"), Gateway6: netip.MustParseAddr("fd00:5::1"),
			Domain: "tenant.test", MAC: fmt.Sprintf("02:00:00:05:00:%02x", host),
			Addresses: []netip.Addr{netip.AddrFrom4([4]byte{172, 16, 5, host}), netip.MustParseAddr(fmt.Sprintf("fd00:5::%x", host))}, Port: "ce" + random(6), MTU: 1450,
		},
		Directory: filepath.Join(n.config.Instances, id),
	}
	if err := os.Mkdir(instance.Directory, 0o700); err != nil {
		t.Fatal(err)
	}
	n.port(t, instance)
	return instance
}

// port makes an instance's veth as the network part does, unless its other end is there.
func (n *node) port(t testing.TB, instance driver.Instance) {
	t.Helper()
	name := instance.Network.Port
	peer := "cp" + name[2:]
	if _, err := netlink.LinkByName(peer); err == nil {
		return
	}
	mac, err := net.ParseMAC(instance.Network.MAC)
	if err != nil {
		t.Fatal(err)
	}
	link := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name, HardwareAddr: mac, MTU: instance.Network.MTU}, PeerName: peer}
	n.ports = append(n.ports, peer)
	if err := netlink.LinkAdd(link); err != nil {
		t.Fatalf("veth %s: %v", name, err)
	}
	t.Cleanup(func() {
		if link, err := netlink.LinkByName(peer); err == nil {
			netlink.LinkDel(link)
		}
	})
}

func random(bytes int) string {
	buffer := make([]byte, bytes)
	rand.Read(buffer)
	return hex.EncodeToString(buffer)
}

func TestConformance(t *testing.T) {
	drivertest.Run(t, func(t *testing.T) drivertest.Harness {
		n := newNode(t)
		return drivertest.Harness{
			Driver:    n.driver,
			Reopen:    func(t *testing.T) driver.Driver { return n.open(t) },
			Instance:  func(t *testing.T) driver.Instance { return n.instance(t, "/bin/sh", "-c", untilStopped) },
			Port:      func(t *testing.T, instance driver.Instance) { n.port(t, instance) },
			Exit:      func(code int) []string { return []string{"/bin/sh", "-c", fmt.Sprintf("exit %d", code)} },
			Stubborn:  []string{"/bin/sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 1; done"},
			Deaf:      func(t *testing.T, instance driver.Instance) bool { return n.said(t, instance.ID) == "deaf\n" },
			Shell:     true,
			Interrupt: func(t *testing.T) { n.killShims(t) },
		}
	})
}

// killShims kills what is outside of the instances and keeps them going.
func (n *node) killShims(t *testing.T) {
	for _, pids := range n.processes(t) {
		for _, pid := range pids {
			kill(t, pid)
		}
	}
}
