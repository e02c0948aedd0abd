package network_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/network"
	"github.com/ciaocloud/ciao/cluster/network/networktest"
)

var site = network.Site{Cluster: "test", Underlay: netip.MustParsePrefix("198.51.100.60/24"), MTU: 1500}

func subnet(id string, key uint32, peers ...string) network.Subnet {
	s := network.Subnet{ID: id, Tenant: "t", Key: key, Prefix: netip.MustParsePrefix("172.16.0.0/24"), Gateway: netip.MustParseAddr("172.16.0.1"),
		Concentrator: netip.MustParseAddr("198.51.100.70")}
	for _, peer := range peers {
		s.Peers = append(s.Peers, netip.MustParseAddr(peer))
	}
	return s
}

// neighbours puts hosts of a subnet, by the last byte of their addresses, on the node at a peer.
func neighbours(s network.Subnet, peer string, hosts ...byte) network.Subnet {
	for _, host := range hosts {
		mac := network.MACOf(netip.AddrFrom4([4]byte{172, 16, 0, host})).String()
		s.Neighbours = append(s.Neighbours, network.Neighbour{MAC: mac, Node: netip.MustParseAddr(peer)})
	}
	return s
}

func port(id, subnet, address string) network.Port {
	a := netip.MustParseAddr(address)
	return network.Port{Instance: id, Subnet: subnet, Kind: network.Veth, MAC: network.MACOf(a).String(), Addresses: []netip.Addr{a}}
}

func nodeImage(t *testing.T, subnets []network.Subnet, ports ...network.Port) network.Image {
	t.Helper()
	image, err := network.NodeImage(site, network.Node{Subnets: subnets, Ports: ports})
	if err != nil {
		t.Fatal(err)
	}
	return image
}

// readable puts the names that people choose in the place of digests.
var readable = strings.NewReplacer(
	network.BridgeName("red"), "bridge-red", network.VXLANName("red"), "vxlan-red",
	network.BridgeName("blue"), "bridge-blue", network.VXLANName("blue"), "vxlan-blue",
	network.NodeEnd("a"), "port-a", network.EngineEnd("a"), "engine-a", network.NodeEnd("b"), "port-b", network.EngineEnd("b"), "engine-b",
)

