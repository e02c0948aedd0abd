package kernel

import (
	"encoding/binary"
	"net"
	"net/netip"

	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"

	"github.com/ciaocloud/ciao/cluster"
)

// Types, options and flags of neighbour discovery (RFC 4861, sections 4.3, 4.4 and 4.6).
const (
	neighbourSolicitation  = 135
	neighbourAdvertisement = 136
	sourceLinkAddress      = 1
	targetLinkAddress      = 2
	override               = 0x20 // neighbours are to believe this and no older place
)

var allNodes = netip.MustParseAddr("ff02::1")

// discovery is how IPv6 asks and announces. The question comes from the link's own address, so that an answer comes straight, also while the link has
// no IPv6 yet; that of duplicate address detection comes from none, and is answered to all, which such a link does not hear (RFC 4862, section 5.4.3).
var discovery = inquiry{
	protocol: unix.ETH_P_IPV6,
	ask: func(conn *packet.Conn, own net.HardwareAddr, address netip.Addr) error {
		bytes := address.As16()
		group := netip.AddrFrom16([16]byte{0xff, 0x02, 11: 0x01, 0xff, bytes[13], bytes[14], bytes[15]}) // its solicited-node address (RFC 4291, section 2.7.1)
		return sendNeighbour(conn, own, cluster.LinkLocal(own), group, neighbourMessage(neighbourSolicitation, 0, address, sourceLinkAddress, own))
	},
	announce: func(conn *packet.Conn, own net.HardwareAddr, address netip.Addr) error {
		return sendNeighbour(conn, own, address, allNodes, neighbourMessage(neighbourAdvertisement, override, address, targetLinkAddress, own))
	},
	answered: parseAdvertisement,
}

// neighbourMessage is one of ICMPv6 without its checksum.
func neighbourMessage(kind, flags byte, target netip.Addr, option byte, own net.HardwareAddr) []byte {
	message := []byte{kind, 0, 0, 0, flags, 0, 0, 0}
	message = append(message, target.AsSlice()...)
	return append(append(message, option, 1), own...) // one unit of eight bytes
}

const (
	etherHeader  = 14
	ipv6Header   = 40
	neighbourHop = 255 // a router would have made it less: it comes from this link (RFC 4861, section 7.1)
)

// sendNeighbour sends a message to a group.
func sendNeighbour(conn *packet.Conn, own net.HardwareAddr, from, group netip.Addr, message []byte) error {
	binary.BigEndian.PutUint16(message[2:], checksum6(from, group, message))
	last := group.As16()
	to := net.HardwareAddr{0x33, 0x33, last[12], last[13], last[14], last[15]} // RFC 2464, section 7
	frame := binary.BigEndian.AppendUint16(append(append([]byte(nil), to...), own...), unix.ETH_P_IPV6)
	frame = append(frame, 0x60, 0, 0, 0, 0, byte(len(message)), unix.IPPROTO_ICMPV6, neighbourHop)
	frame = append(append(append(frame, from.AsSlice()...), group.AsSlice()...), message...)
	_, err := conn.WriteTo(frame, &packet.Addr{HardwareAddr: to})
	return err
}

// checksum6 is that of a message of ICMPv6 (RFC 4443, section 2.3).
func checksum6(from, to netip.Addr, message []byte) uint16 {
	pseudo := append(append(from.AsSlice(), to.AsSlice()...), 0, 0, 0, byte(len(message)), 0, 0, 0, unix.IPPROTO_ICMPV6)
	var sum uint32
	for _, part := range [][]byte{pseudo, message} { // both have an even length
		for i := 0; i < len(part); i += 2 {
			sum += uint32(binary.BigEndian.Uint16(part[i:]))
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// parseAdvertisement reads who says that he has an address.
func parseAdvertisement(frame []byte) (from net.HardwareAddr, address netip.Addr, is bool) {
	const target = etherHeader + ipv6Header + 8
	if len(frame) < target+16 || frame[etherHeader+6] != unix.IPPROTO_ICMPV6 || frame[etherHeader+7] != neighbourHop || frame[etherHeader+ipv6Header] != neighbourAdvertisement {
		return nil, netip.Addr{}, false
	}
	return append(net.HardwareAddr(nil), frame[6:12]...), netip.AddrFrom16([16]byte(frame[target : target+16])), true
}
