package firewall

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ciaocloud/ciao/cluster/network"
	"github.com/ciaocloud/ciao/cluster/network/networktest"
	"github.com/ciaocloud/ciao/require"
)

// rules that are compiled, one of each kind. Two matches of neighbouring bytes are left out: nft makes one of them.
var rules = map[string][]string{
	"bridge": {
		`iifname "cx*" ether type arp accept`,
		`ether type ip6 counter drop`,
		`iifname . ether saddr != @senders counter drop`,
		`iifname . ether saddr @senders accept`,
		`arp operation request arp saddr ip 0.0.0.0 iifname . arp saddr ether @senders accept`,
		`iifname . arp saddr ether . arp saddr ip @addresses accept`,
		`ether type ip udp sport 67 counter drop`,
		`ip saddr 0.0.0.0 udp dport 67 accept`,
		`iifname . ether saddr . ip saddr @addresses accept`,
		`ether daddr 02:00:ac:10:00:02 drop`,
		`ether type ip6 icmpv6 type nd-router-advert counter drop`,
		`ip6 nexthdr ipv6-icmp icmpv6 type nd-neighbor-advert iifname . ether saddr . ip6 saddr @addresses6 iifname . ether saddr . @th,64,128 @targets accept`,
		`ip6 nexthdr ipv6-icmp ip6 saddr :: icmpv6 type nd-router-solicit accept`,
		`ip6 nexthdr tcp iifname . ether saddr . ip6 saddr @addresses6 accept`,
		`ip6 nexthdr hopopt icmpv6 type mld2-listener-report iifname . ether saddr . ip6 saddr @addresses6 accept`,
		`ip6 nexthdr ipv6-frag frag nexthdr udp iifname . ether saddr . ip6 saddr @addresses6 accept`,
		`ip6 nexthdr ipv6-frag frag nexthdr ipv6-icmp icmpv6 type echo-request accept`,
		`ip6 nexthdr ipv6-frag frag nexthdr ipv6-icmp frag frag-off != 0 accept`,
		`ether type ip6 iifname . ether saddr . ip6 saddr != @addresses6 counter drop`,
		`ether type ip6 udp sport 547 counter drop`,
		`ip saddr 0.0.0.0 udp dport 67 add @heard { iifname }`,
		`counter drop`,
	},
	"ip": {
		`iifname "underlay" udp dport 4789 ip saddr . @th,96,24 @peers accept`,
		`iifname "cb0123456789ab" ip daddr 198.51.100.0/24 counter drop`,
		`iifname "cb0123456789ab" ip daddr 224.0.0.0/4 drop`,
		`iifname "cb0123456789ab" oifname "underlay" ip saddr 172.16.0.0/24 accept`,
		`ct state established,related accept`,
		`oifname "underlay" ip saddr 172.16.0.0/24 masquerade`,
		`udp dport 4789 notrack`,
		`ip daddr 198.51.100.20 dnat to 172.16.0.2`,
		`iifname "underlay" ip daddr 198.51.100.70 tcp dport 33002 dnat to 172.16.0.2:22`,
		`iifname "underlay" ip daddr 198.51.100.70 udp dport 53 dnat to 172.16.0.2:5353`,
		`ip daddr 198.51.100.20 tcp dport 80 dnat to 172.16.0.2:8080`,
		`oifname "underlay" ip saddr 172.16.0.2 snat to 198.51.100.20`,
		`iifname "underlay" oifname "cb0123456789ab" ct status dnat accept`,
		`ip daddr 172.16.0.1 tcp dport 53 accept`,
		`iifname "underlay" ip saddr 198.51.100.1 tcp sport 8888 accept`,
		`ip saddr 198.51.100.0/24 oifname != "ciaovlan" masquerade`,
		`ip saddr != 10.0.0.1 drop`,
		`ip saddr != 10.0.0.0/8 drop`,
		`icmp type echo-request accept`,
		`icmp type destination-unreachable accept`,
	},
	"ip6": {
		`iifname "cb0123456789ab" ip6 daddr fd3e:9a4c:71d2::/64 counter drop`,
		`iifname "cb0123456789ab" ip6 daddr fe80::/10 counter drop`,
		`iifname "cb0123456789ab" ip6 daddr 64:ff9b::/96 counter drop`,
		`iifname "underlay" icmpv6 type nd-router-advert accept`,
		`ip6 daddr fd3e:9a4c:71d2::1 udp dport 53 accept`,
		`iifname "cb0123456789ab" udp dport 547 accept`,
		`oifname "underlay" ip6 saddr fd3e:9a4c:71d2::/64 masquerade`,
		`ip6 daddr fd6a:90c4:1be7::101 dnat to fd3e:9a4c:71d2::2`,
		`ip6 daddr fd6a:90c4:1be7::101 tcp dport 80 dnat to [fd3e:9a4c:71d2::2]:8080`,
		`oifname "underlay" ip6 saddr fd3e:9a4c:71d2::2 snat to fd6a:90c4:1be7::101`,
		`iifname "underlay" oifname "cb0123456789ab" ct status dnat accept`,
		`ct state established,related accept`,
	},
}

