package dhcp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/sys/unix"
)

// binding is a MAC with its address.
type binding struct {
	mac     string
	address string
}

// departed are the bindings that the hosts file on disk has and the wanted hosts have not. The file, not our memory, says what
// dnsmasq may have lent: it outlives us.
func (s *Server) departed() []binding {
	text, err := os.ReadFile(filepath.Join(s.directory, hostsFile))
	if err != nil {
		return nil
	}
	stay := map[binding]bool{}
	for _, host := range s.wanted.Hosts {
		for _, address := range host.Addresses {
			stay[binding{host.MAC, address.String()}] = true
		}
	}
	var gone []binding
	for line := range strings.Lines(string(text)) {
		words := strings.Split(strings.TrimSpace(line), ",")
		if len(words) < 2 {
			continue
		}
		if b := (binding{words[0], words[1]}); !stay[b] {
			gone = append(gone, b)
		}
	}
	return gone
}

// release gives the leases of hosts that are gone back in their name: dnsmasq would refuse the address to another host until the
// lease runs out. The message is sent as if it came in by the bridge, where dnsmasq listens.
func (s *Server) release(gone []binding) error {
	if len(gone) == 0 {
		return nil
	}
	gateway, link := s.wanted.Gateway, s.wanted.Link
	var conn net.Conn
	err := s.inside(func() error {
		dialer := net.Dialer{
			LocalAddr: &net.UDPAddr{IP: gateway.AsSlice()},
			Control: func(_, _ string, raw syscall.RawConn) (err error) {
				return errors.Join(raw.Control(func(fd uintptr) { err = unix.BindToDevice(int(fd), link) }), err)
			},
		}
		var err error
		conn, err = dialer.DialContext(context.Background(), "udp4", netip.AddrPortFrom(gateway, 67).String())
		return err
	})
	if err != nil {
		return fmt.Errorf("release leases: %w", err)
	}
	defer conn.Close()
	for _, b := range gone {
		message, err := releaseMessage(b, gateway)
		if err != nil {
			return fmt.Errorf("release the lease of %s: %w", b.address, err)
		}
		if _, err := conn.Write(message.ToBytes()); err != nil {
			return fmt.Errorf("release the lease of %s: %w", b.address, err)
		}
	}
	return nil
}

func releaseMessage(b binding, gateway netip.Addr) (*dhcpv4.DHCPv4, error) {
	mac, err := net.ParseMAC(b.mac)
	if err != nil {
		return nil, err
	}
	return dhcpv4.New(dhcpv4.WithMessageType(dhcpv4.MessageTypeRelease), dhcpv4.WithHwAddr(mac),
		dhcpv4.WithClientIP(net.ParseIP(b.address)), dhcpv4.WithServerIP(gateway.AsSlice()),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(gateway.AsSlice())))
}
