package firewall

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Compile turns a rule as nft writes it into the kernel's expressions. It knows matches of the fields below against a value, a
// wildcard name, a prefix or a set, concatenations against a set, and the statements counter, accept, drop, masquerade, dnat, snat, notrack
// and add. family is bridge, ip or ip6.
func Compile(family, text string) ([]expr.Any, error) {
	c := compiler{family: family, words: strings.Fields(text)}
	for len(c.words) > 0 {
		if err := c.next(); err != nil {
			return nil, fmt.Errorf("rule %q: %w", text, err)
		}
	}
	return c.exprs, nil
}

type compiler struct {
	family string
	words  []string
	exprs  []expr.Any

	network   uint16 // EtherType that the rule is already bound to
	transport byte   // protocol that the rule is already bound to
}

// field is a part of a packet or of what is known about it.
type field struct {
	load      expr.Any
	size      uint32 // in bytes
	mask      []byte // of the bits that it has of them; nil is all
	network   uint16 // EtherType that it exists in; 0 is any
	transport byte   // protocol that it exists in; 0 is any
	names     bool   // it says which header follows: who compared it need not ask for that header again
	parse     func(string) ([]byte, error)
}

const register = 1 // the first 16-byte register; 32-bit registers continue it

func payload(base expr.PayloadBase, offset, size uint32) *expr.Payload {
	return &expr.Payload{DestRegister: register, Base: base, Offset: offset, Len: size}
}

// fragment loads from the fragment header of IPv6, wherever it is (RFC 8200, section 4.5).
func fragment(offset, size uint32) *expr.Exthdr {
	return &expr.Exthdr{DestRegister: register, Type: unix.IPPROTO_FRAGMENT, Offset: offset, Len: size, Op: expr.ExthdrOpIpv6}
}

// lookup finds a field by its words. Offsets are those of Ethernet, ARP for Ethernet and IPv4 (RFC 826), IPv4 (RFC 791), IPv6 (RFC
// 8200), UDP, TCP and ICMP headers. The two fields without a name are the target of a neighbour's message (RFC 4861, section 4.3) and
// VXLAN's network (RFC 7348, section 5); as in nft, their offsets and lengths are in bits.
func lookup(name string) (field, bool) {
	link, net4, transport := expr.PayloadBaseLLHeader, expr.PayloadBaseNetworkHeader, expr.PayloadBaseTransportHeader
	fields := map[string]field{
		"iifname":         {load: &expr.Meta{Key: expr.MetaKeyIIFNAME, Register: register}, size: 16, parse: parseName},
		"oifname":         {load: &expr.Meta{Key: expr.MetaKeyOIFNAME, Register: register}, size: 16, parse: parseName},
		"ether daddr":     {load: payload(link, 0, 6), size: 6, parse: parseMAC},
		"ether saddr":     {load: payload(link, 6, 6), size: 6, parse: parseMAC},
		"ether type":      {load: payload(link, 12, 2), size: 2, names: true, parse: parseEtherType},
		"arp operation":   {load: payload(net4, 6, 2), size: 2, network: unix.ETH_P_ARP, parse: parseOperation},
		"arp saddr ether": {load: payload(net4, 8, 6), size: 6, network: unix.ETH_P_ARP, parse: parseMAC},
		"arp saddr ip":    {load: payload(net4, 14, 4), size: 4, network: unix.ETH_P_ARP, parse: parseAddress},
		"ip saddr":        {load: payload(net4, 12, 4), size: 4, network: unix.ETH_P_IP, parse: parseAddress},
		"ip daddr":        {load: payload(net4, 16, 4), size: 4, network: unix.ETH_P_IP, parse: parseAddress},
		"ip6 saddr":       {load: payload(net4, 8, 16), size: 16, network: unix.ETH_P_IPV6, parse: parseAddress6},
		"ip6 daddr":       {load: payload(net4, 24, 16), size: 16, network: unix.ETH_P_IPV6, parse: parseAddress6},
		"ip6 nexthdr":     {load: payload(net4, 6, 1), size: 1, network: unix.ETH_P_IPV6, names: true, parse: parseProtocol},
		"frag nexthdr":    {load: fragment(0, 1), size: 1, network: unix.ETH_P_IPV6, parse: parseProtocol},
		"frag frag-off":   {load: fragment(2, 2), size: 2, mask: []byte{0xff, 0xf8}, network: unix.ETH_P_IPV6, parse: parseZero},
		"@th,64,128":      {load: payload(transport, 8, 16), size: 16},
		"@th,96,24":       {load: payload(transport, 12, 3), size: 3},
		"udp sport":       {load: payload(transport, 0, 2), size: 2, transport: unix.IPPROTO_UDP, parse: parsePort},
		"udp dport":       {load: payload(transport, 2, 2), size: 2, transport: unix.IPPROTO_UDP, parse: parsePort},
		"tcp sport":       {load: payload(transport, 0, 2), size: 2, transport: unix.IPPROTO_TCP, parse: parsePort},
		"tcp dport":       {load: payload(transport, 2, 2), size: 2, transport: unix.IPPROTO_TCP, parse: parsePort},
		"icmp type":       {load: payload(transport, 0, 1), size: 1, transport: unix.IPPROTO_ICMP, parse: parseICMP},
		"icmpv6 type":     {load: payload(transport, 0, 1), size: 1, transport: unix.IPPROTO_ICMPV6, parse: parseICMPv6},
	}
	f, ok := fields[name]
	return f, ok
}

