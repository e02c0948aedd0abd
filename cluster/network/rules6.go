package network

import (
	"fmt"
	"net/netip"
	"slices"
)

// transports are the protocols that a port may send over IPv6, the most frequent first. An IPv6 header chain can put others before them;
// a chain that is not listed below does not pass, for a receiver would find behind it what the rules did not look for (RFC 6980, RFC 7113).
var transports = []string{"tcp", "udp", "ipv6-icmp", "esp", "sctp"}

// ownIP6 matches a frame that comes from its port's own MAC and IPv6 address.
const ownIP6 = "iifname . ether saddr . ip6 saddr @addresses6"

// portRules6 are what a port may send over IPv6. Neighbour discovery (RFC 4861) is checked as ARP is: a port advertises only its own
// addresses, which are the 16 bytes that follow the message's first eight; what only routers send is dropped.
func portRules6() []Rule {
	const target = "iifname . ether saddr . @th,64,128 @addresses6"
	rules := []Rule{
		{RouterIP6, `ether type ip6 icmpv6 type nd-router-advert counter drop`},
		{RouterIP6, `ether type ip6 icmpv6 type nd-redirect counter drop`},
		{DHCPServer6, `ether type ip6 udp sport 547 counter drop`},
		{"heard", guest + `ip6 nexthdr udp udp sport 546 udp dport 547 ` + ownIP6 + ` ` + note},
		{"neighbour", `ip6 nexthdr ipv6-icmp icmpv6 type nd-neighbor-advert ` + ownIP6 + ` ` + target + ` accept`},
		{ForgedNeighbour, `ether type ip6 icmpv6 type nd-neighbor-advert counter drop`},
		{"address-probe", `ip6 nexthdr ipv6-icmp ip6 saddr :: icmpv6 type nd-neighbor-solicit ` + target + ` accept`},
		{"router-solicit", `ip6 nexthdr ipv6-icmp ip6 saddr :: icmpv6 type nd-router-solicit accept`},
	}
	for _, transport := range transports {
		rules = append(rules, Rule{"own-ip6", `ip6 nexthdr ` + transport + ` ` + ownIP6 + ` accept`})
	}
	// Listeners of multicast say so with a hop-by-hop option, before they have an address of their own, too (RFC 3810, section 5.2.13).
	for _, report := range []string{"mld-listener-report", "mld-listener-done", "mld2-listener-report"} {
		rules = append(rules,
			Rule{"listener", `ip6 nexthdr hopopt ip6 saddr :: icmpv6 type ` + report + ` accept`},
			Rule{"listener", `ip6 nexthdr hopopt icmpv6 type ` + report + ` ` + ownIP6 + ` accept`})
	}
	// Of a datagram in fragments the first has the transport's header; of ICMPv6, nothing but echo is that long.
	return append(rules,
		Rule{"fragment", `ip6 nexthdr ipv6-frag frag nexthdr udp ` + ownIP6 + ` accept`},
		Rule{"fragment", `ip6 nexthdr ipv6-frag frag nexthdr tcp ` + ownIP6 + ` accept`},
		Rule{"fragment", `ip6 nexthdr ipv6-frag frag nexthdr ipv6-icmp icmpv6 type echo-request ` + ownIP6 + ` accept`},
		Rule{"fragment", `ip6 nexthdr ipv6-frag frag nexthdr ipv6-icmp icmpv6 type echo-reply ` + ownIP6 + ` accept`},
		Rule{"fragment", `ip6 nexthdr ipv6-frag frag nexthdr ipv6-icmp frag frag-off != 0 ` + ownIP6 + ` accept`},
		Rule{ForgedIP6, `ether type ip6 iifname . ether saddr . ip6 saddr != @addresses6 counter drop`},
		Rule{HeadersIP6, `ether type ip6 counter drop`})
}