func TestPlan(t *testing.T) {
	red, blue := subnet("red", 1), subnet("blue", 2)
	one := nodeImage(t, []network.Subnet{red}, port("a", "red", "172.16.0.2"))
	for _, c := range []struct {
		name         string
		have, wanted network.Image
		want         string
	}{
		{"nothing to do", one, one, ``},
		{"a first port", nodeImage(t, nil), one, `
nft add element bridge ciao addresses { "port-a" . 02:00:ac:10:00:02 . 172.16.0.2 }
nft add element bridge ciao configured { "port-a" }
nft add element bridge ciao senders { "port-a" . 02:00:ac:10:00:02 }
nft add element ip ciao peers { 198.51.100.70 . 0.0.1.0 }
link add bridge-red type bridge mtu 1450
link set bridge-red alias ciao/test/subnet/red
link add vxlan-red type vxlan id 1 local 198.51.100.60 mtu 1450
link set vxlan-red alias ciao/test/subnet/red
link set vxlan-red master bridge-red
link add port-a type veth peer engine-a address 02:00:ac:10:00:02 mtu 1450
link set port-a alias ciao/test/instance/a
link set port-a master bridge-red
fdb add 00:00:00:00:00:00 dev vxlan-red dst 198.51.100.70
fdb add 02:00:ac:10:00:01 dev vxlan-red dst 198.51.100.70
link set bridge-red up
link set vxlan-red up
link set port-a up`},
		{"one more port", one, nodeImage(t, []network.Subnet{red}, port("a", "red", "172.16.0.2"), port("b", "red", "172.16.0.3")), `
nft add element bridge ciao addresses { "port-b" . 02:00:ac:10:00:03 . 172.16.0.3 }
nft add element bridge ciao configured { "port-b" }
nft add element bridge ciao senders { "port-b" . 02:00:ac:10:00:03 }
link add port-b type veth peer engine-b address 02:00:ac:10:00:03 mtu 1450
link set port-b alias ciao/test/instance/b
link set port-b master bridge-red
link set port-b up`},
		{"the last port goes", one, nodeImage(t, []network.Subnet{red}), `
link del port-a
nft delete element bridge ciao addresses { "port-a" . 02:00:ac:10:00:02 . 172.16.0.2 }
nft delete element bridge ciao configured { "port-a" }
nft delete element bridge ciao senders { "port-a" . 02:00:ac:10:00:02 }`},
		{"the subnet goes", one, nodeImage(t, nil), `
link del port-a
link del vxlan-red
link del bridge-red
nft delete element bridge ciao addresses { "port-a" . 02:00:ac:10:00:02 . 172.16.0.2 }
nft delete element bridge ciao configured { "port-a" }
nft delete element bridge ciao senders { "port-a" . 02:00:ac:10:00:02 }
nft delete element ip ciao peers { 198.51.100.70 . 0.0.1.0 }`},
		{"a port moves to another subnet", nodeImage(t, []network.Subnet{red, blue}, port("a", "red", "172.16.0.2")),
			nodeImage(t, []network.Subnet{red, blue}, port("a", "blue", "172.16.0.2")), `
link set port-a master bridge-blue`},
		{"another node gets the subnet", one, nodeImage(t, []network.Subnet{subnet("red", 1, "198.51.100.61")}, port("a", "red", "172.16.0.2")), `
nft add element ip ciao peers { 198.51.100.61 . 0.0.1.0 }
fdb add 00:00:00:00:00:00 dev vxlan-red dst 198.51.100.61`},
		{"instances start on another node", nodeImage(t, []network.Subnet{subnet("red", 1, "198.51.100.61")}),
			nodeImage(t, []network.Subnet{neighbours(subnet("red", 1, "198.51.100.61"), "198.51.100.61", 4, 3)}), `
fdb add 02:00:ac:10:00:03 dev vxlan-red dst 198.51.100.61
fdb add 02:00:ac:10:00:04 dev vxlan-red dst 198.51.100.61`},
		{"an instance moves between other nodes", nodeImage(t, []network.Subnet{neighbours(subnet("red", 1, "198.51.100.61", "198.51.100.62"), "198.51.100.61", 3)}),
			nodeImage(t, []network.Subnet{neighbours(subnet("red", 1, "198.51.100.61", "198.51.100.62"), "198.51.100.62", 3)}), `
fdb del 02:00:ac:10:00:03 dev vxlan-red dst 198.51.100.61
fdb add 02:00:ac:10:00:03 dev vxlan-red dst 198.51.100.62`},
		{"the last instance of another node goes", nodeImage(t, []network.Subnet{neighbours(subnet("red", 1, "198.51.100.61"), "198.51.100.61", 3)}),
			nodeImage(t, []network.Subnet{subnet("red", 1)}), `
nft delete element ip ciao peers { 198.51.100.61 . 0.0.1.0 }
fdb del 00:00:00:00:00:00 dev vxlan-red dst 198.51.100.61
fdb del 02:00:ac:10:00:03 dev vxlan-red dst 198.51.100.61`},
		{"a port has vanished with its engine end", without(one, network.NodeEnd("a")), one, `
link add port-a type veth peer engine-a address 02:00:ac:10:00:02 mtu 1450
link set port-a alias ciao/test/instance/a
link set port-a master bridge-red
link set port-a up`},
		{"rules were changed", tampered(one), one, `
nft replace table bridge ciao`},
		{"everything goes", nodeImage(t, []network.Subnet{red}), network.NewImage(), `
link del vxlan-red
link del bridge-red
nft delete table bridge ciao
nft delete table ip ciao`},
	} {
		t.Run(c.name, func(t *testing.T) {
			var lines []string
			for _, step := range network.Plan(c.have, c.wanted) {
				lines = append(lines, step.String())
			}
			if diff := cmp.Diff(strings.TrimPrefix(c.want, "\n"), readable.Replace(strings.Join(lines, "\n"))); diff != "" {
				t.Errorf("plan (-want +got):\n%s", diff)
			}
			done := c.have.Clone()
			done.Do(network.Plan(c.have, c.wanted)...)
			if rest := network.Plan(done, c.wanted); len(rest) > 0 {
				t.Errorf("after the plan there is still to do: %v", rest)
			}
		})
	}
}

