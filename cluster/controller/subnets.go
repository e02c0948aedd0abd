package controller

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/ipam"
	"github.com/ciaocloud/ciao/cluster/store"
)

// maxKey is the highest VXLAN network identifier (RFC 7348: 24 bits).
const maxKey = 1<<24 - 1

func keyClaim(key uint32) string { return "vxlan/" + strconv.FormatUint(uint64(key), 10) }

// newSubnet describes the next subnet of a tenant beside those it has, and claims its VXLAN key. The caller stores it.
func newSubnet(tx store.Tx, tenant cluster.Tenant, own []cluster.Subnet, now time.Time) (cluster.Subnet, error) {
	taken := make([]netip.Prefix, len(own))
	for i, subnet := range own {
		taken[i] = subnet.Prefix
	}
	prefix, ok := ipam.NextPrefix(cluster.TenantRange, tenant.SubnetBits, taken)
	if !ok {
		return cluster.Subnet{}, fmt.Errorf("tenant %s: %w: all of %s is in use", tenant.Name, cluster.ErrNoCapacity, cluster.TenantRange)
	}
	subnet := cluster.Subnet{
		ID: uuid.NewString(), Tenant: tenant.ID, Prefix: prefix, Gateway: ipam.GatewayOf(prefix), Created: now,
	}
	var err error
	subnet.Key, err = claimKey(tx, subnet.ID)
	return subnet, err
}

// claimKey takes a VXLAN key for a subnet. Keys are drawn by lot, so that creates of different tenants do not meet at one counter.
func claimKey(tx store.Tx, subnet string) (uint32, error) {
	const attempts = 32 // with half of all keys taken, one in 4 billion requests fails
	for range attempts {
		lot := uuid.New()
		key := binary.BigEndian.Uint32(lot[:4])%maxKey + 1
		err := claims.Create(tx, claim{Key: keyClaim(key), Owner: subnet})
		if !errors.Is(err, store.ErrExists) {
			return key, err
		}
	}
	return 0, fmt.Errorf("%w: no free VXLAN key was found", cluster.ErrNoCapacity)
}

// range6 is the name of the cluster's IPv6 range.
const range6 = "ipv6"

// ownRange6 is the cluster's IPv6 range: unique local addresses (RFC 4193) with 32 random bits, drawn once. 24 bits are left for the
// subnets' keys, as ADR 9 has it.
func ownRange6(tx store.Tx) (netip.Prefix, error) {
	row, err := ownRanges.Get(tx, range6)
	if !errors.Is(err, store.ErrNotFound) {
		return row.Prefix, err
	}
	lot := uuid.New()
	bytes := [16]byte{0xfd, lot[0], lot[1], lot[2], lot[3]}
	row = rangeRow{Name: range6, Prefix: netip.PrefixFrom(netip.AddrFrom16(bytes), cluster.RangeBits6)}
	return row.Prefix, ownRanges.Create(tx, row)
}

// withIPv6 gives a subnet its IPv6 prefix if it has none.
func withIPv6(within netip.Prefix, subnet cluster.Subnet) cluster.Subnet {
	if !subnet.Prefix6.IsValid() {
		subnet.Prefix6 = cluster.SubnetPrefix6(within, subnet.Key)
		subnet.Gateway6 = ipam.GatewayOf(subnet.Prefix6)
	}
	return subnet
}

// releaseAddress gives an instance's host number back.
func releaseAddress(tx store.Tx, instance cluster.Instance) error {
	subnet, err := subnets.Get(tx, instance.Subnet)
	if err != nil {
		return err
	}
	for _, address := range instance.Addresses {
		if address.Is6() {
			continue // it has the host number of the other
		}
		host, ok := cluster.HostNumber(subnet.Prefix, address)
		if !ok {
			return fmt.Errorf("instance %s: %s is not in %s", instance.ID, address, subnet.Prefix)
		}
		if subnet.Allocated, err = ipam.Release(subnet.Allocated, cluster.AddressRange{First: host, Last: host}); err != nil {
			return err
		}
	}
	return subnets.Put(tx, subnet)
}

// removeSubnet removes a subnet without instances, and frees its key.
func removeSubnet(tx store.Tx, subnet cluster.Subnet) error {
	return errors.Join(releaseExternalIPs(tx, subnet.ID), claims.Delete(tx, keyClaim(subnet.Key)), subnets.Delete(tx, subnet.ID))
}
