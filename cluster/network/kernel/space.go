package kernel

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/network"
	"github.com/ciaocloud/ciao/cluster/network/firewall"
	"github.com/ciaocloud/ciao/cluster/network/netns"
)

// space is one namespace of ours as the plan sees it.
type space struct {
	namespace *os.File
	links     *netlink.Handle
	engine    *os.File // where the other ends of veths go
	engines   *netlink.Handle
}

// openSpace takes over namespace; engine may be nil when no veth will be made.
func openSpace(namespace, engine *os.File) (*space, error) {
	s := &space{namespace: namespace, engine: engine}
	var err error
	if s.links, err = openHandle(namespace); err != nil {
		return nil, err
	}
	if engine != nil {
		if s.engines, err = openHandle(engine); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// openHandle opens a netlink socket in the namespace. The calling thread does not move: a thread of its own is used and dies.
func openHandle(namespace *os.File) (*netlink.Handle, error) {
	var handle *netlink.Handle
	err := netns.Inside(namespace, func() (err error) {
		handle, err = netlink.NewHandle(unix.NETLINK_ROUTE)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	return handle, nil
}

func (s *space) close() {
	s.links.Close()
	if s.engines != nil {
		s.engines.Close()
	}
}

// Read implements network.Kernel.
func (s *space) Read(ctx context.Context) (network.Image, error) {
	image := network.NewImage()
	links, err := listLinks(s.links)
	if err != nil {
		return image, err
	}
	image.Links = ours(links)
	names := map[int]string{}
	for _, link := range links {
		names[link.Attrs().Index] = link.Attrs().Name
		if link.Attrs().Group == doomed { // a predecessor died before it removed them: they may be wanted again
			if err := ignore(s.links.LinkSetGroup(link, 0), unix.ENODEV); err != nil {
				return image, unavailable("spare a link", err)
			}
		}
	}
	return image, errors.Join(s.readAddresses(&image, names), s.readForwards(&image, names), s.readSettings(&image), s.readTables(&image))
}

// ReadLinks implements network.Kernel.
func (s *space) ReadLinks(context.Context) (map[string]network.Link, error) {
	links, err := listLinks(s.links)
	if err != nil {
		return nil, err
	}
	return ours(links), nil
}

func listLinks(handle *netlink.Handle) ([]netlink.Link, error) {
	links, err := whole(handle.LinkList)
	if err != nil {
		return nil, unavailable("list links", err)
	}
	return links, nil
}

// whole repeats a listing that the kernel says was changed while it was read.
func whole[T any](list func() ([]T, error)) (all []T, err error) {
	for range 100 {
		if all, err = list(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return all, err
}

// ours is all but loopback and the link to the underlay: the namespace is ours, so whatever else is in it is ours too.
func ours(links []netlink.Link) map[string]network.Link {
	names := map[int]string{}
	for _, link := range links {
		names[link.Attrs().Index] = link.Attrs().Name
	}
	found := map[string]network.Link{}
	for _, link := range links {
		attrs := link.Attrs()
		if attrs.Name == network.Underlay || attrs.Name == "lo" {
			continue
		}
		read := network.Link{Name: attrs.Name, Kind: network.LinkKind(link.Type()), Alias: attrs.Alias, MTU: attrs.MTU,
			Master: names[attrs.MasterIndex], Up: attrs.RawFlags&unix.IFF_UP != 0}
		switch link := link.(type) {
		case *netlink.Bridge:
			read.MAC = attrs.HardwareAddr.String()
		case *netlink.Vxlan:
			local, _ := netip.AddrFromSlice(link.SrcAddr)
			read.Key, read.Local = uint32(link.VxlanId), local.Unmap()
		}
		found[read.Name] = read
	}
	return found
}

// readAddresses passes over link-local addresses of IPv6, which the kernel makes.
func (s *space) readAddresses(image *network.Image, names map[int]string) error {
	addresses, err := whole(func() ([]netlink.Addr, error) { return s.links.AddrList(nil, unix.AF_UNSPEC) })
	if err != nil {
		return unavailable("list addresses", err)
	}
	for _, address := range addresses {
		name, prefix := names[address.LinkIndex], prefixOf(address)
		if prefix.Addr().Is6() && prefix.Addr().IsLinkLocalUnicast() {
			continue
		}
		if _, ok := image.Links[name]; !ok && !external(address) {
			continue
		}
		image.Addresses[network.Address{Link: name, Prefix: prefix}] = true
	}
	return nil
}

func prefixOf(address netlink.Addr) netip.Prefix {
	ip, _ := netip.AddrFromSlice(address.IP)
	bits, _ := address.Mask.Size()
	return netip.PrefixFrom(ip.Unmap(), bits)
}

func (s *space) readForwards(image *network.Image, names map[int]string) error {
	entries, err := whole(func() ([]netlink.Neigh, error) {
		return s.links.NeighListExecute(netlink.Ndmsg{Family: unix.AF_BRIDGE})
	})
	if err != nil {
		return unavailable("list forwarding entries", err)
	}
	for _, entry := range entries {
		name := names[entry.LinkIndex]
		to, ok := netip.AddrFromSlice(entry.IP)
		if image.Links[name].Kind != network.LinkVXLAN || !ok {
			continue
		}
		image.Forwards[network.Forward{Link: name, MAC: entry.HardwareAddr.String(), To: to.Unmap()}] = true
	}
	return nil
}

// readSettings reads the settings that an image may have; those that this kernel does not know are left out, and so never planned.
func (s *space) readSettings(image *network.Image) error {
	return netns.Inside(s.namespace, func() error {
		for _, name := range network.SettingNames() {
			value, err := os.ReadFile("/proc/sys/" + name)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return unavailable("read a kernel setting", err)
			}
			image.Settings[name] = strings.TrimSpace(string(value))
		}
		return nil
	})
}

func (s *space) readTables(image *network.Image) error {
	tables, err := firewall.OpenTables(int(s.namespace.Fd()))
	if err != nil {
		return unavailable("read nftables", err)
	}
	defer tables.Close()
	if image.Tables, err = tables.Read(network.TableName); err != nil {
		return unavailable("read nftables", err)
	}
	return nil
}

func unavailable(what string, err error) error {
	return fmt.Errorf("%s: %w: %w", what, cluster.ErrUnavailable, err)
}

var _ network.Kernel = (*space)(nil)