func without(image network.Image, link string) network.Image {
	image = image.Clone()
	image.Do(network.DelLink{Name: link})
	return image
}

// tampered lacks a rule of the filter.
func tampered(image network.Image) network.Image {
	image = image.Clone()
	id := network.TableID{Family: "bridge", Name: network.TableName}
	table := image.Tables[id]
	table.Chains = append([]network.Chain(nil), table.Chains...)
	table.Chains[0].Rules = table.Chains[0].Rules[1:]
	image.Tables[id] = table
	return image
}

// A rebuilt tunnel loses its entries in the kernel; the plan knows.
func TestPlanMovesTheUnderlay(t *testing.T) {
	have := nodeImage(t, []network.Subnet{subnet("red", 1)})
	moved := site
	moved.Underlay = netip.MustParsePrefix("198.51.100.61/24")
	wanted, err := network.NodeImage(moved, network.Node{Subnets: []network.Subnet{subnet("red", 1)}})
	if err != nil {
		t.Fatal(err)
	}
	kernel := networktest.NewKernel()
	for _, image := range []network.Image{have, wanted} {
		if err := network.NewConverger(kernel).Apply(t.Context(), image); err != nil {
			t.Fatal(err)
		}
	}
	want, printed := printedAs(wanted), kernel.String()
	if diff := cmp.Diff(want, printed); diff != "" {
		t.Errorf("kernel (-want +got):\n%s", diff)
	}
}

// All nodes are told the same of a subnet; frames that a node sent to itself would come back to it.
func TestNodeIsNoPeerOfItself(t *testing.T) {
	told := neighbours(neighbours(subnet("red", 1, "198.51.100.60", "198.51.100.61"), "198.51.100.60", 2), "198.51.100.61", 3)
	others := neighbours(subnet("red", 1, "198.51.100.61"), "198.51.100.61", 3)
	want, got := printedAs(nodeImage(t, []network.Subnet{others})), printedAs(nodeImage(t, []network.Subnet{told}))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("image (-want +got):\n%s", diff)
	}
}

func printedAs(wanted network.Image) string { return networktest.Print(wanted) }

func oneNeighbour(mac string, node netip.Addr) network.Node {
	red := subnet("red", 1)
	red.Neighbours = []network.Neighbour{{MAC: mac, Node: node}}
	return network.Node{Subnets: []network.Subnet{red}}
}

func with6(s network.Subnet, prefix, gateway string) network.Node {
	s.Prefix6, s.Gateway6 = netip.MustParsePrefix(prefix), netip.MustParseAddr(gateway)
	return network.Node{Subnets: []network.Subnet{s}}
}

