package kernel_test

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/ciaocloud/ciao/cluster/network"
	"github.com/ciaocloud/ciao/cluster/network/kernel"
	"github.com/ciaocloud/ciao/cluster/network/networktest"
)

// BenchmarkPorts makes ports of one node: one alone, and fifty that are wanted at once. Beside it, in the same run, is the least
// that the kernel asks for the same: a veth whose end on the node's side is on a bridge and up.
func BenchmarkPorts(b *testing.B) {
	host, engine := networktest.NewHost(b), networktest.NewSpace(b)
	node := kernel.NewNode(kernel.NodeConfig{Cluster: fmt.Sprintf("b%x", time.Now().UnixNano()&0xffffffff), Node: "node-1",
		Parent: networktest.Parent, Host: host.Path(), Engine: engine.Path()})
	b.Cleanup(func() {
		if err := node.Remove(context.Background()); err != nil { // b.Context() has ended
			b.Error(err)
		}
	})
	empty := network.Node{Subnets: []network.Subnet{{ID: "red", Key: 77, Prefix: privateRange, Gateway: netip.MustParseAddr("172.16.0.1")}}}
	apply := func(b *testing.B, wanted network.Node) {
		if _, err := node.Apply(b.Context(), wanted); err != nil {
			b.Fatal(err)
		}
	}
	for _, count := range []int{1, 50} {
		b.Run(fmt.Sprintf("wanted at once=%d", count), func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				empty.Revision++
				apply(b, empty)
				b.StartTimer()
				empty.Revision = wantAtOnce(b, apply, empty, count)
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*count)/1000, "ms/port")
		})
	}
	b.Run("bare kernel", func(b *testing.B) { bareVeths(b, engine) })
}

// wantAtOnce is what fifty starts do: each adds its port and waits for it.
func wantAtOnce(b *testing.B, apply func(*testing.B, network.Node), empty network.Node, count int) (revision uint64) {
	var starts sync.WaitGroup
	wanted := empty
	for i := range count {
		address := netip.AddrFrom4([4]byte{172, 16, 0, byte(i + 2)})
		wanted.Revision++
		wanted.Ports = append(wanted.Ports, network.Port{Instance: fmt.Sprint("i", i), Subnet: "red", Kind: network.Veth,
			MAC: network.MACOf(address).String(), Addresses: []netip.Addr{address}})
		mine := wanted
		starts.Go(func() { apply(b, mine) })
	}
	starts.Wait()
	return wanted.Revision
}

func bareVeths(b *testing.B, engine *networktest.Space) {
	space := networktest.NewSpace(b)
	space.IP("link add bridge0 type bridge")
	space.IP("link set bridge0 up")
	var handle *netlink.Handle
	space.Do(func() (err error) {
		handle, err = netlink.NewHandle()
		return err
	})
	defer handle.Close()
	bridge, err := handle.LinkByName("bridge0")
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.MasterIndex = "port", bridge.Attrs().Index
		veth := &netlink.Veth{LinkAttrs: attrs, PeerName: "peer", PeerNamespace: netlink.NsFd(engine.File().Fd())}
		if err := handle.LinkAdd(veth); err != nil {
			b.Fatal(err)
		}
		if err := handle.LinkSetUp(veth); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := handle.LinkDel(veth); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/1000, "ms/port")
}