func testTable(family string) network.Table {
	table := network.Table{ID: network.TableID{Family: family, Name: "ciao"}}
	switch family {
	case "bridge":
		table.Sets = []network.Set{
			{Name: "addresses", Type: "ifname . ether_addr . ipv4_addr", Elements: map[string]bool{`"cp0123456789ab" . 02:00:ac:10:00:02 . 172.16.0.2`: true}},
			{Name: "addresses6", Type: "ifname . ether_addr . ipv6_addr", Elements: map[string]bool{`"cp0123456789ab" . 02:00:ac:10:00:02 . fd3e:9a4c:71d2::2`: true}},
			{Name: "heard", Type: "ifname", Noted: true, Elements: map[string]bool{}},
			{Name: "senders", Type: "ifname . ether_addr", Elements: map[string]bool{`"cp0123456789ab" . 02:00:ac:10:00:02`: true}},
			{Name: "targets", Type: "ifname . ether_addr . ipv6_addr", Elements: map[string]bool{}},
		}
	case "ip":
		table.Sets = []network.Set{{Name: "peers", Type: "ipv4_addr . ipv4_addr", Elements: map[string]bool{}}}
	}
	for i, rule := range rules[family] {
		chain := network.Chain{Name: fmt.Sprintf("chain%02d", i), Type: "filter", Hook: "prerouting", Priority: -300, Policy: "accept"}
		if strings.Contains(rule, "masquerade") || strings.Contains(rule, "snat") {
			chain.Type, chain.Hook, chain.Priority = "nat", "postrouting", 100
		}
		if strings.Contains(rule, " dnat to") {
			chain.Type, chain.Priority = "nat", -100
		}
		if strings.Contains(rule, "oifname") && chain.Type == "filter" {
			chain.Hook = "forward"
		}
		chain.Rules = []network.Rule{{Name: "test", Text: rule}}
		table.Chains = append(table.Chains, chain)
	}
	return table
}

// typeOf has the sets that nft(8) would not compare with bytes that have no name unless they are declared so.
var typeOf = map[string]string{"targets": "iifname . ether saddr . @th,64,128", "peers": "ip saddr . @th,96,24"}

// script writes the table for nft(8).
func script(table network.Table) string {
	var text strings.Builder
	fmt.Fprintf(&text, "table %s {\n", table.ID)
	for _, set := range table.Sets {
		if of, ok := typeOf[set.Name]; ok {
			fmt.Fprintf(&text, "set %s { typeof %s; }\n", set.Name, of)
			continue
		}
		flags := ""
		if set.Noted {
			flags = "size 65535; flags dynamic; "
		}
		fmt.Fprintf(&text, "set %s { type %s; %s}\n", set.Name, set.Type, flags)
	}
	for _, chain := range table.Chains {
		fmt.Fprintf(&text, "chain %s { type %s hook %s priority %d; policy %s;\n", chain.Name, chain.Type, chain.Hook, chain.Priority, chain.Policy)
		for _, rule := range chain.Rules {
			fmt.Fprintf(&text, "%s comment \"%s\"\n", rule.Text, rule.Name)
		}
		text.WriteString("}\n")
	}
	text.WriteString("}\n")
	for _, set := range table.Sets {
		for element := range set.Elements {
			fmt.Fprintf(&text, "add element %s %s { %s }\n", table.ID, set.Name, element)
		}
	}
	return text.String()
}

