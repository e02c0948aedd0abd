package kernel

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/network/netns"
)

// markedNamespace makes the named namespace, or opens the one that is there if it carries the marks. A namespace cannot be marked
// itself, so that its loopback link is.
func markedNamespace(name string, marks ...string) (*os.File, error) {
	file, err := netns.Make(name, func(namespace *os.File) error { return markNamespace(namespace, marks) })
	if err != nil {
		return nil, err
	}
	have, err := readMarks(file)
	if err == nil && !slices.Equal(have, marks) {
		err = fmt.Errorf("the network namespace %s is not ours (it is marked %q): remove it or choose another cluster name: %w", name, have, cluster.ErrConflict)
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

func markNamespace(namespace *os.File, marks []string) error {
	handle, err := openHandle(namespace)
	if err != nil {
		return err
	}
	defer handle.Close()
	loopback, err := handle.LinkByName("lo")
	if err != nil {
		return unavailable("find the loopback link", err)
	}
	if err := handle.LinkSetAlias(loopback, strings.Join(marks, " ")); err != nil {
		return unavailable("mark the namespace", err)
	}
	return handle.LinkSetUp(loopback)
}

func readMarks(namespace *os.File) ([]string, error) {
	handle, err := openHandle(namespace)
	if err != nil {
		return nil, err
	}
	defer handle.Close()
	loopback, err := handle.LinkByName("lo")
	if err != nil {
		return nil, unavailable("find the loopback link", err)
	}
	return strings.Fields(loopback.Attrs().Alias), nil
}

// emptyNamespace removes every link, so that nothing works on even where a process keeps the namespace alive.
func emptyNamespace(namespace *os.File) error {
	handle, err := openHandle(namespace)
	if err != nil {
		return err
	}
	defer handle.Close()
	links, err := listLinks(handle)
	if err != nil {
		return err
	}
	links = slices.DeleteFunc(links, func(link netlink.Link) bool { return link.Attrs().Name == "lo" })
	if err := deleteLinks(namespace, handle, links); err != nil {
		return unavailable("remove links", err)
	}
	return nil
}

// doomed is the group of links that are about to be removed: any number that nobody else uses in a namespace of ours.
const doomed = 0xc1a0

// deleteLinks removes links together: the kernel waits for its readers once for all of them, and not for each, which would take
// some 30 ms a link.
func deleteLinks(namespace *os.File, handle *netlink.Handle, links []netlink.Link) error {
	if len(links) == 0 {
		return nil
	}
	for _, link := range links {
		if err := ignore(handle.LinkSetGroup(link, doomed), unix.ENODEV); err != nil {
			return err
		}
	}
	return netns.Inside(namespace, func() error {
		request := nl.NewNetlinkRequest(unix.RTM_DELLINK, unix.NLM_F_ACK)
		request.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
		request.AddData(nl.NewRtAttr(unix.IFLA_GROUP, nl.Uint32Attr(doomed)))
		_, err := request.Execute(unix.NETLINK_ROUTE, 0)
		return ignore(err, unix.ENODEV)
	})
}

// endNamespace empties the namespace of this name and takes its name away, if it carries the marks.
func endNamespace(name string, marks []string, last func(namespace *os.File) error) error {
	file, err := netns.Open(netns.Path(name))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if errors.Is(err, cluster.ErrConflict) {
		return netns.Remove(name) // a maker died before the namespace was mounted on its name
	}
	if err != nil {
		return err
	}
	defer file.Close()
	have, err := readMarks(file)
	if err != nil {
		return err
	}
	if !slices.Equal(have, marks) {
		return nil // not ours
	}
	if err := errors.Join(last(file), emptyNamespace(file)); err != nil {
		return err
	}
	return netns.Remove(name)
}