func (c *compiler) next() error {
	switch word := c.words[0]; word {
	case "counter":
		c.emit(&expr.Counter{})
	case "accept":
		c.emit(&expr.Verdict{Kind: expr.VerdictAccept})
	case "drop":
		c.emit(&expr.Verdict{Kind: expr.VerdictDrop})
	case "masquerade":
		c.emit(&expr.Masq{})
	case "notrack":
		c.emit(&expr.Notrack{})
	case "ct":
		return c.connection()
	case "dnat", "snat":
		return c.translate()
	case "add":
		return c.note()
	default:
		return c.match()
	}
	c.words = c.words[1:]
	return nil
}

func (c *compiler) emit(exprs ...expr.Any) { c.exprs = append(c.exprs, exprs...) }

// connection compiles ct state WORD,WORD and ct status WORD.
func (c *compiler) connection() error {
	if len(c.words) < 3 {
		return fmt.Errorf("after ct a field and a value are missing")
	}
	var bits map[string]uint32
	var key expr.CtKey
	switch c.words[1] {
	case "state":
		key = expr.CtKeySTATE
		bits = map[string]uint32{"established": expr.CtStateBitESTABLISHED, "related": expr.CtStateBitRELATED, "new": expr.CtStateBitNEW}
	case "status":
		key = expr.CtKeySTATUS
		bits = map[string]uint32{"dnat": destinationTranslated}
	default:
		return fmt.Errorf("after ct only state and status are known")
	}
	var mask uint32
	for name := range strings.SplitSeq(c.words[2], ",") {
		if bits[name] == 0 {
			return fmt.Errorf("unknown connection %s %q", c.words[1], name)
		}
		mask |= bits[name]
	}
	c.words = c.words[3:]
	c.emit(&expr.Ct{Register: register, Key: key},
		&expr.Bitwise{SourceRegister: register, DestRegister: register, Len: 4, Mask: binaryutil.NativeEndian.PutUint32(mask), Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: register, Data: make([]byte, 4)})
	return nil
}

// destinationTranslated is IPS_DST_NAT (linux/netfilter/nf_conntrack_common.h).
const destinationTranslated = 1 << 5

// translate compiles dnat to ADDRESS[:PORT] and snat to ADDRESS[:PORT]; before a port an IPv6 address is in brackets.
func (c *compiler) translate() error {
	if len(c.words) < 3 || c.words[1] != "to" {
		return fmt.Errorf("after %s an address is missing", c.words[0])
	}
	nat := &expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: register}
	if c.words[0] == "snat" {
		nat.Type = expr.NATTypeSourceNAT
	}
	to, port, withPort := c.words[2], "", false
	if at := strings.LastIndex(to, ":"); at >= 0 && (c.family != "ip6" || strings.HasPrefix(to, "[")) {
		to, port, withPort = strings.Trim(to[:at], "[]"), to[at+1:], true
	}
	parse := parseAddress
	if c.family == "ip6" {
		nat.Family, parse = unix.NFPROTO_IPV6, parseAddress6
	}
	address, err := parse(to)
	if err != nil {
		return err
	}
	c.words = c.words[3:]
	c.emit(&expr.Immediate{Register: register, Data: address})
	if withPort {
		number, err := parsePort(port)
		if err != nil {
			return err
		}
		nat.RegProtoMin, nat.Specified = register+1, true // behind the first of 16 bytes, whatever that holds
		c.emit(&expr.Immediate{Register: register + 1, Data: number})
	}
	c.emit(nat)
	return nil
}

