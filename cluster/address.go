package cluster

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
)

// Len is how many host numbers the range has.
func (r AddressRange) Len() int { return int(r.Last-r.First) + 1 }

// HostAddress is the address of a host number of a prefix. It counts in the last four bytes, of either family.
func HostAddress(prefix netip.Prefix, host uint32) netip.Addr {
	bytes := prefix.Masked().Addr().AsSlice()
	last := bytes[len(bytes)-4:]
	binary.BigEndian.PutUint32(last, binary.BigEndian.Uint32(last)+host)
	address, _ := netip.AddrFromSlice(bytes) // as long as it was
	return address
}

// HostNumber is the inverse of HostAddress for IPv4; false for an address outside the prefix.
func HostNumber(prefix netip.Prefix, address netip.Addr) (uint32, bool) {
	if !address.Is4() || !prefix.Contains(address) {
		return 0, false
	}
	base, a := prefix.Masked().Addr().As4(), address.As4()
	return binary.BigEndian.Uint32(a[:]) - binary.BigEndian.Uint32(base[:]), true
}

// RangeBits6 is the prefix length of a cluster's own IPv6 range.
const RangeBits6 = 40

// SubnetPrefix6 is the IPv6 prefix of the subnet with a VXLAN key, in a range of RangeBits6 bits: the key is the 24 bits that follow,
// so that each subnet of a cluster has a /64 of its own.
func SubnetPrefix6(within netip.Prefix, key uint32) netip.Prefix {
	bytes := within.Masked().Addr().As16()
	bytes[5], bytes[6], bytes[7] = byte(key>>16), byte(key>>8), byte(key)
	return netip.PrefixFrom(netip.AddrFrom16(bytes), 64)
}

// LinkLocal is the IPv6 address that a link with the MAC gives itself: fe80::/64 and the modified EUI-64 (RFC 4291, appendix A).
func LinkLocal(mac net.HardwareAddr) netip.Addr {
	return netip.AddrFrom16([16]byte{0xfe, 0x80, 8: mac[0] ^ 2, mac[1], mac[2], 0xff, 0xfe, mac[3], mac[4], mac[5]})
}

// HardwareAddress is the MAC address that goes with an IPv4 address: 02:00 and the four bytes, locally administered and unique in
// a subnet.
func HardwareAddress(address netip.Addr) string {
	a := address.As4()
	return fmt.Sprintf("02:00:%02x:%02x:%02x:%02x", a[0], a[1], a[2], a[3])
}
