package singlevm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/image"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/driver/container/localimage"
)

// busyboxImage is the image of the workloads that come with the program.
const busyboxImage = "ciao-busybox:local"

// mark is the alias of links that are ours.
func mark(kind string) string { return "ciao/" + ClusterName + "/" + kind }

// makeUnderlay makes the bridge that stands for the data centre's network, and the machine's own place on it.
func (s *Setup) makeUnderlay(context.Context) error {
	bridge, err := ensureLink(underlayBridge, mark("underlay"), func(name string) netlink.Link {
		return &netlink.Bridge{LinkAttrs: attributes(name)}
	})
	if err != nil {
		return err
	}
	carrier, err := ensureLink(underlayCarrier, mark("carrier"), func(name string) netlink.Link {
		return &netlink.Veth{LinkAttrs: attributes(name), PeerName: underlayCarrierEnd}
	})
	if err != nil {
		return err
	}
	end, err := netlink.LinkByName(underlayCarrierEnd)
	if err == nil {
		err = netlink.LinkSetMaster(carrier, bridge)
	}
	if err != nil {
		return fmt.Errorf("give %s a port: %w", underlayBridge, err)
	}
	host, err := ensureLink(underlayHost, mark("host"), func(name string) netlink.Link {
		own := attributes(name)
		own.ParentIndex = bridge.Attrs().Index
		return &netlink.Macvlan{LinkAttrs: own, Mode: netlink.MACVLAN_MODE_BRIDGE}
	})
	if err != nil {
		return err
	}
	address, err := netlink.ParseAddr(hostAddress + "/24")
	if err != nil {
		return fmt.Errorf("the host's address: %w", err)
	}
	if err := netlink.AddrReplace(host, address); err != nil {
		return fmt.Errorf("give %s its address: %w", underlayHost, err)
	}
	for _, link := range []netlink.Link{bridge, carrier, end, host} {
		if err := netlink.LinkSetUp(link); err != nil {
			return fmt.Errorf("bring %s up: %w", link.Attrs().Name, err)
		}
	}
	return addAddress6(host, hostAddress6+"/64")
}

// hasIPv6 is false on a machine whose kernel was started without IPv6.
func hasIPv6() bool {
	_, err := os.Stat("/proc/sys/net/ipv6")
	return err == nil
}

// addAddress6 gives a link of ours IPv6, also where the machine's links have none by default, and an address that is good at once: nobody
// else can have it.
func addAddress6(link netlink.Link, text string) error {
	if !hasIPv6() {
		return nil
	}
	name := link.Attrs().Name
	for _, setting := range []string{"accept_dad", "disable_ipv6"} {
		file := "/proc/sys/net/ipv6/conf/" + name + "/" + setting
		if now, err := os.ReadFile(file); err == nil && strings.TrimSpace(string(now)) == "0" {
			continue
		}
		if err := os.WriteFile(file, []byte("0"), 0); err != nil {
			return fmt.Errorf("give %s IPv6: %w", name, err)
		}
	}
	address, err := netlink.ParseAddr(text)
	if err == nil {
		address.Flags = unix.IFA_F_NODAD
		err = netlink.AddrReplace(link, address)
	}
	if err != nil {
		return fmt.Errorf("give %s its IPv6 address: %w", name, err)
	}
	return nil
}

func attributes(name string) netlink.LinkAttrs {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	return attrs
}

// ensureLink makes a link with our mark, or finds it; one without our mark is somebody else's. The kernel marks a link only after it
// was made, so it is made under a name that nobody else uses and takes its own when it has its mark.
func ensureLink(name, alias string, make func(temporary string) netlink.Link) (netlink.Link, error) {
	link, err := netlink.LinkByName(name)
	var missing netlink.LinkNotFoundError
	switch {
	case err == nil && link.Attrs().Alias != alias:
		return nil, notOurs(name)
	case err == nil:
		return link, nil
	case !errors.As(err, &missing):
		return nil, fmt.Errorf("look for link %s: %w", name, err)
	}
	if err := removeLink(unfinished(name)); err != nil {
		return nil, err
	}
	fresh := make(unfinished(name))
	if err := netlink.LinkAdd(fresh); err != nil {
		return nil, fmt.Errorf("make link %s: %w", name, err)
	}
	if err := errors.Join(netlink.LinkSetAlias(fresh, alias), netlink.LinkSetName(fresh, name)); err != nil {
		return nil, errors.Join(fmt.Errorf("make link %s: %w", name, err), netlink.LinkDel(fresh))
	}
	return netlink.LinkByName(name)
}

// unfinished is the name of a link that does not have its mark yet; what a killed setup leaves is known by it.
func unfinished(name string) string { return name + ".new" }

func notOurs(name string) error {
	return fmt.Errorf("%w: a link %s is there that singlevm did not make: remove it (`ip link del %s`) or use another machine", cluster.ErrConflict, name, name)
}

// removeUnderlay removes the links; what hangs on the bridge goes with it.
func (s *Setup) removeUnderlay(context.Context) error {
	var problems []error
	for _, ours := range []struct{ name, alias string }{{underlayHost, mark("host")}, {underlayCarrier, mark("carrier")}, {underlayBridge, mark("underlay")}} {
		problems = append(problems, removeLink(unfinished(ours.name)))
		if link, err := netlink.LinkByName(ours.name); err == nil && link.Attrs().Alias == ours.alias {
			problems = append(problems, removeLink(ours.name))
		}
	}
	return errors.Join(problems...)
}

// removeLink removes a link if it is there.
func removeLink(name string) error {
	link, err := netlink.LinkByName(name)
	var missing netlink.LinkNotFoundError
	if errors.As(err, &missing) {
		return nil
	}
	if err == nil {
		err = netlink.LinkDel(link)
	}
	if err != nil {
		return fmt.Errorf("remove link %s: %w", name, err)
	}
	return nil
}

// makeImage gives the engine the image of the workloads that come with the program; no registry is needed.
func (s *Setup) makeImage(ctx context.Context) error {
	if err := replaceFile(s.layout.importing(), nil, 0o600); err != nil {
		return err
	}
	if err := localimage.Busybox(ctx, s.engine, busyboxImage); err != nil {
		return err
	}
	return os.Remove(s.layout.importing())
}

// importPatience is how long the engine may take to finish an import that nobody waits for any more. Nothing tells whether it does.
const importPatience = 3 * time.Second

// removeImage removes the image, also one that a setup was killed while giving to the engine.
func (s *Setup) removeImage(ctx context.Context) error {
	patience := time.Now().Add(importPatience)
	for {
		_, err := s.engine.ImageRemove(ctx, busyboxImage, image.RemoveOptions{Force: true})
		if err != nil && !errdefs.IsNotFound(err) {
			return fmt.Errorf("remove the image %s: %w", busyboxImage, err)
		}
		if err == nil || !exists(s.layout.importing()) || time.Now().After(patience) {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}
