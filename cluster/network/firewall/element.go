package firewall

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// keyType finds the types of a set's key by their names, joined by " . ".
func keyType(text string) (nftables.SetDatatype, error) {
	known := []nftables.SetDatatype{nftables.TypeIFName, nftables.TypeEtherAddr, nftables.TypeIPAddr, nftables.TypeIP6Addr}
	var types []nftables.SetDatatype
	for name := range strings.SplitSeq(text, " . ") {
		found := false
		for _, candidate := range known {
			if candidate.Name == name {
				types, found = append(types, candidate), true
			}
		}
		if !found {
			return nftables.SetDatatype{}, fmt.Errorf("unknown type %q of a set", name)
		}
	}
	if len(types) == 1 {
		return types[0], nil
	}
	return nftables.ConcatSetType(types...)
}

// encode turns an element as nft writes it into a key; each part is padded to a multiple of four bytes.
func encode(kind, element string) ([]byte, error) {
	names, values := strings.Split(kind, " . "), strings.Split(element, " . ")
	if len(names) != len(values) {
		return nil, fmt.Errorf("element %q is not of type %q", element, kind)
	}
	parsers := map[string]func(string) ([]byte, error){"ifname": parseName, "ether_addr": parseMAC, "ipv4_addr": parseAddress, "ipv6_addr": parseAddress6}
	var key []byte
	for i, name := range names {
		part, err := parsers[name](values[i])
		if err != nil {
			return nil, fmt.Errorf("element %q: %w", element, err)
		}
		key = append(key, part...)
		for len(key)%4 != 0 {
			key = append(key, 0)
		}
	}
	return key, nil
}

// decode is the inverse of encode; what it cannot read is shown as it is, so that it is seen as a stranger and removed.
func decode(kind string, key []byte) string {
	var parts []string
	take := func(n int) []byte {
		n = min(n, len(key))
		part := key[:n]
		key = key[n:]
		return part
	}
	for name := range strings.SplitSeq(kind, " . ") {
		switch name {
		case "ifname":
			parts = append(parts, strconv.Quote(unix.ByteSliceToString(take(unix.IFNAMSIZ))))
		case "ether_addr":
			parts = append(parts, net.HardwareAddr(take(6)).String())
			take(2)
		case "ipv4_addr":
			address, _ := netip.AddrFromSlice(take(4))
			parts = append(parts, address.String())
		case "ipv6_addr":
			address, _ := netip.AddrFromSlice(take(16))
			parts = append(parts, address.String())
		}
	}
	return strings.Join(parts, " . ")
}
