package kernel_test

import (
	"encoding/binary"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"

	"github.com/ciaocloud/ciao/cluster/network/networktest"
)

// wire is a raw socket on a link: what is sent by it passes no stack, and what it receives has passed none.
type wire struct {
	t    *testing.T
	conn *packet.Conn
	link *net.Interface
}

func listen(t *testing.T, space *networktest.Space, name string) *wire {
	t.Helper()
	w := &wire{t: t}
	space.Do(func() (err error) {
		if w.link, err = net.InterfaceByName(name); err != nil {
			return err
		}
		w.conn, err = packet.Listen(w.link, packet.Raw, unix.ETH_P_ALL, nil)
		return err
	})
	t.Cleanup(func() { w.conn.Close() })
	return w
}

func (w *wire) send(frame []byte) {
	w.t.Helper()
	if _, err := w.conn.WriteTo(frame, &packet.Addr{HardwareAddr: frame[:6]}); err != nil {
		w.t.Fatal(err)
	}
}

// sees reports whether a frame that ends with mark arrives within the time.
func (w *wire) sees(mark string, within time.Duration) bool {
	w.t.Helper()
	w.conn.SetReadDeadline(time.Now().Add(within))
	buffer := make([]byte, 4096)
	for {
		n, _, err := w.conn.ReadFrom(buffer)
		if err != nil {
			return false
		}
		if endsWith(buffer[:n], mark) {
			return true
		}
	}
}

// endsWith looks for the mark at the end of what was sent; short frames may be padded.
func endsWith(frame []byte, mark string) bool {
	for len(frame) > 0 && frame[len(frame)-1] == 0 {
		frame = frame[:len(frame)-1]
	}
	return len(frame) >= len(mark) && string(frame[len(frame)-len(mark):]) == mark
}

func ethernet(to, from string, etherType uint16, body []byte) []byte {
	frame := append(mac(to), mac(from)...)
	return append(binary.BigEndian.AppendUint16(frame, etherType), body...)
}

func mac(text string) []byte {
	address, err := net.ParseMAC(text)
	if err != nil {
		panic(err)
	}
	return address
}

const broadcast = "ff:ff:ff:ff:ff:ff"

// udp is an IPv4 packet with a UDP datagram; the checksum of UDP is left out, as it may be.
func udp(from, to netip.Addr, source, destination uint16, body []byte) []byte {
	datagram := binary.BigEndian.AppendUint16(nil, source)
	datagram = binary.BigEndian.AppendUint16(datagram, destination)
	datagram = binary.BigEndian.AppendUint16(datagram, uint16(8+len(body)))
	datagram = append(append(datagram, 0, 0), body...)
	header := []byte{0x45, 0, 0, 0, 0, 1, 0, 0, 64, unix.IPPROTO_UDP, 0, 0}
	binary.BigEndian.PutUint16(header[2:], uint16(20+len(datagram)))
	header = append(append(header, from.AsSlice()...), to.AsSlice()...)
	binary.BigEndian.PutUint16(header[10:], checksum(header))
	return append(header, datagram...)
}

func checksum(header []byte) uint16 {
	var sum uint32
	for i := 0; i < len(header); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(header[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// arp is a request that says that sender is at senderMAC; the mark comes after it, where no one looks.
func arp(senderMAC string, sender, target netip.Addr, mark string) []byte {
	body := []byte{0, 1, 8, 0, 6, 4, 0, 1}
	body = append(append(body, mac(senderMAC)...), sender.AsSlice()...)
	body = append(append(body, make([]byte, 6)...), target.AsSlice()...)
	return append(body, mark...)
}

// vxlan is a frame in a tunnel's datagram.
func vxlan(key uint32, frame []byte) []byte {
	header := []byte{0x08, 0, 0, 0}
	header = binary.BigEndian.AppendUint32(header, key<<8)
	return append(header, frame...)
}

// sendUDP sends a datagram to the tunnel's port by the stack of the namespace it runs in.
func sendUDP(from, to netip.Addr, body []byte) func() error {
	return func() error {
		conn, err := net.DialUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(from, 0)), net.UDPAddrFromAddrPort(netip.AddrPortFrom(to, 4789)))
		if err != nil {
			return err
		}
		defer conn.Close()
		_, err = conn.Write(body)
		return err
	}
}

// seesFrom reports whether an IPv4 packet from one address to another arrives.
func (w *wire) seesFrom(from, to netip.Addr) bool {
	w.t.Helper()
	w.conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	buffer := make([]byte, 4096)
	for {
		n, _, err := w.conn.ReadFrom(buffer)
		if err != nil {
			return false
		}
		if n >= 34 && [4]byte(buffer[26:30]) == from.As4() && [4]byte(buffer[30:34]) == to.As4() {
			return true
		}
	}
}
