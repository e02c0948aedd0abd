package kernel

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/mdlayher/packet"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ciaocloud/ciao/cluster/network"
	"github.com/ciaocloud/ciao/cluster/network/netns"
)

// externalLabel marks the external addresses on the link to the underlay: the others follow the lease.
const externalLabel = network.Underlay + ":ext"

func external(address netlink.Addr) bool { return address.Label == externalLabel }

// Times of claiming an address. RFC 5227 waits for seconds, for networks that are slow to come up; this one is in use.
const (
	probes        = 2
	probeWait     = 50 * time.Millisecond
	announcements = 3 // one a second: a neighbour that has just learnt another place does not believe the first one (arp(7), locktime)
)

// endConnections forgets the connections that were made to or by an external address.
func (s *space) endConnections(address netip.Addr) error {
	return s.endTranslations(address, netlink.ConntrackOrigDstIP, netlink.ConntrackReplyDstIP)
}

// endConnectionsOfGone forgets the connections of hosts that are not wanted any more, however they were reached: by an external address, or by
// a login port. Each would go on to the next that has the host's address.
func (s *space) endConnectionsOfGone(before, now []network.Host) error {
	kept := map[netip.Addr]bool{}
	for _, host := range now {
		for _, address := range host.Addresses {
			kept[address] = true
		}
	}
	var problems []error
	for _, host := range before {
		for _, address := range host.Addresses {
			if address.Is4() && !kept[address] {
				problems = append(problems, s.endTranslations(address, netlink.ConntrackOrigSrcIP, netlink.ConntrackReplySrcIP))
			}
		}
	}
	return errors.Join(problems...)
}

// endTranslations forgets the connections that have an address in either of two places.
func (s *space) endTranslations(address netip.Addr, one, other netlink.ConntrackFilterType) error {
	var handle *netlink.Handle
	err := netns.Inside(s.namespace, func() (err error) {
		handle, err = netlink.NewHandle(unix.NETLINK_NETFILTER)
		return err
	})
	if err != nil {
		return fmt.Errorf("open netlink: %w", err)
	}
	defer handle.Close()
	to, by := &netlink.ConntrackFilter{}, &netlink.ConntrackFilter{}
	if err := errors.Join(to.AddIP(one, address.AsSlice()), by.AddIP(other, address.AsSlice())); err != nil {
		return err
	}
	for range 10 { // the list may change while it is read
		if _, err = handle.ConntrackDeleteFilters(netlink.ConntrackTable, unix.AF_INET, to, by); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("end the connections of %s: %w", address, err)
	}
	return nil
}

// externals are the external addresses that the link to the underlay has.
func (u *underlay) externals() (map[netip.Addr]bool, error) {
	link, err := u.links.LinkByName(network.Underlay)
	if err != nil {
		return nil, unavailable("find the link to the underlay", err)
	}
	all, err := whole(func() ([]netlink.Addr, error) { return u.links.AddrList(link, unix.AF_INET) })
	if err != nil {
		return nil, unavailable("list addresses of the underlay", err)
	}
	found := map[netip.Addr]bool{}
	for _, address := range all {
		if ip, ok := netip.AddrFromSlice(address.IP.To4()); ok && external(address) {
			found[ip] = true
		}
	}
	return found, nil
}

// claim finds out which of the addresses nobody on the underlay has (RFC 5227, section 2.1.1); taken says who has each of the others.
func (u *underlay) claim(ctx context.Context, addresses []netip.Addr) (taken map[netip.Addr]net.HardwareAddr, err error) {
	taken = map[netip.Addr]net.HardwareAddr{}
	if len(addresses) == 0 {
		return taken, nil
	}
	conn, own, err := u.listenARP()
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Unix(1, 0)) })()
	wanted := map[netip.Addr]bool{}
	for _, address := range addresses {
		wanted[address] = true
	}
	for range probes {
		for _, address := range addresses {
			if err := sendARP(conn, own, netip.IPv4Unspecified(), address); err != nil {
				return nil, unavailable("ask who has "+address.String(), err)
			}
		}
		if err := hearARP(conn, time.Now().Add(probeWait), func(packet arpPacket) {
			if address := packet.concerns(); wanted[address] && packet.from.String() != own.String() {
				taken[address] = packet.from
			}
		}); err != nil {
			return nil, unavailable("listen to who answers for external addresses", err)
		}
	}
	return taken, ctx.Err()
}

// announce tells everybody on the underlay that the address is here (RFC 5227, section 2.3).
func (u *underlay) announce(address netip.Addr) error {
	conn, own, err := u.listenARP()
	if err != nil {
		return err
	}
	defer conn.Close()
	return sendARP(conn, own, address, address)
}

func (u *underlay) listenARP() (conn *packet.Conn, own net.HardwareAddr, err error) {
	err = netns.Inside(u.namespace, func() error {
		link, err := net.InterfaceByName(network.Underlay)
		if err != nil {
			return err
		}
		own = link.HardwareAddr
		conn, err = packet.Listen(link, packet.Raw, unix.ETH_P_ARP, nil)
		return err
	})
	if err != nil {
		return nil, nil, unavailable("open a socket for ARP", err)
	}
	return conn, own, nil
}

// arpPacket is what counts of an ARP packet for Ethernet and IPv4 (RFC 826).
type arpPacket struct {
	from           net.HardwareAddr
	sender, target netip.Addr
}

// concerns is the address that somebody has, or is about to take by asking who has it.
func (p arpPacket) concerns() netip.Addr {
	if p.sender == netip.IPv4Unspecified() {
		return p.target
	}
	return p.sender
}

var etherBroadcast = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// sendARP broadcasts a request; without a sender's address it is a probe.
func sendARP(conn *packet.Conn, own net.HardwareAddr, sender, target netip.Addr) error {
	frame := append(append([]byte(nil), etherBroadcast...), own...)
	frame = binary.BigEndian.AppendUint16(frame, unix.ETH_P_ARP)
	frame = append(frame, 0, 1, 8, 0, 6, 4, 0, 1) // Ethernet, IPv4, their lengths, request
	frame = append(append(frame, own...), sender.AsSlice()...)
	frame = append(append(frame, make([]byte, 6)...), target.AsSlice()...)
	_, err := conn.WriteTo(frame, &packet.Addr{HardwareAddr: etherBroadcast})
	return err
}

// hearARP hands over what arrives until then.
func hearARP(conn *packet.Conn, until time.Time, heard func(arpPacket)) error {
	if err := conn.SetReadDeadline(until); err != nil {
		return err
	}
	buffer := make([]byte, 128)
	for {
		n, _, err := conn.ReadFrom(buffer)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
		if err != nil {
			return err
		}
		if packet, ok := parseARP(buffer[:n]); ok {
			heard(packet)
		}
	}
}

func parseARP(frame []byte) (arpPacket, bool) {
	const header, length = 14, 28
	if len(frame) < header+length || binary.BigEndian.Uint32(frame[header:]) != 0x00010800 {
		return arpPacket{}, false
	}
	body := frame[header:]
	return arpPacket{
		from:   append(net.HardwareAddr(nil), body[8:14]...),
		sender: netip.AddrFrom4([4]byte(body[14:18])),
		target: netip.AddrFrom4([4]byte(body[24:28])),
	}, true
}