// note compiles add @SET { FIELD }.
func (c *compiler) note() error {
	if len(c.words) < 5 || !strings.HasPrefix(c.words[1], "@") || c.words[2] != "{" || c.words[4] != "}" {
		return fmt.Errorf("after add a set and a field in braces are missing")
	}
	f, known := lookup(c.words[3])
	if !known {
		return fmt.Errorf("unknown word %q", c.words[3])
	}
	c.bind(f)
	c.emit(f.load, &expr.Dynset{SrcRegKey: register, SetName: c.words[1][1:], Operation: unix.NFT_DYNSET_OP_ADD})
	c.words = c.words[5:]
	return nil
}

// match compiles FIELD [. FIELD]… [!=] VALUE.
func (c *compiler) match() error {
	fields, err := c.fields()
	if err != nil {
		return err
	}
	negated := len(c.words) > 0 && c.words[0] == "!="
	if negated {
		c.words = c.words[1:]
	}
	if len(c.words) == 0 {
		return fmt.Errorf("a value is missing at the end")
	}
	value := c.words[0]
	c.words = c.words[1:]
	for _, f := range fields {
		c.bind(f)
	}
	if set, ok := strings.CutPrefix(value, "@"); ok {
		c.emit(concatenate(fields)...)
		c.emit(&expr.Lookup{SourceRegister: register, SetName: set, Invert: negated})
		return nil
	}
	if len(fields) != 1 {
		return fmt.Errorf("%q must be a set", value)
	}
	operator := expr.CmpOpEq
	if negated {
		operator = expr.CmpOpNeq
	}
	return c.compare(fields[0], operator, value)
}

func (c *compiler) fields() ([]field, error) {
	var fields []field
	for {
		f, n := field{}, 0
		for words := min(3, len(c.words)); words > 0 && n == 0; words-- {
			if found, ok := lookup(strings.Join(c.words[:words], " ")); ok {
				f, n = found, words
			}
		}
		if n == 0 {
			return nil, fmt.Errorf("unknown word at %q", strings.Join(c.words, " "))
		}
		fields, c.words = append(fields, f), c.words[n:]
		if len(c.words) == 0 || c.words[0] != "." {
			return fields, nil
		}
		c.words = c.words[1:]
	}
}

// bind makes sure that the packet has the field's header before the field is read, as nft does.
func (c *compiler) bind(f field) {
	if f.network != 0 && c.network != f.network && c.family == "bridge" {
		c.emit(payload(expr.PayloadBaseLLHeader, 12, 2),
			&expr.Cmp{Op: expr.CmpOpEq, Register: register, Data: binary.BigEndian.AppendUint16(nil, f.network)})
		c.network = f.network
	}
	if f.transport != 0 && c.transport != f.transport {
		c.emit(&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: register},
			&expr.Cmp{Op: expr.CmpOpEq, Register: register, Data: []byte{f.transport}})
		c.transport = f.transport
	}
}

// concatenate loads the fields one after the other; each begins at a multiple of four bytes.
func concatenate(fields []field) []expr.Any {
	var exprs []expr.Any
	at := uint32(0)
	for _, f := range fields {
		destination := uint32(register)
		if at > 0 {
			destination = unix.NFT_REG32_00 + at/4
		}
		switch load := f.load.(type) {
		case *expr.Meta:
			exprs = append(exprs, &expr.Meta{Key: load.Key, Register: destination})
		case *expr.Payload:
			exprs = append(exprs, &expr.Payload{DestRegister: destination, Base: load.Base, Offset: load.Offset, Len: load.Len})
		}
		at += (f.size + 3) / 4 * 4
	}
	return exprs
}

func (c *compiler) compare(f field, operator expr.CmpOp, value string) error {
	if prefix, err := netip.ParsePrefix(value); err == nil && f.size == uint32(prefix.Addr().BitLen()/8) {
		c.comparePrefix(f, operator, prefix.Masked())
		return nil
	}
	if f.parse == nil {
		return fmt.Errorf("%q must be a set", value)
	}
	data, err := f.parse(value)
	if err != nil {
		return err
	}
	c.emit(f.load)
	if f.mask != nil {
		c.emit(&expr.Bitwise{SourceRegister: register, DestRegister: register, Len: f.size, Mask: f.mask, Xor: make([]byte, f.size)})
	}
	c.emit(&expr.Cmp{Op: operator, Register: register, Data: data})
	if !f.names || operator != expr.CmpOpEq {
		return nil
	}
	if f.network == 0 {
		c.network = binary.BigEndian.Uint16(data)
	} else {
		c.transport = data[0]
	}
	return nil
}

