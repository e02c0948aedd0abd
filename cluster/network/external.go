package network

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/ciaocloud/ciao/cluster"
)

// checkMappings wants each external address once, for a host of the subnet.
func checkMappings(problems *cluster.Problems, wanted Concentrator) {
	external := map[netip.Addr]bool{}
	for i, m := range wanted.Mappings {
		path := fmt.Sprintf("mappings[%d]", i)
		switch {
		case !m.External.Is4():
			problems.Add(path+".external", "must be an IPv4 address")
		case external[m.External]:
			problems.Add(path+".external", "%s is mapped twice", m.External)
		}
		external[m.External] = true
		if !m.Internal.Is4() || !wanted.Subnet.Prefix.Contains(m.Internal) || m.Internal == wanted.Subnet.Gateway {
			problems.Add(path+".internal", "%s is not a host's address of %s", m.Internal, wanted.Subnet.Prefix)
		}
	}
	for i, prefix := range wanted.Lent {
		if !prefix.IsValid() || !prefix.Addr().Is4() {
			problems.Add(fmt.Sprintf("lent[%d]", i), "must be an IPv4 prefix")
		}
	}
}

// addMappings gives the underlay's link the external addresses.
func (i *Image) addMappings(mappings []Mapping) {
	for _, m := range mappings {
		i.Addresses[Address{Underlay, netip.PrefixFrom(m.External, 32)}] = true
	}
}

func sortedMappings(mappings []Mapping) []Mapping {
	return slices.SortedFunc(slices.Values(mappings), func(a, b Mapping) int {
		return cmp.Or(a.External.Compare(b.External), a.Internal.Compare(b.Internal))
	})
}

// sshPort is where SSH servers listen (RFC 4253, section 4.1).
const sshPort = 22

// loginRules send what is for a host's login port to its SSH server.
func loginRules(hosts []Host, own netip.Addr) (rules []Rule) {
	for _, host := range hosts {
		at := slices.IndexFunc(host.Addresses, netip.Addr.Is4)
		if host.LoginPort != 0 && at >= 0 {
			rules = append(rules, Rule{"login", fmt.Sprintf(`iifname "%s" ip daddr %s tcp dport %d dnat to %s:%d`, Underlay, own, host.LoginPort, host.Addresses[at], sshPort)})
		}
	}
	return rules
}

// portRules send what is for published ports to their hosts. Those of external addresses are reached from everywhere, as the addresses are.
func portRules(wanted Concentrator, own netip.Addr) (rules []Rule) {
	external := map[netip.Addr][]netip.Addr{}
	for _, m := range sortedMappings(wanted.Mappings) {
		external[m.Internal] = append(external[m.Internal], m.External)
	}
	for _, host := range wanted.Hosts {
		at := slices.IndexFunc(host.Addresses, netip.Addr.Is4)
		if at < 0 {
			continue
		}
		to := host.Addresses[at]
		for _, port := range host.Ports {
			if !port.External {
				rules = append(rules, Rule{"port", fmt.Sprintf(`iifname "%s" ip daddr %s %s`, Underlay, own, port.leadsTo(to))})
				continue
			}
			for _, address := range external[to] {
				rules = append(rules, Rule{"port", fmt.Sprintf("ip daddr %s %s", address, port.leadsTo(to))})
			}
		}
	}
	return rules
}

// protocol is the word of nft and of people.
func (p HostPort) protocol() string {
	if p.UDP {
		return "udp"
	}
	return "tcp"
}

func (p HostPort) leadsTo(host netip.Addr) string {
	return fmt.Sprintf("%s dport %d dnat to %s:%d", p.protocol(), p.Published, host, p.Port)
}

// checkPorts wants each port of the CNCI's own address to lead to one host.
func checkPorts(problems *cluster.Problems, hosts []Host) {
	type number struct {
		udp       bool
		published uint16
	}
	taken := map[number]string{}
	for i, host := range hosts {
		for j, port := range host.Ports {
			path := fmt.Sprintf("hosts[%d].ports[%d]", i, j)
			if port.Published == 0 || port.Port == 0 {
				problems.Add(path, "must have a number on both sides")
			}
			own := number{port.UDP, port.Published}
			if other, is := taken[own]; is && !port.External {
				problems.Add(path, "%d/%s leads to %s already", port.Published, port.protocol(), other)
			}
			if !port.External {
				taken[own] = host.Name
			}
		}
	}
}

// destinationRules send what is for an external address to its host, from the underlay and from the subnet itself.
func destinationRules(mappings []Mapping) (rules []Rule) {
	for _, m := range sortedMappings(mappings) {
		rules = append(rules, Rule{"external", fmt.Sprintf("ip daddr %s dnat to %s", m.External, m.Internal)})
	}
	return rules
}

// sourceRules let hosts with an external address speak with it. What the subnet sends to itself by an external address gets the
// gateway's address: the answer has to come back this way.
func sourceRules(wanted Concentrator, bridge string) (rules []Rule) {
	mapped := map[netip.Addr]bool{}
	for _, m := range sortedMappings(wanted.Mappings) {
		if !mapped[m.Internal] {
			rules = append(rules, Rule{"external", fmt.Sprintf(`oifname "%s" ip saddr %s snat to %s`, Underlay, m.Internal, m.External)})
		}
		mapped[m.Internal] = true
	}
	return append(rules, Rule{"hairpin", fmt.Sprintf(`oifname "%s" ip saddr %s masquerade`, bridge, wanted.Subnet.Prefix)})
}

// mappedRules let through what was sent to an external address, here or at another CNCI, and nothing else.
func mappedRules(wanted Concentrator, bridge string) []Rule {
	rules := []Rule{
		{"mapped", fmt.Sprintf(`iifname "%s" oifname "%s" ct status dnat accept`, Underlay, bridge)},
		{"mapped", fmt.Sprintf(`iifname "%s" oifname "%s" ct status dnat accept`, bridge, Underlay)}, // the answers
		{"hairpin", fmt.Sprintf(`iifname "%s" oifname "%s" ct status dnat accept`, bridge, bridge)},
	}
	lent := slices.SortedFunc(slices.Values(wanted.Lent), netip.Prefix.Compare)
	for _, prefix := range slices.Compact(lent) {
		rules = append(rules, Rule{"lent", fmt.Sprintf(`iifname "%s" oifname "%s" ip saddr %s ip daddr %s accept`,
			bridge, Underlay, wanted.Subnet.Prefix, prefix.Masked())})
	}
	return rules
}
