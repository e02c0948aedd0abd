package network

import (
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"

	"github.com/ciaocloud/ciao/cluster"
)

// Overhead is what VXLAN over IPv4 adds to a frame: Ethernet, IPv4, UDP and VXLAN headers (RFC 7348).
const Overhead = 14 + 20 + 8 + 8

// Site is where an image is for: what the wanted state does not say.
type Site struct {
	Cluster  string
	Underlay netip.Prefix // our own address on the underlay
	// Underlay6 are the underlay's IPv6 prefixes. Where there are none, a tenant's IPv6 ends at its CNCI.
	Underlay6 []netip.Prefix
	MTU       int // of the underlay
	// Control are the places that the launcher talks to from the node's namespace; answers from elsewhere do not come in.
	Control []netip.AddrPort
}

// NodeImage is what a node's namespace should hold. The error, of class cluster.ErrInvalid, lists what contradicts itself.
func NodeImage(site Site, wanted Node) (Image, error) {
	if err := checkNode(wanted); err != nil {
		return Image{}, err
	}
	image := NewImage()
	image.settle()
	peers := map[string]bool{}
	for _, subnet := range wanted.Subnets {
		subnet = subnet.without(site.Underlay.Addr())
		image.addSubnet(site, subnet)
		for _, peer := range subnet.remotes() {
			peers[peerElement(peer, subnet.Key)] = true
			image.Forwards[Forward{VXLANName(subnet.ID), FloodMAC, peer}] = true
		}
		if subnet.Concentrator.IsValid() {
			image.Forwards[Forward{VXLANName(subnet.ID), MACOf(subnet.Gateway).String(), subnet.Concentrator}] = true
		}
	}
	allowed := newAllowed()
	for _, port := range wanted.Ports {
		image.addPort(site, port)
		allowed.add(port)
	}
	image.addTable(portsTable(allowed))
	image.addTable(nodeTable(peers, site.Control))
	return image, nil
}

// ConcentratorImage is what a CNCI's namespace should hold.
func ConcentratorImage(site Site, wanted Concentrator) (Image, error) {
	var problems cluster.Problems
	checkSubnet(&problems, "subnet", wanted.Subnet)
	for i, prefix := range wanted.Blocked {
		if !prefix.IsValid() {
			problems.Add(fmt.Sprintf("blocked[%d]", i), "must be a prefix")
		}
	}
	checkHosts(&problems, wanted)
	checkPorts(&problems, wanted.Hosts)
	checkMappings(&problems, wanted)
	if err := problems.Err(); err != nil {
		return Image{}, err
	}
	image := NewImage()
	image.settle()
	image.Settings["net/ipv4/ip_forward"] = "1"
	image.Settings["net/ipv6/conf/all/forwarding"] = "1"
	image.addSubnet(site, wanted.Subnet)
	bridge := image.Links[BridgeName(wanted.Subnet.ID)]
	bridge.MAC = MACOf(wanted.Subnet.Gateway).String()
	image.Links[bridge.Name] = bridge
	image.Addresses[Address{bridge.Name, netip.PrefixFrom(wanted.Subnet.Gateway, wanted.Subnet.Prefix.Bits())}] = true
	if wanted.Subnet.Prefix6.IsValid() {
		image.Addresses[Address{bridge.Name, netip.PrefixFrom(wanted.Subnet.Gateway6, wanted.Subnet.Prefix6.Bits())}] = true
	}
	peers := map[string]bool{}
	for _, peer := range wanted.Subnet.Peers {
		peers[peerElement(peer, wanted.Subnet.Key)] = true
		image.Forwards[Forward{VXLANName(wanted.Subnet.ID), FloodMAC, peer}] = true
	}
	image.addMappings(wanted.Mappings)
	image.addTable(gatewayTable(wanted, bridge.Name, site.Underlay, peers))
	image.addTable(gatewayTable6(wanted, bridge.Name, site.Underlay6))
	return image, nil
}

