package kernel_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ciaocloud/ciao/cluster/network"
	"github.com/ciaocloud/ciao/cluster/network/kernel"
	"github.com/ciaocloud/ciao/cluster/network/networktest"
)

// volume is what one transfer moves: little, so that whatever else the machine does meets either side alike.
const volume = 64 << 20

// pairs of transfers make one round.
const pairs = 20

// BenchmarkNodeToNode is TCP from an instance on one node to one on another, and, in turn with it, over a bridge and a VXLAN device that
// are made by hand with ip(8), on the same underlay and without any filter. The ratio is the median of all pairs.
func BenchmarkNodeToNode(b *testing.B) {
	m1 := newMachine(b)
	m2 := m1.beside("node-2")
	red1 := m1.tenant("red", 4401)
	red2 := red1.on(m2)
	spread(red1, red2)
	one, two := red1.instance(2), red2.instance(3)
	spread(red1, red2)
	ours := connect(b, one.Space, two.Space, two.address, receive)
	from, to := byHand(b, m1.host)
	theirs := connect(b, from, to, two.address, receive)
	var taken, takenByHand time.Duration
	var ratios []float64
	for b.Loop() {
		for range pairs {
			mine, hand := transfer(b, ours), transfer(b, theirs)
			taken, takenByHand, ratios = taken+mine, takenByHand+hand, append(ratios, hand.Seconds()/mine.Seconds())
		}
	}
	slices.Sort(ratios)
	moved := float64(b.N) * pairs * volume / 1e6
	b.ReportMetric(moved/taken.Seconds(), "MB/s")
	b.ReportMetric(moved/takenByHand.Seconds(), "MB/s-by-hand")
	b.ReportMetric(ratios[len(ratios)/2], "ratio")
}

// transfer sends the volume and waits until it has all been received.
func transfer(b *testing.B, conn net.Conn) time.Duration {
	b.Helper()
	begun := time.Now()
	chunk := make([]byte, 256<<10)
	for range volume / len(chunk) {
		if _, err := conn.Write(chunk); err != nil {
			b.Fatal(err)
		}
	}
	if _, err := conn.Read(chunk[:1]); err != nil {
		b.Fatal(err)
	}
	return time.Since(begun)
}

// receive answers each volume with a byte.
func receive(conn net.Conn) {
	chunk := make([]byte, 256<<10)
	for left := volume; ; left = volume {
		for left > 0 {
			n, err := conn.Read(chunk[:min(left, len(chunk))])
			if err != nil {
				return
			}
			left -= n
		}
		if _, err := conn.Write(chunk[:1]); err != nil {
			return
		}
	}
}

// byHand makes two nodes as a person would, and on each an instance.
func byHand(b *testing.B, host *networktest.Host) (from, to *networktest.Space) {
	ends := []string{"198.51.100.30", "198.51.100.31"}
	var made []*networktest.Space
	for i, end := range ends {
		node, guest := networktest.NewSpace(b), networktest.NewSpace(b)
		node.Run("sh", "-c", "echo 0 > /proc/sys/net/bridge/bridge-nf-call-iptables")
		host.IP(fmt.Sprintf("link add hand%d link %s type macvlan mode bridge", i, networktest.Parent))
		host.IP(fmt.Sprintf("link set hand%d netns %s name underlay", i, holder(node)))
		for _, command := range []string{
			"addr add " + end + "/24 dev underlay",
			"link set underlay up",
			"link add name bridge0 type bridge",
			"link add tunnel mtu 1450 type vxlan id 4402 local " + end + " dstport 4789 nolearning",
			"link set tunnel master bridge0",
			"link add port mtu 1450 type veth peer name eth0 mtu 1450 netns " + holder(guest),
			"link set port master bridge0",
			"link set bridge0 up",
			"link set tunnel up",
			"link set port up",
		} {
			node.IP(command)
		}
		node.Run("bridge", "fdb", "append", network.FloodMAC, "dev", "tunnel", "dst", ends[1-i])
		guest.IP(fmt.Sprintf("addr add 172.16.0.%d/24 dev eth0", 2+i))
		guest.IP("link set eth0 up")
		made = append(made, guest)
	}
	networktest.Eventually(b, "the network made by hand", func() bool {
		_, err := made[0].Try("ping", "-c", "1", "-W", "1", "172.16.0.3")
		return err == nil
	})
	return made[0], made[1]
}

// holder is the pid of a process in the namespace, by which ip(8) names it.
func holder(space *networktest.Space) string {
	return strconv.Itoa(space.Start("sleep", "3600").Process.Pid)
}

// How large the cluster of BenchmarkConverge is. Each node has an instance in each subnet.
const (
	manyNodes   = 8
	manySubnets = 200
)

// fleet is many nodes on one host, with addresses of their own choice: nobody asks a DHCP server.
type fleet struct {
	b      *testing.B
	nodes  []*kernel.Node
	wanted []network.Node
	make   func(node int) *kernel.Node
}

func newFleet(b *testing.B) *fleet {
	host, engine := networktest.NewHost(b), networktest.NewSpace(b)
	name := fmt.Sprintf("b%x", time.Now().UnixNano()&0xffffffff)
	f := &fleet{b: b, make: func(node int) *kernel.Node {
		return kernel.NewNode(kernel.NodeConfig{Cluster: name, Node: fmt.Sprint("node-", node), Parent: networktest.Parent,
			Host: host.Path(), Engine: engine.Path(), Address: netip.PrefixFrom(fleetEnd(node), 24)})
	}}
	for node := range manyNodes {
		f.nodes = append(f.nodes, f.make(node))
		f.wanted = append(f.wanted, wantedInFleet(node))
	}
	b.Cleanup(func() { f.remove() })
	return f
}

