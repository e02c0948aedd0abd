package network

import (
	"fmt"
	"net/netip"
	"slices"
)

// VXLANPort is the UDP port of VXLAN (RFC 7348).
const VXLANPort = 4789

// Names of rules whose counters tell what was refused.
const (
	ForgedMAC  = "forged-mac"
	ForgedIP   = "forged-ip"
	ForgedARP  = "forged-arp"
	DHCPServer = "dhcp-server"

	ForgedIP6       = "forged-ip6"
	ForgedNeighbour = "forged-neighbour" // a neighbour advertisement that is not of the port's own address
	RouterIP6       = "router-ip6"       // what only a router says: advertisements, redirects
	DHCPServer6     = "dhcp-server-ip6"
	HeadersIP6      = "headers-ip6" // headers behind which others could hide, and protocols that are not passed

	Other    = "other"
	Stranger = "stranger" // VXLAN from an address that is no peer of that network
	Blocked  = "blocked"  // a tenant's packet to the underlay
	Refused  = "refused"  // a tenant's packet to the CNCI itself
)

// Priorities of base chains, as nft names them.
const (
	priorityRaw          = -300
	priorityBridgeFilter = -200
	priorityFilter       = 0
	priorityDestination  = -100
	prioritySource       = 100
)

// HeardSet are the ports of virtual machines whose guests have asked for their address or used it, since they were last taken from it. What
// tells it is seldom, so that it costs no other frame anything. A set that is full only means that nothing is noted.
const HeardSet = "heard"

const (
	guest = `iifname != @configured ` // who configures itself, while the carriers of the others do that
	note  = `add @` + HeardSet + ` { iifname }`
)

// portsTable lets a port send only with its own addresses. What is not in its sets does not pass, so that a port may only be
// brought up when its elements are there, and forgetting one closes it. Nothing is delivered to the bridge itself: a node's
// namespace has its address on the underlay, and the kernel would answer for it on every link (the weak host model, RFC 1122).
func portsTable(allowed allowed) Table {
	return Table{
		ID: TableID{"bridge", TableName},
		Sets: []Set{
			{Name: "addresses", Type: "ifname . ether_addr . ipv4_addr", Elements: allowed.addresses},
			{Name: "addresses6", Type: "ifname . ether_addr . ipv6_addr", Elements: allowed.addresses6},
			{Name: "configured", Type: "ifname", Elements: allowed.configured},
			{Name: HeardSet, Type: "ifname", Noted: true, Elements: map[string]bool{}},
			{Name: "senders", Type: "ifname . ether_addr", Elements: allowed.senders},
		},
		Chains: []Chain{
			{Name: "forward", Type: "filter", Hook: "forward", Priority: priorityBridgeFilter, Policy: "accept", Rules: []Rule{
				{"advertisement", `oifname @configured icmpv6 type nd-router-advert drop`},
			}},
			{Name: "input", Type: "filter", Hook: "input", Priority: priorityBridgeFilter, Policy: "drop"},
			{Name: "prerouting", Type: "filter", Hook: "prerouting", Priority: priorityBridgeFilter, Policy: "drop", Rules: slices.Concat([]Rule{
				{"tunnel", `iifname "cx*" ether type ip accept`},
				{"tunnel", `iifname "cx*" ether type arp accept`},
				{"tunnel", `iifname "cx*" ether type ip6 accept`},
				{ForgedMAC, `iifname . ether saddr != @senders counter drop`},
				{"heard", guest + `iifname . arp saddr ether . arp saddr ip @addresses ` + note},
				{"arp-probe", `arp operation request arp saddr ip 0.0.0.0 iifname . arp saddr ether @senders accept`},
				{"arp", `iifname . arp saddr ether . arp saddr ip @addresses accept`},
				{ForgedARP, `ether type arp counter drop`},
				{DHCPServer, `ether type ip udp sport 67 counter drop`},
				{"heard", guest + `ip saddr 0.0.0.0 udp sport 68 udp dport 67 ` + note},
				{"dhcp-client", `ip saddr 0.0.0.0 udp sport 68 udp dport 67 accept`},
				{"own", `iifname . ether saddr . ip saddr @addresses accept`},
				{ForgedIP, `ether type ip counter drop`},
			}, portRules6(), []Rule{{Other, `counter drop`}})},
		},
	}
}

