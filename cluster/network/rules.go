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
	IPv6       = "ipv6"
	Other      = "other"
	Stranger   = "stranger" // VXLAN from an address that is no peer
	Blocked    = "blocked"  // a tenant's packet to the underlay
	Refused    = "refused"  // a tenant's packet to the CNCI itself
)

// Priorities of base chains, as nft names them.
const (
	priorityRaw          = -300
	priorityBridgeFilter = -200
	priorityFilter       = 0
	priorityDestination  = -100
	prioritySource       = 100
)

// portsTable lets a port send only with its own addresses. What is not in its sets does not pass, so that a port may only be
// brought up when its elements are there, and forgetting one closes it. Nothing is delivered to the bridge itself: a node's
// namespace has its address on the underlay, and the kernel would answer for it on every link (the weak host model, RFC 1122).
func portsTable(senders, addresses map[string]bool) Table {
	return Table{
		ID: TableID{"bridge", TableName},
		Sets: []Set{
			{Name: "addresses", Type: "ifname . ether_addr . ipv4_addr", Elements: addresses},
			{Name: "senders", Type: "ifname . ether_addr", Elements: senders},
		},
		Chains: []Chain{
			{Name: "input", Type: "filter", Hook: "input", Priority: priorityBridgeFilter, Policy: "drop"},
			{Name: "prerouting", Type: "filter", Hook: "prerouting", Priority: priorityBridgeFilter, Policy: "drop", Rules: []Rule{
				{"tunnel", `iifname "cx*" ether type ip accept`},
				{"tunnel", `iifname "cx*" ether type arp accept`},
				{IPv6, `ether type ip6 counter drop`},
				{ForgedMAC, `iifname . ether saddr != @senders counter drop`},
				{"arp-probe", `arp operation request arp saddr ip 0.0.0.0 iifname . arp saddr ether @senders accept`},
				{"arp", `iifname . arp saddr ether . arp saddr ip @addresses accept`},
				{ForgedARP, `ether type arp counter drop`},
				{DHCPServer, `ether type ip udp sport 67 counter drop`},
				{"dhcp-client", `ip saddr 0.0.0.0 udp sport 68 udp dport 67 accept`},
				{"own", `iifname . ether saddr . ip saddr @addresses accept`},
				{ForgedIP, `ether type ip counter drop`},
				{Other, `counter drop`},
			}},
		},
	}
}

// nodeTable accepts VXLAN from current peers only, and what the cluster's own daemons answer. It tracks no connections: the tunnel's
// packets would each pay for it.
func nodeTable(peers map[string]bool, control []netip.AddrPort) Table {
	input := []Rule{
		{"tunnel", fmt.Sprintf(`iifname "%s" ip saddr @peers udp dport %d accept`, Underlay, VXLANPort)},
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
		Sets: []Set{{Name: "peers", Type: "ipv4_addr", Elements: peers}},
		Chains: []Chain{
			{Name: "forward", Type: "filter", Hook: "forward", Priority: priorityFilter, Policy: "drop"},
			{Name: "input", Type: "filter", Hook: "input", Priority: priorityFilter, Policy: "drop", Rules: append(input, Rule{Other, `counter drop`})},
		},
	}
}

// neverRouted are destinations that no tenant's packet is forwarded to: this host, loopback, link-local, multicast and reserved
// addresses (RFC 6890).
var neverRouted = []string{"0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4"}

// gatewayTable is the filter and the NAT of a CNCI.
func gatewayTable(wanted Concentrator, bridge string, blocked []netip.Prefix, peers map[string]bool) Table {
	return Table{
		ID:   TableID{"ip", TableName},
		Sets: []Set{{Name: "peers", Type: "ipv4_addr", Elements: peers}},
		Chains: []Chain{
			{Name: "forward", Type: "filter", Hook: "forward", Priority: priorityFilter, Policy: "drop", Rules: forwardRules(wanted, bridge, blocked)},
			{Name: "input", Type: "filter", Hook: "input", Priority: priorityFilter, Policy: "drop", Rules: inputRules(wanted, bridge)},
			{Name: "output", Type: "filter", Hook: "output", Priority: priorityRaw, Policy: "accept", Rules: []Rule{
				{"tunnel", fmt.Sprintf(`udp dport %d notrack`, VXLANPort)},
			}},
			{Name: "postrouting", Type: "nat", Hook: "postrouting", Priority: prioritySource, Policy: "accept", Rules: append(sourceRules(wanted, bridge),
				Rule{"masquerade", fmt.Sprintf(`oifname "%s" ip saddr %s masquerade`, Underlay, wanted.Subnet.Prefix)},
			)},
			{Name: "prerouting", Type: "filter", Hook: "prerouting", Priority: priorityRaw, Policy: "accept", Rules: []Rule{
				{"tunnel", fmt.Sprintf(`iifname "%s" udp dport %d notrack`, Underlay, VXLANPort)},
			}},
			{Name: "translation", Type: "nat", Hook: "prerouting", Priority: priorityDestination, Policy: "accept", Rules: destinationRules(wanted.Mappings)},
		},
	}
}

func forwardRules(wanted Concentrator, bridge string, blocked []netip.Prefix) []Rule {
	rules := mappedRules(wanted, bridge)
	destinations := slices.Clone(neverRouted)
	for _, prefix := range blocked {
		destinations = append(destinations, prefix.Masked().String())
	}
	slices.Sort(destinations)
	for _, destination := range slices.Compact(destinations) {
		rules = append(rules, Rule{Blocked, fmt.Sprintf(`iifname "%s" ip daddr %s counter drop`, bridge, destination)})
	}
	return append(rules,
		Rule{"out", fmt.Sprintf(`iifname "%s" oifname "%s" ip saddr %s accept`, bridge, Underlay, wanted.Subnet.Prefix)},
		Rule{"back", fmt.Sprintf(`iifname "%s" oifname "%s" ct state established,related accept`, Underlay, bridge)},
		Rule{Other, `counter drop`},
	)
}

func inputRules(wanted Concentrator, bridge string) []Rule {
	gateway := wanted.Subnet.Gateway
	return []Rule{
		{"tunnel", fmt.Sprintf(`iifname "%s" ip saddr @peers udp dport %d accept`, Underlay, VXLANPort)},
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