// settle wants the kernel to leave the namespace's frames to our own tables and to the bridges: no IPv6 of the kernel's own on a link,
// until it is given an address of ours, no detour of bridged frames through the IP tables, no answer for an address on a link that
// does not have it.
func (i *Image) settle() {
	for _, name := range []string{
		"net/bridge/bridge-nf-call-arptables", "net/bridge/bridge-nf-call-ip6tables", "net/bridge/bridge-nf-call-iptables",
		"net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding", "net/ipv4/conf/all/accept_redirects",
		"net/ipv4/conf/all/send_redirects", "net/ipv4/conf/default/send_redirects", // either of them would do
	} {
		i.Settings[name] = "0"
	}
	for _, name := range []string{
		"net/ipv6/conf/all/disable_ipv6", "net/ipv6/conf/default/disable_ipv6", "net/ipv4/conf/all/arp_ignore",
	} {
		i.Settings[name] = "1"
	}
}

func (i *Image) addSubnet(site Site, subnet Subnet) {
	mark := Mark(site.Cluster, "subnet", subnet.ID)
	bridge := Link{Name: BridgeName(subnet.ID), Kind: LinkBridge, Alias: mark, MTU: site.MTU - Overhead, Up: true}
	i.Links[bridge.Name] = bridge
	tunnel := Link{Name: VXLANName(subnet.ID), Kind: LinkVXLAN, Alias: mark, MTU: site.MTU - Overhead, Up: true,
		Master: bridge.Name, Key: subnet.Key, Local: site.Underlay.Addr()}
	i.Links[tunnel.Name] = tunnel
	for _, neighbour := range subnet.Neighbours {
		i.Forwards[Forward{tunnel.Name, neighbour.MAC, neighbour.Node}] = true
	}
}

func (i *Image) addPort(site Site, port Port) {
	link := Link{Name: NodeEnd(port.Instance), Kind: LinkTap, Alias: Mark(site.Cluster, "instance", port.Instance),
		MTU: site.MTU - Overhead, Up: true, Master: BridgeName(port.Subnet)}
	if port.Kind == Veth {
		link.Kind = LinkVeth
		link.Peer = Peer{EngineEnd(port.Instance), port.MAC}
	}
	i.Links[link.Name] = link
}

func (i *Image) addTable(table Table) { i.Tables[table.ID] = table }

// without leaves a node itself out: its own frames would be sent back to it.
func (s Subnet) without(own netip.Addr) Subnet {
	s.Peers = slices.DeleteFunc(slices.Clone(s.Peers), func(peer netip.Addr) bool { return peer == own })
	s.Neighbours = slices.DeleteFunc(slices.Clone(s.Neighbours), func(n Neighbour) bool { return n.Node == own })
	return s
}

func (s Subnet) remotes() []netip.Addr {
	remotes := append([]netip.Addr(nil), s.Peers...)
	if s.Concentrator.IsValid() {
		remotes = append(remotes, s.Concentrator)
	}
	return remotes
}

// peerElement is an element of the set of peers: a peer with the network that it may send for.
func peerElement(peer netip.Addr, key uint32) string {
	return peer.String() + " . " + netip.AddrFrom4([4]byte{byte(key >> 16), byte(key >> 8), byte(key)}).String()
}

func quoted(name string) string { return `"` + name + `"` }

func checkNode(wanted Node) error {
	var problems cluster.Problems
	subnets, keys := map[string]bool{}, map[uint32]bool{}
	for i, subnet := range wanted.Subnets {
		path := fmt.Sprintf("subnets[%d]", i)
		checkSubnet(&problems, path, subnet)
		if subnets[subnet.ID] || keys[subnet.Key] {
			problems.Add(path, "has the id or the key of another subnet")
		}
		subnets[subnet.ID], keys[subnet.Key] = true, true
	}
	ports := map[string]bool{}
	for i, port := range wanted.Ports {
		path := fmt.Sprintf("ports[%d]", i)
		checkPort(&problems, path, port)
		if !subnets[port.Subnet] {
			problems.Add(path+".subnet", "%q is not among the subnets", port.Subnet)
		}
		if ports[port.Instance] {
			problems.Add(path+".instance", "%q has another port", port.Instance)
		}
		ports[port.Instance] = true
	}
	return problems.Err()
}