func fleetEnd(node int) netip.Addr { return netip.AddrFrom4([4]byte{198, 51, 100, byte(10 + node)}) }

// wantedInFleet has an instance in every subnet, and knows those of the other nodes.
func wantedInFleet(node int) (wanted network.Node) {
	for number := range manySubnets {
		subnet := network.Subnet{ID: fmt.Sprint("subnet-", number), Key: uint32(5000 + number), Prefix: privateRange,
			Gateway: privateRange.Addr().Next(), Concentrator: netip.AddrFrom4([4]byte{198, 51, 101, byte(number)})}
		for other := range manyNodes {
			address := netip.AddrFrom4([4]byte{172, 16, 0, byte(2 + other)})
			mac := network.MACOf(address).String()
			if other == node {
				wanted.Ports = append(wanted.Ports, network.Port{Instance: fmt.Sprintf("instance-%d-%d", number, node), Subnet: subnet.ID,
					Kind: network.Veth, MAC: mac, Addresses: []netip.Addr{address}})
				continue
			}
			subnet.Peers = append(subnet.Peers, fleetEnd(other))
			subnet.Neighbours = append(subnet.Neighbours, network.Neighbour{MAC: mac, Node: fleetEnd(other)})
		}
		wanted.Subnets = append(wanted.Subnets, subnet)
	}
	return wanted
}

// each does something with all nodes at once, and says how long it took until the last was done.
func (f *fleet) each(do func(ctx context.Context, node int) error) time.Duration {
	f.b.Helper()
	begun := time.Now()
	var all sync.WaitGroup
	for node := range f.nodes {
		all.Go(func() {
			if err := do(context.Background(), node); err != nil { // clean-ups run after the benchmark's context has ended
				f.b.Error(err)
			}
		})
	}
	all.Wait()
	return time.Since(begun)
}

func (f *fleet) apply() time.Duration {
	f.b.Helper()
	return f.each(func(ctx context.Context, node int) error {
		_, err := f.nodes[node].Apply(ctx, f.wanted[node])
		return err
	})
}

func (f *fleet) remove() time.Duration {
	return f.each(func(ctx context.Context, node int) error { return f.nodes[node].Remove(ctx) })
}

// join is one more instance, on the first node, in the first subnet.
func (f *fleet) join() {
	address := netip.MustParseAddr("172.16.0.200")
	mac := network.MACOf(address).String()
	for node := range f.wanted {
		if node == 0 {
			f.wanted[0].Ports = append(f.wanted[0].Ports, network.Port{Instance: "newcomer", Subnet: f.wanted[0].Subnets[0].ID,
				Kind: network.Veth, MAC: mac, Addresses: []netip.Addr{address}})
			continue
		}
		subnet := &f.wanted[node].Subnets[0]
		subnet.Neighbours = append(subnet.Neighbours, network.Neighbour{MAC: mac, Node: fleetEnd(0)})
	}
}

// check counts the forwarding entries of each node's tunnels.
func (f *fleet) check() {
	f.b.Helper()
	for node, n := range f.nodes {
		want := 0
		for _, subnet := range f.wanted[node].Subnets {
			want += len(subnet.Peers) + len(subnet.Neighbours) + 2 // the CNCI's, for all and for the gateway
		}
		if got := strings.Count(networktest.OpenSpace(f.b, n.Namespace()).Run("bridge", "fdb", "show"), " dst "); got != want {
			f.b.Errorf("node %d has %d forwarding entries, want %d", node, got, want)
		}
	}
}

// BenchmarkConverge brings eight nodes from nothing to two hundred subnets with an instance each; then one more instance comes, and then
// a node's launcher returns and finds everything as it should be. Then all goes, and beside it bare bridges: their removal is what takes
// the time.
func BenchmarkConverge(b *testing.B) {
	var first, one, again, end, bare time.Duration
	for b.Loop() {
		f := newFleet(b)
		first += f.apply()
		f.check()
		f.join()
		one += f.apply()
		f.check()
		f.nodes[1] = f.make(1)
		begun := time.Now()
		if _, err := f.nodes[1].Apply(b.Context(), f.wanted[1]); err != nil {
			b.Fatal(err)
		}
		again += time.Since(begun)
		end += f.remove()
		bare += removeBareBridges(b)
	}
	b.ReportMetric(first.Seconds()/float64(b.N), "s/from-nothing")
	b.ReportMetric(one.Seconds()*1000/float64(b.N), "ms/instance")
	b.ReportMetric(again.Seconds()*1000/float64(b.N), "ms/return")
	b.ReportMetric(end.Seconds()/float64(b.N), "s/remove")
	b.ReportMetric(end.Seconds()*1000/float64(b.N)/(manyNodes*manySubnets), "ms/remove-subnet")
	b.ReportMetric(bare.Seconds()*1000/float64(b.N)/manySubnets, "ms/remove-bare-bridge")
}

// removeBareBridges removes as many bridges as a node has, without ports and by one request, and says how long that took.
func removeBareBridges(b *testing.B) time.Duration {
	b.Helper()
	space := networktest.NewSpace(b)
	for number := range manySubnets {
		space.Run("ip", "link", "add", "name", fmt.Sprint("b", number), "group", "77", "type", "bridge")
	}
	begun := time.Now()
	space.Run("ip", "link", "del", "group", "77")
	return time.Since(begun)
}