func TestNodeImageRefuses(t *testing.T) {
	red := subnet("red", 1)
	for _, c := range []struct {
		name   string
		wanted network.Node
		path   string
	}{
		{"unknown subnet", network.Node{Ports: []network.Port{port("a", "red", "172.16.0.2")}}, "ports[0].subnet"},
		{"same key twice", network.Node{Subnets: []network.Subnet{red, subnet("blue", 1)}}, "subnets[1]"},
		{"key too large", network.Node{Subnets: []network.Subnet{subnet("red", 1<<24)}}, "subnets[0].key"},
		{"multicast MAC", network.Node{Subnets: []network.Subnet{red}, Ports: []network.Port{{Instance: "a", Subnet: "red", Kind: network.Veth, MAC: "01:00:5e:00:00:01"}}}, "ports[0].mac"},
		{"MAC in another form", network.Node{Subnets: []network.Subnet{red}, Ports: []network.Port{{Instance: "a", Subnet: "red", Kind: network.Veth, MAC: "02-00-AC-10-00-02"}}}, "ports[0].mac"},
		{"a neighbour's multicast MAC", oneNeighbour("01:00:5e:00:00:01", red.Concentrator), "subnets[0].neighbours[0].mac"},
		{"the MAC of all others", oneNeighbour(network.FloodMAC, red.Concentrator), "subnets[0].neighbours[0].mac"},
		{"a neighbour without a node", oneNeighbour("02:00:ac:10:00:03", netip.Addr{}), "subnets[0].neighbours[0].node"},
		{"a neighbour at two nodes", network.Node{Subnets: []network.Subnet{neighbours(neighbours(red, "198.51.100.61", 3), "198.51.100.62", 3)}}, "subnets[0].neighbours[1].mac"},
		{"IPv6 of another length", with6(red, "fd3e:9a4c:7100::/48", "fd3e:9a4c:7100::1"), "subnets[0].prefix6"},
		{"IPv6 that is IPv4", with6(red, "172.16.0.0/24", "172.16.0.1"), "subnets[0].prefix6"},
		{"a gateway elsewhere", with6(red, "fd3e:9a4c:7100:1::/64", "fd3e:9a4c:7100:2::1"), "subnets[0].gateway6"},
		{"an IPv4 address as IPv6", network.Node{Subnets: []network.Subnet{red}, Ports: []network.Port{port("a", "red", "::ffff:172.16.0.2")}}, "ports[0].addresses[0]"},
		{"unknown kind", network.Node{Subnets: []network.Subnet{red}, Ports: []network.Port{{Instance: "a", Subnet: "red", Kind: "wire", MAC: "02:00:ac:10:00:02"}}}, "ports[0].kind"},
		{"two ports of one instance", network.Node{Subnets: []network.Subnet{red}, Ports: []network.Port{port("a", "red", "172.16.0.2"), port("a", "red", "172.16.0.3")}}, "ports[1].instance"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := network.NodeImage(site, c.wanted)
			if !errors.Is(err, cluster.ErrInvalid) || !strings.Contains(err.Error(), c.path) {
				t.Errorf("error %v, want one of class invalid at %s", err, c.path)
			}
		})
	}
}

// A CNCI sends its answers to the node of the host that asked.
func TestConcentratorImageForwardsToItsHosts(t *testing.T) {
	red := neighbours(subnet("red", 1, "198.51.100.61"), "198.51.100.61", 3)
	image, err := network.ConcentratorImage(site, network.Concentrator{Subnet: red, Domain: "red.ciao"})
	if err != nil {
		t.Fatal(err)
	}
	peer := netip.MustParseAddr("198.51.100.61")
	want := map[network.Forward]bool{
		{Link: network.VXLANName("red"), MAC: network.FloodMAC, To: peer}:    true,
		{Link: network.VXLANName("red"), MAC: "02:00:ac:10:00:03", To: peer}: true,
	}
	if diff := cmp.Diff(want, image.Forwards, cmpopts.EquateComparable(network.Forward{})); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
}

