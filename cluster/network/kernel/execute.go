package kernel

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"os"
	"strconv"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/network"
	"github.com/ciaocloud/ciao/cluster/network/firewall"
	"github.com/ciaocloud/ciao/cluster/network/netns"
)

// Execute implements network.Kernel.
func (s *space) Execute(ctx context.Context, steps []network.Step) error {
	e := executor{space: s, index: map[string]int{}}
	for len(steps) > 0 {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("change the network: %w: %w", cluster.ErrTimeout, context.Cause(ctx))
		}
		taken, err := e.delLinks(steps)
		if taken == 0 {
			taken, err = 1, e.take(steps[0])
		}
		if err != nil {
			return unavailable(steps[0].String(), err)
		}
		steps = steps[taken:]
	}
	return nil
}

// executor takes steps and remembers the indexes of links, so that a port costs no look-ups.
type executor struct {
	*space
	index map[string]int
}

func (e *executor) take(step network.Step) error {
	switch step := step.(type) {
	case network.Setting:
		return netns.Inside(e.namespace, func() error { return os.WriteFile("/proc/sys/"+step.Name, []byte(step.Value), 0) })
	case network.AddLink:
		return e.addLink(step.Link)
	case network.SetLink:
		return e.setLink(step)
	case network.AddAddress:
		return e.addAddress(step.Address)
	case network.DelAddress:
		return e.delAddress(step.Address)
	case network.AddForward:
		return ignore(e.changeForward(step.Forward, e.appendForward), unix.EEXIST)
	case network.DelForward:
		return ignore(e.changeForward(step.Forward, e.links.NeighDel), unix.ENOENT)
	case network.Filter:
		return e.filter(step)
	}
	return fmt.Errorf("unknown step %T", step)
}

func ignore(err error, class unix.Errno) error {
	if errors.Is(err, class) {
		return nil
	}
	return err
}

// link finds a link by its name, or a stand-in with its index, which is all that most requests need.
func (e *executor) link(name string) (netlink.Link, error) {
	if index, ok := e.index[name]; ok {
		return &netlink.Device{LinkAttrs: netlink.LinkAttrs{Name: name, Index: index}}, nil
	}
	link, err := e.links.LinkByName(name)
	if err != nil {
		return nil, err
	}
	e.index[name] = link.Attrs().Index
	return link, nil
}

// delLinks removes the links of the leading DelLink steps, and returns how many those are.
func (e *executor) delLinks(steps []network.Step) (taken int, err error) {
	var links []netlink.Link
	for _, step := range steps {
		del, ok := step.(network.DelLink)
		if !ok {
			break
		}
		taken++
		link, err := e.link(del.Name)
		if errors.As(err, new(netlink.LinkNotFoundError)) {
			continue
		}
		if err != nil {
			return taken, err
		}
		delete(e.index, del.Name)
		links = append(links, link)
	}
	return taken, deleteLinks(e.namespace, e.links, links)
}

func (e *executor) addLink(wanted network.Link) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = wanted.Name, wanted.MTU
	mac, err := parseMAC(wanted.MAC)
	if err != nil {
		return err
	}
	attrs.HardwareAddr = mac
	switch wanted.Kind {
	case network.LinkBridge:
		// Snooping would need a querier to work, and a tenant's multicast is small: flood it.
		return e.links.LinkAdd(&netlink.Bridge{LinkAttrs: attrs, MulticastSnooping: new(bool)})
	case network.LinkVXLAN:
		return e.addVXLAN(attrs, wanted)
	case network.LinkVeth:
		return e.addVeth(attrs, wanted)
	case network.LinkTap:
		return e.addTap(attrs)
	}
	return fmt.Errorf("unknown kind of link %q", wanted.Kind)
}

func (e *executor) addVXLAN(attrs netlink.LinkAttrs, wanted network.Link) error {
	underlay, err := e.link(network.Underlay)
	if err != nil {
		return err
	}
	return e.links.LinkAdd(&netlink.Vxlan{LinkAttrs: attrs, VxlanId: int(wanted.Key), VtepDevIndex: underlay.Attrs().Index,
		SrcAddr: wanted.Local.AsSlice(), Port: network.VXLANPort, Learning: false})
}

// addVeth makes both ends in one request, each in its namespace: no end is ever where it does not belong, and with the one in the
// node's namespace goes the other, wherever it is by then.
func (e *executor) addVeth(attrs netlink.LinkAttrs, wanted network.Link) error {
	if e.engine == nil {
		return fmt.Errorf("there is no engine here: %w", cluster.ErrInvalid)
	}
	mac, err := parseMAC(wanted.Peer.MAC)
	if err != nil {
		return err
	}
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: wanted.Peer.Name, PeerHardwareAddr: mac, PeerMTU: uint32(wanted.MTU),
		PeerNamespace: netlink.NsFd(e.engine.Fd())}
	err = e.links.LinkAdd(veth)
	if errors.Is(err, unix.EEXIST) {
		err = e.replaceStray(veth, wanted)
	}
	if err != nil {
		return err
	}
	e.index[wanted.Name] = veth.Index
	stray, err := e.engines.LinkByName(wanted.Peer.Name)
	if err != nil {
		return err
	}
	return e.engines.LinkSetAlias(stray, wanted.Alias)
}

// replaceStray removes a link that has the name of the engine's end, if it is of our making: the other end of a port that was lost.
func (e *executor) replaceStray(veth *netlink.Veth, wanted network.Link) error {
	stray, err := e.engines.LinkByName(wanted.Peer.Name)
	if err != nil {
		return err
	}
	if stray.Type() != "veth" || stray.Attrs().Alias != wanted.Alias {
		return fmt.Errorf("a link %s that is not ours is in the engine's namespace: %w", wanted.Peer.Name, cluster.ErrConflict)
	}
	if err := e.engines.LinkDel(stray); err != nil {
		return err
	}
	return e.links.LinkAdd(veth)
}

