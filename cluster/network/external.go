package network

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/ciaocloud/ciao/cluster"
)

// side is what a CNCI translates of one family.
type side struct {
	family   string       // as nft writes it
	prefix   netip.Prefix // of the subnet; invalid where it has none of the family
	mappings []Mapping    // in order
	lent     []netip.Prefix
}

// side4 and side6 are what is wanted of each family.
func (c Concentrator) side4() side { return c.side("ip", c.Subnet.Prefix, netip.Addr.Is4) }
func (c Concentrator) side6() side { return c.side("ip6", c.Subnet.Prefix6, netip.Addr.Is6) }

func (c Concentrator) side(family string, prefix netip.Prefix, is func(netip.Addr) bool) side {
	s := side{family: family, prefix: prefix}
	for _, m := range sortedMappings(c.Mappings) {
		if is(m.External) {
			s.mappings = append(s.mappings, m)
		}
	}
	for _, lent := range slices.SortedFunc(slices.Values(c.Lent), netip.Prefix.Compare) {
		if is(lent.Addr()) {
			s.lent = append(s.lent, lent.Masked())
		}
	}
	s.lent = slices.Compact(s.lent)
	return s
}

// of is a host's address of the family; invalid where it has none.
func (s side) of(host Host) netip.Addr {
	at := slices.IndexFunc(host.Addresses, s.prefix.Contains)
	if at < 0 {
		return netip.Addr{}
	}
	return host.Addresses[at]
}

// checkMappings wants each external address once, for a host's address of the subnet and of the same family.
func checkMappings(problems *cluster.Problems, wanted Concentrator) {
	external := map[netip.Addr]bool{}
	for i, m := range wanted.Mappings {
		path := fmt.Sprintf("mappings[%d]", i)
		switch {
		case !m.External.IsValid() || m.External.Is4In6() || m.External.Zone() != "":
			problems.Add(path+".external", "must be an IPv4 or an IPv6 address")
		case external[m.External]:
			problems.Add(path+".external", "%s is mapped twice", m.External)
		}
		external[m.External] = true
		if !wanted.Subnet.hosts(m.Internal) || m.Internal.Is4() != m.External.Is4() {
			problems.Add(path+".internal", "%s is no address of a host of the subnet, or not of the family of %s", m.Internal, m.External)
		}
	}
	for i, prefix := range wanted.Lent {
		if !prefix.IsValid() || prefix.Addr().Is4In6() {
			problems.Add(fmt.Sprintf("lent[%d]", i), "must be a prefix")
		}
	}
}

// addMappings gives the underlay's link the external addresses.
func (i *Image) addMappings(mappings []Mapping) {
	for _, m := range mappings {
		i.Addresses[Address{Underlay, netip.PrefixFrom(m.External, m.External.BitLen())}] = true
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

// portRules send what is for published ports to their hosts: those of the CNCI's own address, if it has one of the family, and those of external
// addresses, which are reached from everywhere, as the addresses are.
func portRules(hosts []Host, s side, own netip.Addr) (rules []Rule) {
	external := map[netip.Addr][]netip.Addr{}
	for _, m := range s.mappings {
		external[m.Internal] = append(external[m.Internal], m.External)
	}
	for _, host := range hosts {
		to := s.of(host)
		if !to.IsValid() {
			continue
		}
		for _, port := range host.Ports {
			if !port.External {
				if own.IsValid() {
					rules = append(rules, Rule{"port", fmt.Sprintf(`iifname "%s" %s daddr %s %s`, Underlay, s.family, own, port.leadsTo(to))})
				}
				continue
			}
			for _, address := range external[to] {
				rules = append(rules, Rule{"port", fmt.Sprintf("%s daddr %s %s", s.family, address, port.leadsTo(to))})
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
	return fmt.Sprintf("%s dport %d dnat to %s", p.protocol(), p.Published, netip.AddrPortFrom(host, p.Port))
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
func destinationRules(s side) (rules []Rule) {
	for _, m := range s.mappings {
		rules = append(rules, Rule{"external", fmt.Sprintf("%s daddr %s dnat to %s", s.family, m.External, m.Internal)})
	}
	return rules
}

// sourceRules let hosts with an external address speak with it. What the subnet sends to itself by an external address gets the
// gateway's address: the answer has to come back this way.
func sourceRules(s side, bridge string) (rules []Rule) {
	mapped := map[netip.Addr]bool{}
	for _, m := range s.mappings {
		if !mapped[m.Internal] {
			rules = append(rules, Rule{"external", fmt.Sprintf(`oifname "%s" %s saddr %s snat to %s`, Underlay, s.family, m.Internal, m.External)})
		}
		mapped[m.Internal] = true
	}
	return append(rules, Rule{"hairpin", fmt.Sprintf(`oifname "%s" %s saddr %s masquerade`, bridge, s.family, s.prefix)})
}

// mappedRules let through what was sent to an external address, here or at another CNCI, and nothing else.
func mappedRules(s side, bridge string) []Rule {
	rules := []Rule{
		{"mapped", fmt.Sprintf(`iifname "%s" oifname "%s" ct status dnat accept`, Underlay, bridge)},
		{"mapped", fmt.Sprintf(`iifname "%s" oifname "%s" ct status dnat accept`, bridge, Underlay)}, // the answers
		{"hairpin", fmt.Sprintf(`iifname "%s" oifname "%s" ct status dnat accept`, bridge, bridge)},
	}
	for _, prefix := range s.lent {
		rules = append(rules, Rule{"lent", fmt.Sprintf(`iifname "%s" oifname "%s" %s saddr %s %s daddr %s accept`,
			bridge, Underlay, s.family, s.prefix, s.family, prefix)})
	}
	return rules
}