// neverRouted6 are IPv6 destinations that no tenant's packet is forwarded to: unspecified, loopback and embedded IPv4 addresses, what
// translates to IPv4 (NAT64, 6to4), by which blocked IPv4 destinations could be reached, discard, link-local, site-local and multicast
// addresses (RFC 6890, RFC 8215).
var neverRouted6 = []string{"::/8", "64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "100::/64", "fe80::/10", "fec0::/10", "ff00::/8"}

// gatewayTable6 is the filter and the NAT of a CNCI for IPv6. Without a prefix of the underlay nothing is forwarded but what goes by external
// addresses: there is no way out, and nobody would know which destinations are the underlay's own.
func gatewayTable6(wanted Concentrator, bridge string, underlay []netip.Prefix) Table {
	table := Table{ID: TableID{"ip6", TableName}, Chains: []Chain{
		{Name: "forward", Type: "filter", Hook: "forward", Priority: priorityFilter, Policy: "drop"},
		{Name: "input", Type: "filter", Hook: "input", Priority: priorityFilter, Policy: "drop", Rules: inputRules6(wanted, bridge)},
		{Name: "postrouting", Type: "nat", Hook: "postrouting", Priority: prioritySource, Policy: "accept"},
		{Name: "translation", Type: "nat", Hook: "prerouting", Priority: priorityDestination, Policy: "accept"},
	}}
	if !wanted.Subnet.Prefix6.IsValid() {
		return table
	}
	s := wanted.side6()
	forward, source := &table.Chains[0], &table.Chains[2]
	forward.Rules, source.Rules = mappedRules(s, bridge), sourceRules(s, bridge)
	table.Chains[3].Rules = append(portRules(wanted.Hosts, s, netip.Addr{}), destinationRules(s)...)
	if len(underlay) > 0 {
		forward.Rules = append(forward.Rules, forwardRules6(wanted, bridge, underlay)...)
		source.Rules = append(source.Rules, Rule{"masquerade", fmt.Sprintf(`oifname "%s" ip6 saddr %s masquerade`, Underlay, wanted.Subnet.Prefix6)})
	}
	return table
}

func forwardRules6(wanted Concentrator, bridge string, underlay []netip.Prefix) []Rule {
	return append(blockedRules("ip6", bridge, neverRouted6, slices.Concat(underlay, wanted.Blocked)),
		Rule{"out", fmt.Sprintf(`iifname "%s" oifname "%s" ip6 saddr %s accept`, bridge, Underlay, wanted.Subnet.Prefix6)},
		Rule{"back", fmt.Sprintf(`iifname "%s" oifname "%s" ct state established,related accept`, Underlay, bridge)},
		Rule{Other, `counter drop`},
	)
}

// inputRules6 are what the CNCI itself answers: neighbours on both sides, routers of the underlay, and the services of the subnet.
func inputRules6(wanted Concentrator, bridge string) []Rule {
	rules := []Rule{{"loopback", `iifname "lo" accept`}}
	accept := func(name, link, what string) {
		rules = append(rules, Rule{name, fmt.Sprintf(`iifname "%s" %s accept`, link, what)})
	}
	for _, link := range []string{bridge, Underlay} {
		accept("neighbour", link, `icmpv6 type nd-neighbor-solicit`)
		accept("neighbour", link, `icmpv6 type nd-neighbor-advert`)
	}
	accept("router-solicit", bridge, `icmpv6 type nd-router-solicit`)
	accept("router", Underlay, `icmpv6 type nd-router-advert`)
	if gateway := wanted.Subnet.Gateway6; gateway.IsValid() {
		accept("dhcp", bridge, `udp sport 546 udp dport 547`)
		accept("dns", bridge, fmt.Sprintf(`ip6 daddr %s udp dport 53`, gateway))
		accept("dns", bridge, fmt.Sprintf(`ip6 daddr %s tcp dport 53`, gateway))
		accept("echo", bridge, fmt.Sprintf(`ip6 daddr %s icmpv6 type echo-request`, gateway))
	}
	return append(rules,
		Rule{Refused, fmt.Sprintf(`iifname "%s" counter drop`, bridge)},
		Rule{"back", `ct state established,related accept`},
		Rule{"echo", fmt.Sprintf(`iifname "%s" icmpv6 type echo-request accept`, Underlay)},
		Rule{Other, `counter drop`},
	)
}