// InstancesAt are the instances whose ports are named, as elements of HeardSet are.
func InstancesAt(links []string, ports []Port) (instances []string) {
	for _, port := range ports {
		if slices.Contains(links, quoted(NodeEnd(port.Instance))) {
			instances = append(instances, port.Instance)
		}
	}
	return instances
}

// allowed is what ports may send from, as elements of sets, and which have carriers that set up all of their addresses and routes. A kernel that
// hears of a router before that makes a route of its own, with which the carrier's collides.
type allowed struct{ senders, addresses, addresses6, configured map[string]bool }

func newAllowed() allowed {
	return allowed{map[string]bool{}, map[string]bool{}, map[string]bool{}, map[string]bool{}}
}

func (a allowed) add(port Port) {
	sender := quoted(NodeEnd(port.Instance)) + " . " + port.MAC
	a.senders[sender] = true
	if port.Kind == Veth {
		a.configured[quoted(NodeEnd(port.Instance))] = true
	}
	for _, address := range port.Addresses {
		if address.Is4() {
			a.addresses[sender+" . "+address.String()] = true
			continue
		}
		a.addresses6[sender+" . "+address.String()] = true
		a.addresses6[sender+" . "+LinkLocalOf(port.MAC).String()] = true // without it there is no neighbour discovery
	}
}

// nodeTable accepts VXLAN from current peers only, each for the networks that it has, and what the cluster's own daemons answer. It tracks no connections: the tunnel's
// packets would each pay for it.
func nodeTable(peers map[string]bool, control []netip.AddrPort) Table {
	input := []Rule{
		{"tunnel", tunnelRule},
		{Stranger, fmt.Sprintf(`udp dport %d counter drop`, VXLANPort)},
		{"loopback", `iifname "lo" accept`},
		{"echo", fmt.Sprintf(`iifname "%s" icmp type echo-request accept`, Underlay)},
		{"errors", fmt.Sprintf(`iifname "%s" icmp type destination-unreachable accept`, Underlay)},
	}
	for _, from := range control {
		input = append(input, Rule{"control", fmt.Sprintf(`iifname "%s" ip saddr %s tcp sport %d accept`, Underlay, from.Addr(), from.Port())})
	}
	return Table{
		ID:   TableID{"ip", TableName},
		Sets: []Set{peersSet(peers)},
		Chains: []Chain{
			{Name: "forward", Type: "filter", Hook: "forward", Priority: priorityFilter, Policy: "drop"},
			{Name: "input", Type: "filter", Hook: "input", Priority: priorityFilter, Policy: "drop", Rules: append(input, Rule{Other, `counter drop`})},
		},
	}
}

// tunnelRule accepts a VXLAN datagram of a peer for a network that it has. The network is the 24 bits that follow the UDP header's
// eight and VXLAN's first four bytes (RFC 7348, section 5).
const tunnelRule = `iifname "` + Underlay + `" udp dport 4789 ip saddr . @th,96,24 @peers accept`

// peersSet writes the network, for which nft has no type, as an address: its three bytes and a zero.
func peersSet(peers map[string]bool) Set {
	return Set{Name: "peers", Type: "ipv4_addr . ipv4_addr", Elements: peers}
}

// neverRouted are destinations that no tenant's packet is forwarded to: this host, loopback, link-local, multicast and reserved
// addresses (RFC 6890).
var neverRouted = []string{"0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4"}

