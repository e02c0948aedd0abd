package payload

import (
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/ciaocloud/ciao/cluster"
)

// Neighbours is a list of instances' locations. In a body it is one byte string: of each the six bytes of its MAC, then its node's address
// with the length before it. A list element by element took ten times as long to read.
type Neighbours []Neighbour

// Neighbour is where the frames for an instance of the subnet go.
type Neighbour struct {
	MAC  string     // such as 02:00:ac:10:00:02
	Node netip.Addr // its node on the underlay
}

const macLength = 6

// MarshalBinary implements encoding.BinaryMarshaler.
func (l Neighbours) MarshalBinary() (data []byte, err error) {
	data = make([]byte, 0, (macLength+5)*len(l))
	for _, neighbour := range l {
		mac, err := net.ParseMAC(neighbour.MAC)
		if err != nil || len(mac) != macLength {
			return nil, fmt.Errorf("%w: %q is no MAC address of six bytes", cluster.ErrInvalid, neighbour.MAC)
		}
		if data, err = appendAddress(append(data, mac...), neighbour.Node); err != nil {
			return nil, err
		}
	}
	return data, nil
}

// UnmarshalBinary implements encoding.BinaryUnmarshaler.
func (l *Neighbours) UnmarshalBinary(data []byte) error {
	list := slices.Grow(Neighbours(nil), min(len(data)/(macLength+5), maxElements))
	for len(data) > 0 {
		if len(data) < macLength {
			return fmt.Errorf("%w: a neighbour is cut off", cluster.ErrInvalid)
		}
		address, rest, err := cutAddress(data[macLength:])
		if err != nil {
			return err
		}
		if len(list) == maxElements {
			return tooMany()
		}
		list, data = append(list, Neighbour{net.HardwareAddr(data[:macLength]).String(), address}), rest
	}
	*l = list
	return nil
}

// appendAddress writes an address without a zone, which has no meaning on another machine.
func appendAddress(data []byte, address netip.Addr) ([]byte, error) {
	if !address.IsValid() {
		return nil, fmt.Errorf("%w: a location without an address", cluster.ErrInvalid)
	}
	return address.WithZone("").AppendBinary(append(data, byte(address.BitLen()/8)))
}

func cutAddress(data []byte) (address netip.Addr, rest []byte, err error) {
	if len(data) > 0 && len(data) > int(data[0]) {
		end := 1 + int(data[0])
		var valid bool
		if address, valid = netip.AddrFromSlice(data[1:end]); valid {
			return address, data[end:], nil
		}
	}
	return address, nil, fmt.Errorf("%w: a list of neighbours is cut off, or has an address that is of neither family", cluster.ErrInvalid)
}

func tooMany() error {
	return fmt.Errorf("%w: a list of more than %d", cluster.ErrInvalid, maxElements)
}