// addTap makes a persistent tap; its descriptors are opened by whoever starts the machine.
func (e *executor) addTap(attrs netlink.LinkAttrs) error {
	return netns.Inside(e.namespace, func() error {
		if err := netlink.LinkAdd(&netlink.Tuntap{LinkAttrs: netlink.LinkAttrs{Name: attrs.Name}, Mode: netlink.TUNTAP_MODE_TAP}); err != nil {
			return err
		}
		link, err := netlink.LinkByName(attrs.Name)
		if err != nil {
			return err
		}
		return netlink.LinkSetMTU(link, attrs.MTU)
	})
}

func (e *executor) setLink(step network.SetLink) error {
	link, err := e.link(step.Name)
	if err != nil {
		return err
	}
	switch step.Attribute {
	case network.LinkAlias:
		return e.links.LinkSetAlias(link, step.Value)
	case network.LinkMTU:
		mtu, err := strconv.Atoi(step.Value)
		if err != nil {
			return err
		}
		return e.links.LinkSetMTU(link, mtu)
	case network.LinkMAC:
		mac, err := parseMAC(step.Value)
		if err != nil {
			return err
		}
		return e.links.LinkSetHardwareAddr(link, mac)
	case network.LinkState:
		return e.links.LinkSetUp(link)
	case network.LinkMaster:
		return e.setMaster(link, step.Value)
	}
	return fmt.Errorf("unknown attribute %q", step.Attribute)
}

func (e *executor) setMaster(link netlink.Link, name string) error {
	if name == "" {
		return e.links.LinkSetNoMaster(link)
	}
	master, err := e.link(name)
	if err != nil {
		return err
	}
	return e.links.LinkSetMasterByIndex(link, master.Attrs().Index)
}

// addAddress gives a link an address. With one of IPv6 it gets IPv6, which is off in our namespaces: what is given is ours alone, so
// that nobody need be asked whether it is in use (RFC 4862, section 5.4), and a gateway takes no other router's word.
func (e *executor) addAddress(address network.Address) error {
	if address.Prefix.Addr().Is4() {
		return e.changeAddress(address, e.links.AddrReplace)
	}
	if address.Link == network.Underlay {
		return e.changeAddress(address, e.addExternal6)
	}
	if err := setIPv6(e.namespace, address.Link, setting{"accept_dad", "0"}, setting{"accept_ra", "0"}, setting{"disable_ipv6", "0"}); err != nil {
		return err
	}
	return e.changeAddress(address, func(link netlink.Link, addr *netlink.Addr) error {
		addr.Flags = unix.IFA_F_NODAD
		return e.links.AddrReplace(link, addr)
	})
}

// addExternal6 gives the underlay's link an external address: whether anybody has it was asked already, and nothing of the CNCI's own goes by it, for
// that an address is preferred for no time (RFC 6724, rule 3).
func (e *executor) addExternal6(link netlink.Link, addr *netlink.Addr) error {
	if err := setIPv6(e.namespace, network.Underlay, listening...); err != nil {
		return err
	}
	addr.Flags, addr.Label, addr.ValidLft, addr.PreferedLft = unix.IFA_F_NODAD, "", math.MaxUint32, 0
	return e.links.AddrReplace(link, addr)
}

func (e *executor) changeAddress(address network.Address, change func(netlink.Link, *netlink.Addr) error) error {
	link, err := e.link(address.Link)
	if err != nil {
		return err
	}
	wanted := &netlink.Addr{IPNet: prefixNet(address.Prefix)}
	if address.Link == network.Underlay && address.Prefix.Addr().Is4() {
		wanted.Label = externalLabel
	}
	return change(link, wanted)
}

// delAddress also ends the connections that go by an external address: their packets would be translated for as long as they come.
func (e *executor) delAddress(address network.Address) error {
	err := ignore(e.changeAddress(address, e.links.AddrDel), unix.EADDRNOTAVAIL)
	if err != nil || address.Link != network.Underlay {
		return err
	}
	return e.endConnections(address.Prefix.Addr())
}

// appendForward appends: for the zero MAC there is one entry for each peer.
func (e *executor) appendForward(entry *netlink.Neigh) error { return e.links.NeighAppend(entry) }

func (e *executor) changeForward(forward network.Forward, change func(*netlink.Neigh) error) error {
	link, err := e.link(forward.Link)
	if err != nil {
		return err
	}
	mac, err := parseMAC(forward.MAC)
	if err != nil {
		return err
	}
	return change(&netlink.Neigh{LinkIndex: link.Attrs().Index, Family: unix.AF_BRIDGE, State: netlink.NUD_PERMANENT | netlink.NUD_NOARP,
		Flags: netlink.NTF_SELF, IP: forward.To.AsSlice(), HardwareAddr: mac})
}

func (e *executor) filter(step network.Filter) error {
	tables, err := firewall.OpenTables(int(e.namespace.Fd()))
	if err != nil {
		return err
	}
	defer tables.Close()
	return tables.Change(step.Changes)
}

func prefixNet(prefix netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: prefix.Addr().AsSlice(), Mask: net.CIDRMask(prefix.Bits(), prefix.Addr().BitLen())}
}

func parseMAC(text string) (net.HardwareAddr, error) {
	if text == "" {
		return nil, nil
	}
	return net.ParseMAC(text)
}