// gatewayTable is the filter and the NAT of a CNCI.
func gatewayTable(wanted Concentrator, bridge string, underlay netip.Prefix, peers map[string]bool) Table {
	return Table{
		ID:   TableID{"ip", TableName},
		Sets: []Set{peersSet(peers)},
		Chains: []Chain{
			{Name: "forward", Type: "filter", Hook: "forward", Priority: priorityFilter, Policy: "drop", Rules: forwardRules(wanted, bridge, underlay)},
			{Name: "input", Type: "filter", Hook: "input", Priority: priorityFilter, Policy: "drop", Rules: inputRules(wanted, bridge)},
			{Name: "output", Type: "filter", Hook: "output", Priority: priorityRaw, Policy: "accept", Rules: []Rule{
				{"tunnel", fmt.Sprintf(`udp dport %d notrack`, VXLANPort)},
			}},
			{Name: "postrouting", Type: "nat", Hook: "postrouting", Priority: prioritySource, Policy: "accept", Rules: append(sourceRules(wanted.side4(), bridge),
				Rule{"masquerade", fmt.Sprintf(`oifname "%s" ip saddr %s masquerade`, Underlay, wanted.Subnet.Prefix)},
			)},
			{Name: "prerouting", Type: "filter", Hook: "prerouting", Priority: priorityRaw, Policy: "accept", Rules: []Rule{
				{"tunnel", fmt.Sprintf(`iifname "%s" udp dport %d notrack`, Underlay, VXLANPort)},
			}},
			{Name: "translation", Type: "nat", Hook: "prerouting", Priority: priorityDestination, Policy: "accept", Rules: slices.Concat(
				portRules(wanted.Hosts, wanted.side4(), underlay.Addr()), destinationRules(wanted.side4()), loginRules(wanted.Hosts, underlay.Addr()),
			)},
		},
	}
}

func forwardRules(wanted Concentrator, bridge string, underlay netip.Prefix) []Rule {
	blocked := append([]netip.Prefix{underlay}, wanted.Blocked...)
	return append(slices.Concat(mappedRules(wanted.side4(), bridge), blockedRules("ip", bridge, neverRouted, blocked)),
		Rule{"out", fmt.Sprintf(`iifname "%s" oifname "%s" ip saddr %s accept`, bridge, Underlay, wanted.Subnet.Prefix)},
		Rule{"back", fmt.Sprintf(`iifname "%s" oifname "%s" ct state established,related accept`, Underlay, bridge)},
		Rule{Other, `counter drop`},
	)
}

// blockedRules drop what goes from a tenant to destinations of one family, ip or ip6.
func blockedRules(family, bridge string, never []string, blocked []netip.Prefix) []Rule {
	destinations := slices.Clone(never)
	for _, prefix := range blocked {
		if prefix.Addr().Is4() == (family == "ip") {
			destinations = append(destinations, prefix.Masked().String())
		}
	}
	slices.Sort(destinations)
	var rules []Rule
	for _, destination := range slices.Compact(destinations) {
		rules = append(rules, Rule{Blocked, fmt.Sprintf(`iifname "%s" %s daddr %s counter drop`, bridge, family, destination)})
	}
	return rules
}

func inputRules(wanted Concentrator, bridge string) []Rule {
	gateway := wanted.Subnet.Gateway
	return []Rule{
		{"tunnel", tunnelRule},
		{Stranger, fmt.Sprintf(`iifname "%s" udp dport %d counter drop`, Underlay, VXLANPort)},
		{"loopback", `iifname "lo" accept`},
		{"dhcp", fmt.Sprintf(`iifname "%s" udp sport 68 udp dport 67 accept`, bridge)},
		{"dns", fmt.Sprintf(`iifname "%s" ip daddr %s udp dport 53 accept`, bridge, gateway)},
		{"dns", fmt.Sprintf(`iifname "%s" ip daddr %s tcp dport 53 accept`, bridge, gateway)},
		{"echo", fmt.Sprintf(`iifname "%s" ip daddr %s icmp type echo-request accept`, bridge, gateway)},
		{Refused, fmt.Sprintf(`iifname "%s" counter drop`, bridge)},
		{"back", `ct state established,related accept`},
		{"echo", fmt.Sprintf(`iifname "%s" icmp type echo-request accept`, Underlay)},
		{Other, `counter drop`},
	}
}
