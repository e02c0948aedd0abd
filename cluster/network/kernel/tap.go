package kernel

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/network/netns"
)

// tunDevice is where taps are opened (tuntap(4)).
const tunDevice = "/dev/net/tun"

// OpenTap returns a descriptor of a port of kind tap, which Apply must have made; whoever reads from it is the virtual machine. Packets
// have a header by which checksums and segmentation are left to the machine's device (IFF_VNET_HDR).
func (n *Node) OpenTap(_ context.Context, name string) (*os.File, error) {
	namespace, err := netns.Open(n.Namespace())
	if err != nil {
		return nil, fmt.Errorf("%w: open the tap %s: %w", cluster.ErrUnavailable, name, err)
	}
	defer namespace.Close()
	var tap *os.File
	err = netns.Inside(namespace, func() error {
		tap, err = openTap(name)
		return err
	})
	return tap, err
}

func openTap(name string) (*os.File, error) {
	fd, err := unix.Open(tunDevice, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: this node has no %s, by which virtual machines reach their network; load the kernel module tun there", cluster.ErrUnavailable, tunDevice)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: open %s: %w", cluster.ErrUnavailable, tunDevice, err)
	}
	tap := os.NewFile(uintptr(fd), name)
	request, err := unix.NewIfreq(name)
	if err == nil {
		request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%w: take the tap %s: %w", cluster.ErrUnavailable, name, err), tap.Close())
	}
	return tap, nil
}