// comparePrefix reads whole bytes where that is enough.
func (c *compiler) comparePrefix(f field, operator expr.CmpOp, prefix netip.Prefix) {
	load, isPayload := f.load.(*expr.Payload)
	if bytes := prefix.Bits() / 8; isPayload && bytes > 0 && prefix.Bits()%8 == 0 {
		c.emit(payload(load.Base, load.Offset, uint32(bytes)),
			&expr.Cmp{Op: operator, Register: register, Data: prefix.Addr().AsSlice()[:bytes]})
		return
	}
	c.emit(f.load,
		&expr.Bitwise{SourceRegister: register, DestRegister: register, Len: f.size, Mask: net.CIDRMask(prefix.Bits(), int(f.size)*8), Xor: make([]byte, f.size)},
		&expr.Cmp{Op: operator, Register: register, Data: prefix.Addr().AsSlice()})
}

// parseName reads "name", or "start*", of which only the start is compared.
func parseName(text string) ([]byte, error) {
	name, err := strconv.Unquote(text)
	if err != nil || name == "" || len(name) >= unix.IFNAMSIZ {
		return nil, fmt.Errorf("%s is not the name of a link in quotes", text)
	}
	if start, ok := strings.CutSuffix(name, "*"); ok {
		return []byte(start), nil
	}
	return append([]byte(name), make([]byte, unix.IFNAMSIZ-len(name))...), nil
}

func parseMAC(text string) ([]byte, error) {
	mac, err := net.ParseMAC(text)
	if err == nil && len(mac) != 6 {
		err = fmt.Errorf("%s is not an Ethernet address", text)
	}
	return mac, err
}

func parseAddress(text string) ([]byte, error) {
	address, err := netip.ParseAddr(text)
	if err != nil || !address.Is4() {
		return nil, fmt.Errorf("%q is not an IPv4 address", text)
	}
	return address.AsSlice(), nil
}

func parseAddress6(text string) ([]byte, error) {
	address, err := netip.ParseAddr(text)
	if err != nil || !address.Is6() || address.Zone() != "" {
		return nil, fmt.Errorf("%q is not an IPv6 address", text)
	}
	return address.AsSlice(), nil
}

func parseProtocol(text string) ([]byte, error) {
	return word8(text, map[string]byte{"hopopt": unix.IPPROTO_HOPOPTS, "tcp": unix.IPPROTO_TCP, "udp": unix.IPPROTO_UDP,
		"ipv6-frag": unix.IPPROTO_FRAGMENT, "esp": unix.IPPROTO_ESP, "ipv6-icmp": unix.IPPROTO_ICMPV6, "sctp": unix.IPPROTO_SCTP})
}

// parseZero is for a number that is only ever compared with 0.
func parseZero(text string) ([]byte, error) {
	if text != "0" {
		return nil, fmt.Errorf("%q is not 0, the only number that is known here", text)
	}
	return []byte{0, 0}, nil
}

func parsePort(text string) ([]byte, error) {
	port, err := strconv.ParseUint(text, 10, 16)
	return binary.BigEndian.AppendUint16(nil, uint16(port)), err
}

func parseEtherType(text string) ([]byte, error) {
	return word16(text, map[string]uint16{"ip": unix.ETH_P_IP, "arp": unix.ETH_P_ARP, "ip6": unix.ETH_P_IPV6})
}

func parseOperation(text string) ([]byte, error) {
	return word16(text, map[string]uint16{"request": 1, "reply": 2})
}

func word16(text string, words map[string]uint16) ([]byte, error) {
	value, ok := words[text]
	if !ok {
		return nil, fmt.Errorf("unknown value %q", text)
	}
	return binary.BigEndian.AppendUint16(nil, value), nil
}

func word8(text string, words map[string]byte) ([]byte, error) {
	value, ok := words[text]
	if !ok {
		return nil, fmt.Errorf("unknown value %q", text)
	}
	return []byte{value}, nil
}

func parseICMP(text string) ([]byte, error) {
	return word8(text, map[string]byte{"echo-request": 8, "destination-unreachable": 3})
}

// parseICMPv6 knows types of RFC 4443, RFC 4861 and, of listeners of multicast, RFC 2710 and RFC 3810.
func parseICMPv6(text string) ([]byte, error) {
	return word8(text, map[string]byte{"echo-request": 128, "echo-reply": 129, "mld-listener-report": 131, "mld-listener-done": 132,
		"nd-router-solicit": 133, "nd-router-advert": 134, "nd-neighbor-solicit": 135, "nd-neighbor-advert": 136, "nd-redirect": 137,
		"mld2-listener-report": 143})
}
