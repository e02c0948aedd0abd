package dhcp

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"

	"github.com/ciaocloud/ciao/cluster"
)

// Lease is an address that a DHCP server lent to a link (RFC 2131).
type Lease struct {
	Address netip.Prefix
	Router  netip.Addr // invalid without one
	Servers []netip.Addr
	Length  time.Duration
	Since   time.Time

	lease *nclient4.Lease
}

// Client asks the DHCP servers of one link. Its methods are called one at a time.
type Client struct {
	// Link is the name of the link and MAC its address.
	Link string
	MAC  net.HardwareAddr
	// Inside runs a function where the link is; sockets opened by it stay there.
	Inside func(func() error) error
}

// tryLimit is how long one request waits for its answer; it is repeated twice.
const tryLimit = time.Second

// Acquire gets a lease, of the address want if the server agrees; want may be invalid.
func (c *Client) Acquire(ctx context.Context, want netip.Addr) (Lease, error) {
	conn, err := c.open()
	if err != nil {
		return Lease{}, err
	}
	defer conn.Close()
	var modifiers []dhcpv4.Modifier
	if want.Is4() {
		modifiers = append(modifiers, dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(want.AsSlice())))
	}
	since := time.Now()
	offer, err := conn.DiscoverOffer(ctx, modifiers...)
	if err != nil {
		return Lease{}, fmt.Errorf("no DHCP server answers on %s: %w: %w", c.Link, cluster.ErrUnavailable, err)
	}
	lease, err := conn.RequestFromOffer(ctx, offer)
	if err != nil {
		return Lease{}, fmt.Errorf("the DHCP server on %s took its offer back: %w: %w", c.Link, cluster.ErrUnavailable, err)
	}
	return read(lease, since)
}

// Renew extends a lease.
func (c *Client) Renew(ctx context.Context, old Lease) (Lease, error) {
	conn, err := c.open()
	if err != nil {
		return Lease{}, err
	}
	defer conn.Close()
	since := time.Now()
	lease, err := conn.Renew(ctx, old.lease)
	if err != nil {
		return Lease{}, fmt.Errorf("renew the lease of %s: %w: %w", old.Address, cluster.ErrUnavailable, err)
	}
	return read(lease, since)
}

// Release gives the address back. There is no answer to wait for. The message comes from the address that goes, to the server's alone (RFC 2131
// §4.4.4): a kernel drops what is sent to its own address from none. It needs no ARP, since the link may be gone before an answer comes.
func (c *Client) Release(lease Lease) error {
	raw, err := c.raw()
	if err != nil {
		return err
	}
	conn := nclient4.NewBroadcastUDPConn(raw, &net.UDPAddr{IP: lease.Address.Addr().AsSlice(), Port: nclient4.ClientPort})
	defer conn.Close()
	message, err := dhcpv4.NewReleaseFromACK(lease.lease.ACK)
	if err == nil {
		_, err = conn.WriteTo(message.ToBytes(), &net.UDPAddr{IP: lease.lease.ACK.ServerIdentifier(), Port: nclient4.ServerPort})
	}
	if err != nil {
		return fmt.Errorf("give %s back: %w", lease.Address, err)
	}
	return nil
}

// open opens a socket for requests: the link has no address yet, or may be losing it.
func (c *Client) open() (*nclient4.Client, error) {
	raw, err := c.raw()
	if err != nil {
		return nil, err
	}
	unbound := nclient4.NewBroadcastUDPConn(raw, &net.UDPAddr{Port: nclient4.ClientPort})
	conn, err := nclient4.NewWithConn(unbound, c.MAC, nclient4.WithTimeout(tryLimit), nclient4.WithRetry(2))
	if err != nil {
		raw.Close()
		return nil, fmt.Errorf("open a DHCP socket on %s: %w", c.Link, err)
	}
	return conn, nil
}

// raw opens a socket for packets of IPv4 on the link, whatever addresses that has.
func (c *Client) raw() (raw net.PacketConn, err error) {
	err = c.Inside(func() error {
		link, err := net.InterfaceByName(c.Link)
		if err == nil {
			raw, err = packet.Listen(link, packet.Datagram, unix.ETH_P_IP, nil)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open a DHCP socket on %s: %w", c.Link, err)
	}
	return raw, nil
}

func read(lease *nclient4.Lease, since time.Time) (Lease, error) {
	ack := lease.ACK
	address, ok := netip.AddrFromSlice(ack.YourIPAddr.To4())
	mask := ack.SubnetMask()
	if !ok || mask == nil || address.IsUnspecified() {
		return Lease{}, fmt.Errorf("the DHCP server gave no address or no netmask: %w", cluster.ErrUnavailable)
	}
	bits, _ := mask.Size()
	read := Lease{Address: netip.PrefixFrom(address, bits), Length: ack.IPAddressLeaseTime(time.Hour), Since: since, lease: lease}
	if routers := ack.Router(); len(routers) > 0 {
		read.Router, _ = netip.AddrFromSlice(routers[0].To4())
	}
	for _, ip := range ack.DNS() {
		if server, ok := netip.AddrFromSlice(ip.To4()); ok {
			read.Servers = append(read.Servers, server)
		}
	}
	return read, nil
}