func checkSubnet(problems *cluster.Problems, path string, subnet Subnet) {
	if subnet.ID == "" {
		problems.Add(path+".id", "must not be empty")
	}
	if subnet.Key == 0 || subnet.Key >= 1<<24 {
		problems.Add(path+".key", "must be from 1 to 16777215")
	}
	if !subnet.Prefix.IsValid() || !subnet.Prefix.Addr().Is4() {
		problems.Add(path+".prefix", "must be an IPv4 prefix")
	} else if !subnet.Gateway.Is4() || !subnet.Prefix.Contains(subnet.Gateway) {
		problems.Add(path+".gateway", "must be an address of %s", subnet.Prefix)
	}
	checkSubnet6(problems, path, subnet)
	for i, peer := range subnet.remotes() {
		if !peer.Is4() {
			problems.Add(fmt.Sprintf("%s.peers[%d]", path, i), "must be an IPv4 address")
		}
	}
	checkNeighbours(problems, path, subnet.Neighbours)
}

func checkSubnet6(problems *cluster.Problems, path string, subnet Subnet) {
	switch {
	case !subnet.Prefix6.IsValid() && !subnet.Gateway6.IsValid():
	case !subnet.Prefix6.IsValid() || !subnet.Prefix6.Addr().Is6() || subnet.Prefix6.Bits() != 64:
		problems.Add(path+".prefix6", "must be an IPv6 prefix of 64 bits")
	case !subnet.Prefix6.Contains(subnet.Gateway6):
		problems.Add(path+".gateway6", "must be an address of %s", subnet.Prefix6)
	}
}

// checkNeighbours wants each MAC once: the kernel has one place for it, and would keep either of two.
func checkNeighbours(problems *cluster.Problems, path string, neighbours []Neighbour) {
	macs := make(map[string]bool, len(neighbours))
	for i, neighbour := range neighbours {
		path := fmt.Sprintf("%s.neighbours[%d]", path, i)
		checkMAC(problems, path, neighbour.MAC)
		if neighbour.MAC == FloodMAC {
			problems.Add(path+".mac", "must not be %s, which stands for all others", FloodMAC)
		}
		if !neighbour.Node.Is4() {
			problems.Add(path+".node", "must be an IPv4 address")
		}
		if macs[neighbour.MAC] {
			problems.Add(path+".mac", "%s is at another node, too: name each MAC once", neighbour.MAC)
		}
		macs[neighbour.MAC] = true
	}
}

// checkHosts refuses names that are no DNS labels (RFC 1035, RFC 1123): they are written into a server's files.
func checkHosts(problems *cluster.Problems, wanted Concentrator) {
	if !domainName.MatchString(wanted.Domain) || len(wanted.Domain) > 200 {
		problems.Add("domain", "%q is not a DNS domain", wanted.Domain)
	}
	for i, host := range wanted.Hosts {
		path := fmt.Sprintf("hosts[%d]", i)
		if !hostName.MatchString(host.Name) {
			problems.Add(path+".name", "%q is not a host name (letters, digits and inner hyphens, at most 63)", host.Name)
		}
		checkMAC(problems, path, host.MAC)
		for j, address := range host.Addresses {
			if !wanted.Subnet.hosts(address) {
				problems.Add(fmt.Sprintf("%s.addresses[%d]", path, j), "%s is not a host's address of %s", address, wanted.Subnet.ID)
			}
		}
	}
}

// hosts reports whether an address may be a host's.
func (s Subnet) hosts(address netip.Addr) bool {
	return (s.Prefix.Contains(address) || s.Prefix6.Contains(address)) && address != s.Gateway && address != s.Gateway6
}

var (
	hostName   = regexp.MustCompile(`^[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?$`)
	domainName = regexp.MustCompile(`^[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?(\.[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)*$`)
)

// checkMAC wants the canonical form: elements of sets are compared as text.
func checkMAC(problems *cluster.Problems, path, text string) {
	if mac, err := net.ParseMAC(text); err != nil || len(mac) != 6 || mac.String() != text || mac[0]&1 != 0 {
		problems.Add(path+".mac", "%q is not a unicast MAC such as 02:00:ac:10:00:02", text)
	}
}

func checkPort(problems *cluster.Problems, path string, port Port) {
	if port.Instance == "" {
		problems.Add(path+".instance", "must not be empty")
	}
	if port.Kind != Veth && port.Kind != Tap {
		problems.Add(path+".kind", "%q is neither veth nor tap", port.Kind)
	}
	checkMAC(problems, path, port.MAC)
	for i, address := range port.Addresses {
		if !address.IsValid() || address.Is4In6() || address.Zone() != "" {
			problems.Add(fmt.Sprintf("%s.addresses[%d]", path, i), "must be an IPv4 or an IPv6 address")
		}
	}
}
