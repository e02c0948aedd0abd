package firewall

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/ciaocloud/ciao/cluster/network"
)

// Whatever it is given, the compiler answers with expressions or an error.
func FuzzCompile(f *testing.F) {
	for family, texts := range rules {
		for _, text := range texts {
			f.Add(family, text)
		}
	}
	f.Fuzz(func(t *testing.T, family, text string) {
		exprs, err := Compile(family, text)
		if err == nil && len(exprs) == 0 && strings.TrimSpace(text) != "" {
			t.Errorf("Compile(%q, %q) is empty", family, text)
		}
	})
}

// What is read back from the kernel is what was written, or elements would be written again and again.
func FuzzElement(f *testing.F) {
	f.Add("ifname . ether_addr . ipv4_addr", `"cp0123456789ab" . 02:00:ac:10:00:02 . 172.16.0.2`)
	f.Add("ifname . ether_addr . ipv6_addr", `"cp0123456789ab" . 02:00:ac:10:00:02 . fd3e:9a4c:71d2::2`)
	f.Add("ipv4_addr . ipv4_addr", "198.51.100.7 . 0.7.210.0")
	f.Add("ipv4_addr", "198.51.100.7")
	f.Fuzz(func(t *testing.T, kind, element string) {
		if _, err := keyType(kind); err != nil {
			t.Skip()
		}
		key, err := encode(kind, element)
		if err != nil {
			t.Skip()
		}
		again, err := encode(kind, decode(kind, key))
		if err != nil || string(again) != string(key) {
			t.Errorf("%q is read back as %q (%v)", element, decode(kind, key), err)
		}
	})
}

// The kernel keeps 256 bytes of user data of a rule: name and text must fit.
func TestRulesFitTheirUserData(t *testing.T) {
	site := network.Site{Cluster: "c", Underlay: netip.MustParsePrefix("198.51.100.60/24"), MTU: 1500}
	site.Underlay6 = []netip.Prefix{netip.MustParsePrefix("2001:db8:ffff:ffff::/64")}
	node, err := network.NodeImage(site, network.Node{})
	if err != nil {
		t.Fatal(err)
	}
	concentrator, err := network.ConcentratorImage(site, network.Concentrator{Domain: "c", Subnet: network.Subnet{
		ID: "s", Key: 1, Prefix: netip.MustParsePrefix("172.31.255.248/29"), Gateway: netip.MustParseAddr("172.31.255.249"),
		Prefix6: netip.MustParsePrefix("fdff:ffff:ffff:ffff::/64"), Gateway6: netip.MustParseAddr("fdff:ffff:ffff:ffff::1")}})
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range slices.Concat(slices.Collect(maps.Values(node.Tables)), slices.Collect(maps.Values(concentrator.Tables))) {
		for _, chain := range table.Chains {
			for _, rule := range chain.Rules {
				if _, err := Compile(table.ID.Family, rule.Text); err != nil || len(rule.Name)+len(rule.Text) > 240 {
					t.Errorf("%s: %q: %v", chain.Name, rule.Text, err)
				}
			}
		}
	}
}
