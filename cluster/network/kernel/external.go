package kernel

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/mdlayher/packet"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ciaocloud/ciao/cluster/network"
	"github.com/ciaocloud/ciao/cluster/network/netns"
)

// externalLabel marks the external addresses on the link to the underlay: the others follow the lease.
const externalLabel = network.Underlay + ":ext"

// external says whether an address of that link is an external one. The kernel labels none of IPv6: those have their whole length, which what the link
// makes itself of a router's prefix never has (RFC 4862, section 5.5.3).
func external(address netlink.Addr) bool {
	prefix := prefixOf(address)
	if prefix.Addr().Is4() {
		return address.Label == externalLabel
	}
	return prefix.IsSingleIP() && !prefix.Addr().IsLoopback() && !prefix.Addr().IsLinkLocalUnicast()
}

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
			if !kept[address] {
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
	family := netlink.InetFamily(unix.AF_INET)
	if address.Is6() {
		family = unix.AF_INET6
	}
	for range 10 { // the list may change while it is read
		if _, err = handle.ConntrackDeleteFilters(netlink.ConntrackTable, family, to, by); !errors.Is(err, netlink.ErrDumpInterrupted) {
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
	all, err := whole(func() ([]netlink.Addr, error) { return u.links.AddrList(link, unix.AF_UNSPEC) })
	if err != nil {
		return nil, unavailable("list addresses of the underlay", err)
	}
	found := map[netip.Addr]bool{}
	for _, address := range all {
		if external(address) {
			found[prefixOf(address).Addr()] = true
		}
	}
	return found, nil
}

// inquiry is how one family asks who has an address and says that it is here.
type inquiry struct {
	protocol int                                                                     // EtherType
	ask      func(conn *packet.Conn, own net.HardwareAddr, address netip.Addr) error // who has it?
	announce func(conn *packet.Conn, own net.HardwareAddr, address netip.Addr) error // it is here
	answered func(frame []byte) (from net.HardwareAddr, address netip.Addr, is bool) // who has it, or is about to take it
}

// arp is that of IPv4 (RFC 5227, sections 2.1.1 and 2.3).
var arp = inquiry{
	protocol: unix.ETH_P_ARP,
	ask: func(conn *packet.Conn, own net.HardwareAddr, address netip.Addr) error {
		return sendARP(conn, own, netip.IPv4Unspecified(), address)
	},
	announce: func(conn *packet.Conn, own net.HardwareAddr, address netip.Addr) error {
		return sendARP(conn, own, address, address)
	},
	answered: func(frame []byte) (net.HardwareAddr, netip.Addr, bool) {
		p, is := parseARP(frame)
		return p.from, p.concerns(), is
	},
}

func inquiryOf(address netip.Addr) inquiry {
	if address.Is6() {
		return discovery
	}
	return arp
}

// claim finds out which of the addresses nobody on the underlay has; taken says who has each of the others.
func (u *underlay) claim(ctx context.Context, addresses []netip.Addr) (taken map[netip.Addr]net.HardwareAddr, err error) {
	taken = map[netip.Addr]net.HardwareAddr{}
	for _, by := range []inquiry{arp, discovery} {
		asked := slices.DeleteFunc(slices.Clone(addresses), func(a netip.Addr) bool { return inquiryOf(a).protocol != by.protocol })
		if len(asked) == 0 {
			continue
		}
		if err := u.inquire(ctx, by, asked, taken); err != nil {
			return nil, err
		}
	}
	return taken, ctx.Err()
}

func (u *underlay) inquire(ctx context.Context, by inquiry, addresses []netip.Addr, taken map[netip.Addr]net.HardwareAddr) error {
	conn, own, err := u.listen(by)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Unix(1, 0)) })()
	for range probes {
		for _, address := range addresses {
			if err := by.ask(conn, own, address); err != nil {
				return unavailable("ask who has "+address.String(), err)
			}
		}
		if err := hear(conn, time.Now().Add(probeWait), func(frame []byte) {
			from, address, is := by.answered(frame)
			if is && slices.Contains(addresses, address) && from.String() != own.String() {
				taken[address] = from
			}
		}); err != nil {
			return unavailable("listen to who answers for external addresses", err)
		}
	}
	return nil
}

// announce tells everybody on the underlay that the address is here.
func (u *underlay) announce(address netip.Addr) error {
	by := inquiryOf(address)
	conn, own, err := u.listen(by)
	if err != nil {
		return err
	}
	defer conn.Close()
	return by.announce(conn, own, address)
}

func (u *underlay) listen(by inquiry) (conn *packet.Conn, own net.HardwareAddr, err error) {
	err = netns.Inside(u.namespace, func() error {
		link, err := net.InterfaceByName(network.Underlay)
		if err != nil {
			return err
		}
		own = link.HardwareAddr
		conn, err = packet.Listen(link, packet.Raw, by.protocol, nil)
		return err
	})
	if err != nil {
		return nil, nil, unavailable("open a socket for questions about external addresses", err)
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

// hear hands over what arrives until then.
func hear(conn *packet.Conn, until time.Time, heard func(frame []byte)) error {
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
		heard(buffer[:n])
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
