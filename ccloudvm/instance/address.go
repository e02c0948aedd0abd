package instance

import (
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/ciaocloud/ciao/ccloudvm"
)

// addressBlock is the /24 of the host's loopback network from which a user's instances get their addresses: 127.HI.LO.0 by the two
// low bytes of the user's id. Ids below 256 (root's, and the system's) would come to lie in 127.0.x.0, where 127.0.0.1 and other
// addresses have meanings already: they get 127.255.LO.0.
func addressBlock(uid int) [3]byte {
	hi, lo := byte(uid>>8), byte(uid)
	if hi == 0 {
		hi = 255
	}
	return [3]byte{127, hi, lo}
}

// chooseAddress is the first address of the user's block that no instance has and on which all ports can be bound now.
func chooseAddress(uid int, taken []netip.Addr, ports []ccloudvm.Port) (netip.Addr, error) {
	block := addressBlock(uid)
	var last error
	for n := 1; n <= 254; n++ {
		addr := netip.AddrFrom4([4]byte{block[0], block[1], block[2], byte(n)})
		if slices.Contains(taken, addr) {
			continue
		}
		if last = bindable(addr, ports); last == nil {
			return addr, nil
		}
	}
	if last == nil {
		last = fmt.Errorf("all 254 addresses of %d.%d.%d.0/24 belong to instances", block[0], block[1], block[2])
	}
	return netip.Addr{}, &ccloudvm.Error{Class: ccloudvm.ErrHost, Text: "no address is free for the instance: " + last.Error(), Cause: last}
}

// bindable tells whether QEMU could listen on the ports.
func bindable(addr netip.Addr, ports []ccloudvm.Port) error {
	for _, p := range ports {
		l, err := net.Listen("tcp4", netip.AddrPortFrom(addr, uint16(p.Host)).String())
		if err != nil {
			return err
		}
		l.Close()
	}
	return nil
}

// checkAddress refuses an address that cannot be bound, with what to do about it.
func checkAddress(addr netip.Addr, ports []ccloudvm.Port) error {
	err := bindable(addr, ports)
	if err == nil {
		return nil
	}
	return &ccloudvm.Error{Class: ccloudvm.ErrHost, Cause: err,
		Text: fmt.Sprintf("a port of the instance cannot be bound on this machine (%v): choose another with --port HOST-GUEST, or another address with --hostip", err)}
}