// What is published on an external address goes before the address as a whole: the first rule that fits decides.
func TestConcentratorImagePublishesPorts(t *testing.T) {
	at := func(text string) netip.Addr { return netip.MustParseAddr(text) }
	image, err := network.ConcentratorImage(site, network.Concentrator{
		Subnet: subnet("red", 1), Domain: "red.ciao",
		Hosts: []network.Host{
			{Name: "a", MAC: "02:00:ac:10:00:02", Addresses: []netip.Addr{at("172.16.0.2")}, LoginPort: 33002,
				Ports: []network.HostPort{{Published: 16008, Port: 80}, {Published: 53, Port: 5353, UDP: true}, {Published: 80, Port: 8080, External: true}}},
			{Name: "b", MAC: "02:00:ac:10:00:03", Addresses: []netip.Addr{at("172.16.0.3")}, Ports: []network.HostPort{{Published: 53, Port: 53}, {Published: 80, Port: 8081, External: true}}},
		},
		Mappings: []network.Mapping{{External: at("198.51.100.21"), Internal: at("172.16.0.2")}, {External: at("198.51.100.20"), Internal: at("172.16.0.2")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, chain := range image.Tables[network.TableID{Family: "ip", Name: network.TableName}].Chains {
		if chain.Name == "translation" {
			for _, rule := range chain.Rules {
				got = append(got, rule.Name+": "+rule.Text)
			}
		}
	}
	want := []string{
		`port: iifname "underlay" ip daddr 198.51.100.60 tcp dport 16008 dnat to 172.16.0.2:80`,
		`port: iifname "underlay" ip daddr 198.51.100.60 udp dport 53 dnat to 172.16.0.2:5353`,
		`port: ip daddr 198.51.100.20 tcp dport 80 dnat to 172.16.0.2:8080`,
		`port: ip daddr 198.51.100.21 tcp dport 80 dnat to 172.16.0.2:8080`,
		`port: iifname "underlay" ip daddr 198.51.100.60 tcp dport 53 dnat to 172.16.0.3:53`,
		`external: ip daddr 198.51.100.20 dnat to 172.16.0.2`,
		`external: ip daddr 198.51.100.21 dnat to 172.16.0.2`,
		`login: iifname "underlay" ip daddr 198.51.100.60 tcp dport 33002 dnat to 172.16.0.2:22`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("rules (-want +got):\n%s", diff)
	}
}

func TestConcentratorImageRefuses(t *testing.T) {
	host := func(name, mac, address string) network.Concentrator {
		red := with6(subnet("red", 1), "fd3e:9a4c:7100:1::/64", "fd3e:9a4c:7100:1::1").Subnets[0]
		return network.Concentrator{Subnet: red, Domain: "red.ciao",
			Hosts: []network.Host{{Name: name, MAC: mac, Addresses: []netip.Addr{netip.MustParseAddr(address)}}}}
	}
	publishing := func(ports ...network.HostPort) network.Concentrator {
		wanted := host("a", "02:00:ac:10:00:02", "172.16.0.2")
		wanted.Hosts = append(wanted.Hosts, network.Host{Name: "b", MAC: "02:00:ac:10:00:03", Addresses: []netip.Addr{netip.MustParseAddr("172.16.0.3")}, Ports: ports})
		wanted.Hosts[0].Ports = []network.HostPort{{Published: 80, Port: 80}}
		return wanted
	}
	for _, c := range []struct {
		name   string
		wanted network.Concentrator
		path   string
	}{
		{"a port of two hosts", publishing(network.HostPort{Published: 443, Port: 443}, network.HostPort{Published: 80, Port: 81}), "hosts[1].ports[1]: 80/tcp leads to a already"},
		{"a port without a number", publishing(network.HostPort{Published: 81}), "hosts[1].ports[0]"},
		{"a name with a new line", host("a\ndhcp-script=/bin/sh", "02:00:ac:10:00:02", "172.16.0.2"), "hosts[0].name"},
		{"a domain with a slash", network.Concentrator{Subnet: subnet("red", 1), Domain: "a/b"}, "domain"},
		{"the gateway's address", host("a", "02:00:ac:10:00:02", "172.16.0.1"), "hosts[0].addresses[0]"},
		{"the gateway's address of IPv6", host("a", "02:00:ac:10:00:02", "fd3e:9a4c:7100:1::1"), "hosts[0].addresses[0]"},
		{"a foreign address of IPv6", host("a", "02:00:ac:10:00:02", "fd3e:9a4c:7100:2::2"), "hosts[0].addresses[0]"},
		{"a foreign address", host("a", "02:00:ac:10:00:02", "172.16.1.2"), "hosts[0].addresses[0]"},
		{"no MAC", host("a", "", "172.16.0.2"), "hosts[0].mac"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := network.ConcentratorImage(site, c.wanted)
			if !errors.Is(err, cluster.ErrInvalid) || !strings.Contains(err.Error(), c.path) {
				t.Errorf("error %v, want one of class invalid at %s", err, c.path)
			}
		})
	}
}
