// Package ipam is the arithmetic of addresses: which host numbers of a subnet are free, and where a tenant's next subnet goes.
//
// It is pure: a caller hands over what is in use and stores what comes back, in one transaction. Host numbers in use are sorted,
// merged ranges, so that a subnet's row stays small however many instances it has.
//
// What is guaranteed: a number is never handed out twice before it was released; the network's and the broadcast address (host
// numbers all zero and all one, RFC 1122, section 3.2.1.3) and the gateway, host number 1, are never handed out; the lowest free
// numbers go first; no argument is modified.
package ipam

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	"github.com/ciaocloud/ciao/cluster"
)

const (
	// Gateway is the host number of a subnet's gateway, its CNCI.
	Gateway = 1
	// MaxHosts is the most instances of one subnet, however large its prefix: the wanted state of a CNCI is one frame.
	MaxHosts = 4000

	firstHost = 2
)

// GatewayOf is the gateway's address in a prefix.
func GatewayOf(prefix netip.Prefix) netip.Addr { return cluster.HostAddress(prefix, Gateway) }

// lastHost is the highest number that may be handed out.
func lastHost(prefix netip.Prefix) uint32 {
	return min(uint32(1)<<(32-prefix.Bits())-2, firstHost+MaxHosts-1)
}

// Capacity is how many instances fit into an IPv4 prefix of at most 30 bits.
func Capacity(prefix netip.Prefix) int { return int(lastHost(prefix)) - firstHost + 1 }

// Used is how many numbers the ranges hold.
func Used(used []cluster.AddressRange) int {
	n := 0
	for _, r := range used {
		n += r.Len()
	}
	return n
}

// Allocate takes up to n free host numbers of prefix, as many as there are: taken are the new ones in ascending order, after is
// used with them.
func Allocate(prefix netip.Prefix, used []cluster.AddressRange, n int) (taken, after []cluster.AddressRange) {
	next, last := uint32(firstHost), lastHost(prefix)
	take := func(until uint32) {
		if count := min(uint32(n), until-next); count > 0 {
			taken = append(taken, cluster.AddressRange{First: next, Last: next + count - 1})
			n -= int(count)
		}
	}
	for _, r := range used {
		if n == 0 || next > last {
			break
		}
		if r.First > next {
			take(min(r.First, last+1))
		}
		next = max(next, r.Last+1)
	}
	if n > 0 && next <= last {
		take(last + 1)
	}
	return taken, merge(slices.Concat(used, taken))
}

// Release gives host numbers back; an error says that one of them was not in use, and nothing is released.
func Release(used []cluster.AddressRange, released ...cluster.AddressRange) ([]cluster.AddressRange, error) {
	after := slices.Clone(used)
	for _, r := range released {
		i := slices.IndexFunc(after, func(u cluster.AddressRange) bool { return u.First <= r.First && r.Last <= u.Last })
		if i < 0 || r.First > r.Last {
			return nil, fmt.Errorf("release host numbers %d to %d: %w: they are not all in use", r.First, r.Last, cluster.ErrInvalid)
		}
		u := after[i]
		var rest []cluster.AddressRange
		if u.First < r.First {
			rest = append(rest, cluster.AddressRange{First: u.First, Last: r.First - 1})
		}
		if r.Last < u.Last {
			rest = append(rest, cluster.AddressRange{First: r.Last + 1, Last: u.Last})
		}
		after = slices.Replace(after, i, i+1, rest...)
	}
	return after, nil
}

// merge sorts ranges and joins those that meet.
func merge(ranges []cluster.AddressRange) []cluster.AddressRange {
	slices.SortFunc(ranges, func(a, b cluster.AddressRange) int { return int(int64(a.First) - int64(b.First)) })
	var merged []cluster.AddressRange
	for _, r := range ranges {
		if k := len(merged) - 1; k >= 0 && r.First <= merged[k].Last+1 {
			merged[k].Last = max(merged[k].Last, r.Last)
			continue
		}
		merged = append(merged, r)
	}
	return merged
}

// NextPrefix is the lowest prefix of the given length in pool that overlaps none of those taken; false when there is none.
func NextPrefix(pool netip.Prefix, bits int, taken []netip.Prefix) (netip.Prefix, bool) {
	sorted := slices.SortedFunc(slices.Values(taken), func(a, b netip.Prefix) int { return a.Addr().Compare(b.Addr()) })
	size := uint64(1) << (32 - bits)
	start, end := bounds(pool)
	for candidate := start; candidate+size <= end; {
		blocked := false
		for len(sorted) > 0 {
			first, after := bounds(sorted[0])
			if first >= candidate+size {
				break
			}
			if after > candidate {
				blocked = true
				candidate = (after + size - 1) / size * size
				break
			}
			sorted = sorted[1:]
		}
		if !blocked {
			address := netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, uint32(candidate))))
			return netip.PrefixFrom(address, bits), true
		}
	}
	return netip.Prefix{}, false
}

// bounds are the first address of a prefix and the one after its last, as numbers.
func bounds(prefix netip.Prefix) (first, after uint64) {
	base := prefix.Masked().Addr().As4()
	first = uint64(binary.BigEndian.Uint32(base[:]))
	return first, first + 1<<(32-prefix.Bits())
}
