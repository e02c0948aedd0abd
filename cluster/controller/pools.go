package controller

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/store"
)

// Bounds of a pool.
const (
	maxPoolPrefixes  = 64
	maxPoolAddresses = 1 << 16
)

func poolClaim(name string) string { return "pool/" + name }

// poolsClaim is written by every transaction that gives a pool addresses, which puts them one after the other: no two may give the
// same.
const poolsClaim = "pools"

// CreatePool adds a pool of addresses of the underlay. ErrConflict: some are in another pool, or in use by the cluster itself.
func (c *Controller) CreatePool(ctx context.Context, name string, prefixes []netip.Prefix) (cluster.Pool, error) {
	pool := cluster.Pool{ID: uuid.NewString(), Name: name, Created: time.Now().UTC()}
	if !cluster.ValidName(name) {
		return pool, fmt.Errorf("pool %q: %w: its name must be 1 to 63 lower-case letters, digits and hyphens", name, cluster.ErrInvalid)
	}
	_, err := c.update(ctx, func(tx store.Tx) (err error) {
		if err := claimName(tx, poolClaim(name), pool.ID, "pool", name); err != nil {
			return err
		}
		if pool.Prefixes, err = grown(tx, pool.ID, nil, prefixes); err != nil {
			return fmt.Errorf("pool %q: %w", name, err)
		}
		return pools.Create(tx, pool)
	})
	return pool, err
}

// UpdatePool gives a pool more addresses, and takes ranges or addresses out of it, as they were put in. ErrConflict: a tenant has one of
// those.
func (c *Controller) UpdatePool(ctx context.Context, ref string, add, remove []netip.Prefix) (pool cluster.Pool, err error) {
	_, err = c.update(ctx, func(tx store.Tx) error {
		if pool, err = findPool(tx, ref); err != nil {
			return err
		}
		if pool.Prefixes, err = repooled(tx, pool, add, remove); err != nil {
			return fmt.Errorf("pool %q: %w", ref, err)
		}
		return pools.Put(tx, pool)
	})
	return pool, err
}

func repooled(tx store.Tx, pool cluster.Pool, add, remove []netip.Prefix) (after []netip.Prefix, err error) {
	if len(add)+len(remove) == 0 {
		return nil, fmt.Errorf("%w: there is nothing to add or remove", cluster.ErrInvalid)
	}
	if after = pool.Prefixes; len(add) > 0 {
		if after, err = grown(tx, pool.ID, after, add); err != nil {
			return nil, err
		}
	}
	return shrunk(tx, pool.ID, after, remove)
}

// shrunk are a pool's ranges without some of them, none of which a tenant has an address of.
func shrunk(tx store.Tx, pool string, have, less []netip.Prefix) ([]netip.Prefix, error) {
	after := slices.Clone(have)
	for _, prefix := range less {
		at := slices.Index(after, prefix)
		if at < 0 {
			return nil, fmt.Errorf("%w: %s is not one of its ranges, which are %s", cluster.ErrInvalid, cluster.PrefixText(prefix), textOf(have))
		}
		for e := range externalIPs.By(tx, byPool, pool) {
			if prefix.Contains(e.Address) {
				return nil, fmt.Errorf("%w: tenant %s has %s of %s; it must be deleted first", cluster.ErrConflict, e.Tenant, e.Address, cluster.PrefixText(prefix))
			}
		}
		after = slices.Delete(after, at, at+1)
	}
	return after, nil
}

// DeletePool removes a pool that no tenant has an address of (else ErrConflict).
func (c *Controller) DeletePool(ctx context.Context, ref string) error {
	_, err := c.update(ctx, func(tx store.Tx) error {
		pool, err := findPool(tx, ref)
		if err != nil {
			return err
		}
		if pool.Lent > 0 {
			return fmt.Errorf("pool %q: %w: tenants have %d of its addresses; they must be deleted first", ref, cluster.ErrConflict, pool.Lent)
		}
		return errors.Join(claims.Delete(tx, poolClaim(pool.Name)), pools.Delete(tx, pool.ID))
	})
	return err
}

// Pools lists the pools, in order of ids.
func (c *Controller) Pools(ctx context.Context) (list []cluster.Pool, err error) {
	err = c.view(ctx, func(r store.Reader) error {
		list = slices.Collect(pools.All(r))
		return nil
	})
	return list, err
}

// Pool looks a pool up by id or name.
func (c *Controller) Pool(ctx context.Context, ref string) (pool cluster.Pool, err error) {
	err = c.view(ctx, func(r store.Reader) error {
		pool, err = findPool(r, ref)
		return err
	})
	return pool, err
}

// findPool reads the pool's row, which protects it in a transaction.
func findPool(r store.Reader, ref string) (cluster.Pool, error) {
	id := ref
	if !cluster.ValidID(ref) {
		claimed, err := claims.Get(r, poolClaim(ref))
		if err != nil {
			return cluster.Pool{}, noSuch("pool", ref)
		}
		id = claimed.Owner
	}
	pool, err := pools.Get(r, id)
	if err != nil {
		return cluster.Pool{}, noSuch("pool", ref)
	}
	return pool, nil
}