// A rule that we compile and the same text given to nft(8) must be the same in the kernel, byte by byte (nft --debug=netlink).
func TestCompileAsNftDoes(t *testing.T) {
	require.Root(t)
	require.Command(t, "nft")
	for family := range rules {
		t.Run(family, func(t *testing.T) {
			table := testTable(family)
			theirs, ours := networktest.NewSpace(t), networktest.NewSpace(t)
			theirs.Run("nft", script(table))
			change(t, ours, network.TableChange{Table: table, Replace: true})
			if diff := cmp.Diff(dump(theirs), dump(ours)); diff != "" {
				t.Errorf("nft and we differ (-nft +we):\n%s", diff)
			}
		})
	}
}

// What may differ: numbers of rules, our own user data, and that nft takes the protocol of a bridged frame from what the kernel knows
// of it where we read the frame: to us a frame with a VLAN tag is not IP.
// It also shows a set as it was declared.
var (
	handles  = regexp.MustCompile(`(?m)( # handle \d+|^(bridge|ip6?) ciao chain\d+ \d+ ?\d*|^ *userdata = .*\n|^\t\ttype(of)? (ip|ifname|iifname).*\n)`)
	protocol = regexp.MustCompile(`meta load protocol`)
)

func dump(space *networktest.Space) string {
	text := handles.ReplaceAllString(space.Run("nft", "--debug=netlink", "list", "ruleset"), "")
	return protocol.ReplaceAllString(text, "payload load 2b @ link header + 12")
}

func change(t *testing.T, space *networktest.Space, changes ...network.TableChange) {
	t.Helper()
	tables, err := OpenTables(int(space.File().Fd()))
	if err != nil {
		t.Fatal(err)
	}
	defer tables.Close()
	if err := tables.Change(changes); err != nil {
		t.Fatal(err)
	}
}

func TestTablesReadBack(t *testing.T) {
	require.Root(t)
	space := networktest.NewSpace(t)
	wanted := map[network.TableID]network.Table{}
	for family := range rules {
		table := testTable(family)
		wanted[table.ID] = table
		change(t, space, network.TableChange{Table: table, Replace: true})
	}
	tables, err := OpenTables(int(space.File().Fd()))
	if err != nil {
		t.Fatal(err)
	}
	defer tables.Close()
	read, err := tables.Read("ciao")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(wanted, read); diff != "" {
		t.Errorf("read back (-written +read):\n%s", diff)
	}
}

func TestCompileRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"unknown word":            `iffname "x" accept`,
		"missing value":           `ip saddr`,
		"not an address":          `ip saddr example.org`,
		"name without quotes":     `iifname eth0 accept`,
		"name too long":           `iifname "aaaaaaaaaaaaaaaa" accept`,
		"concatenation of values": `iifname . ether saddr "x"`,
		"unknown state":           `ct state lost accept`,
		"a value for a set only":  `@th,96,24 7 accept`,
		"an IPv4 address":         `ip6 saddr 192.0.2.1 accept`,
		"a zone":                  `ip6 saddr fe80::1%eth0 accept`,
		"unknown ICMPv6 type":     `icmpv6 type router accept`,
		"unknown protocol":        `ip6 nexthdr 58 accept`,
		"another offset":          `frag frag-off 1 accept`,
		"add to nothing":          `add @heard iifname`,
		"add of what is not":      `add @heard { iffname }`,
		"port too large":          `udp dport 65536 accept`,
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Compile("ip", text); err == nil {
				t.Errorf("Compile(%q) succeeded", text)
			}
		})
	}
}
