package cluster

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// Len is how many host numbers the range has.
func (r AddressRange) Len() int { return int(r.Last-r.First) + 1 }

// HostAddress is the address of a host number of an IPv4 prefix.
func HostAddress(prefix netip.Prefix, host uint32) netip.Addr {
	base := prefix.Masked().Addr().As4()
	return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, binary.BigEndian.Uint32(base[:])+host)))
}

// HostNumber is the inverse of HostAddress; false for an address outside the prefix.
func HostNumber(prefix netip.Prefix, address netip.Addr) (uint32, bool) {
	if !address.Is4() || !prefix.Contains(address) {
		return 0, false
	}
	base, a := prefix.Masked().Addr().As4(), address.As4()
	return binary.BigEndian.Uint32(a[:]) - binary.BigEndian.Uint32(base[:]), true
}

// HardwareAddress is the MAC address that goes with an IPv4 address: 02:00 and the four bytes, locally administered and unique in
// a subnet.
func HardwareAddress(address netip.Addr) string {
	a := address.As4()
	return fmt.Sprintf("02:00:%02x:%02x:%02x:%02x", a[0], a[1], a[2], a[3])
}