// grown are a pool's ranges with more of them.
func grown(tx store.Tx, pool string, have, more []netip.Prefix) ([]netip.Prefix, error) {
	after := slices.Clone(have)
	for _, prefix := range more {
		if err := lendable(tx, prefix); err != nil {
			return nil, err
		}
		if len(after) > 0 && after[0].Addr().Is4() != prefix.Addr().Is4() {
			return nil, fmt.Errorf("%w: %s and %s are of two families, of which a pool has one; make a pool of each", cluster.ErrInvalid, cluster.PrefixText(after[0]), cluster.PrefixText(prefix))
		}
		for _, other := range after {
			if other.Overlaps(prefix) {
				return nil, fmt.Errorf("%w: %s overlaps its %s; name each address once", cluster.ErrInvalid, cluster.PrefixText(prefix), cluster.PrefixText(other))
			}
		}
		for other := range pools.All(tx) {
			if i := slices.IndexFunc(other.Prefixes, prefix.Overlaps); i >= 0 && other.ID != pool {
				return nil, fmt.Errorf("%w: %s overlaps %s of pool %s; an address can be in one pool only", cluster.ErrConflict, cluster.PrefixText(prefix), cluster.PrefixText(other.Prefixes[i]), other.Name)
			}
		}
		after = append(after, prefix)
	}
	slices.SortFunc(after, netip.Prefix.Compare)
	size := cluster.Pool{Prefixes: after}.Size()
	switch {
	case len(more) == 0:
		return nil, fmt.Errorf("%w: it names no addresses; give a range such as 198.51.100.16/28, or an address", cluster.ErrInvalid)
	case len(after) > maxPoolPrefixes || size > maxPoolAddresses:
		return nil, fmt.Errorf("%w: a pool has at most %d ranges and %d addresses; make several", cluster.ErrTooLarge, maxPoolPrefixes, maxPoolAddresses)
	}
	return after, claims.Put(tx, claim{Key: poolsClaim, Owner: pool})
}

// notLendable are ranges that no external address can be of: tenants' own, and what is not routed (RFC 6890).
var notLendable = []netip.Prefix{
	cluster.TenantRange, netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("169.254.0.0/16"),
	netip.MustParsePrefix("224.0.0.0/4"), netip.MustParsePrefix("240.0.0.0/4"),
	netip.MustParsePrefix("::/8"), netip.MustParsePrefix("64:ff9b::/96"), netip.MustParsePrefix("64:ff9b:1::/48"), netip.MustParsePrefix("2002::/16"),
	netip.MustParsePrefix("100::/64"), netip.MustParsePrefix("fe80::/10"), netip.MustParsePrefix("fec0::/10"), netip.MustParsePrefix("ff00::/8"),
}

// leastLent6 is the length of the largest range of IPv6 addresses: it has as many as one of IPv4 may have.
const leastLent6 = 112

// lendable refuses ranges of which addresses cannot be lent, as far as the cluster knows.
func lendable(r store.Reader, prefix netip.Prefix) error {
	address := prefix.Addr()
	if !prefix.IsValid() || address.Is4In6() || address.Is4() && prefix.Bits() < 16 || address.Is6() && prefix.Bits() < leastLent6 {
		return fmt.Errorf("%w: %s is neither a range of IPv4 addresses from /16 to /32 nor one of IPv6 addresses from /%d to /128", cluster.ErrInvalid, cluster.PrefixText(prefix), leastLent6)
	}
	if prefix != prefix.Masked() {
		return fmt.Errorf("%w: %s is not the first address of its range; did you mean %s?", cluster.ErrInvalid, prefix, prefix.Masked())
	}
	if i := slices.IndexFunc(notLendable, prefix.Overlaps); i >= 0 {
		return fmt.Errorf("%w: %s overlaps %s, which is never an external address's range", cluster.ErrInvalid, cluster.PrefixText(prefix), notLendable[i])
	}
	if own, err := ownRanges.Get(r, range6); err == nil && own.Prefix.Overlaps(prefix) {
		return fmt.Errorf("%w: %s overlaps %s, of which tenants' own addresses are", cluster.ErrInvalid, cluster.PrefixText(prefix), own.Prefix)
	}
	for address, whose := range ownAddresses(r) {
		if prefix.Contains(address) {
			return fmt.Errorf("%w: %s is the address of %s on the underlay; a pool must not share addresses with nodes, nor with the underlay's DHCP server", cluster.ErrConflict, address, whose)
		}
	}
	return nil
}

// ownAddresses are the cluster's own addresses on the underlay, and whose they are.
func ownAddresses(r store.Reader) map[netip.Addr]string {
	own := map[netip.Addr]string{}
	for n := range nodes.All(r) {
		for _, address := range n.Underlay {
			own[address] = "node " + nodeName(n)
		}
	}
	for s := range subnets.All(r) {
		if cnci, ok := cnciOf(r, s); ok && cnci.Underlay.IsValid() {
			own[cnci.Underlay] = "the CNCI of a subnet"
		}
	}
	return own
}

func textOf(prefixes []netip.Prefix) string {
	texts := make([]string, len(prefixes))
	for i, prefix := range prefixes {
		texts[i] = cluster.PrefixText(prefix)
	}
	return strings.Join(texts, ", ")
}
