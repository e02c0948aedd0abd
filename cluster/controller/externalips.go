package controller

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/quota"
	"github.com/ciaocloud/ciao/cluster/store"
)

// ExternalIPRequest asks for an address of a pool.
type ExternalIPRequest struct {
	Pool     string // name or id; empty: the only one there is, or the only one of IPv4
	Instance string // name or id of what to attach it to; empty: nothing
}

// ExternalIP is an external IP as shown to people.
type ExternalIP struct {
	cluster.ExternalIP
	PoolName     string
	InstanceName string     // empty when it is attached to nothing
	Internal     netip.Addr // that instance's address in its subnet; invalid when it is attached to nothing
}

// CreateExternalIP gives a tenant the lowest free address of a pool, and attaches it if the request says to what. Errors: ErrOverQuota,
// ErrNoCapacity (the pool is used up), ErrNotFound; after an error nothing remains.
func (c *Controller) CreateExternalIP(ctx context.Context, tenantID string, request ExternalIPRequest) (created ExternalIP, err error) {
	if request.Instance != "" {
		if err := c.unfoldFor(ctx, tenantID, request.Instance); err != nil {
			return ExternalIP{}, err
		}
	}
	_, err = c.update(ctx, func(tx store.Tx) error {
		pool, err := choosePool(tx, request.Pool)
		if err != nil {
			return err
		}
		row := cluster.ExternalIP{Pool: pool.ID, Tenant: tenantID, State: cluster.ExternalReserved, Created: time.Now().UTC()}
		if row.Address, err = freeAddress(tx, pool); err != nil {
			return err
		}
		if err := reserveExternalIP(tx, tenantID); err != nil {
			return err
		}
		pool.Lent++
		if request.Instance != "" {
			if err := attach(tx, tenantID, request.Instance, &row); err != nil {
				return err
			}
		}
		created = describeExternalIP(tx, row)
		return errors.Join(externalIPs.Create(tx, row), pools.Put(tx, pool))
	})
	if errors.Is(err, cluster.ErrOverQuota) {
		c.noteRefusal(ctx, tenantID, err)
	}
	return created, err
}

// choosePool finds a pool, or the only one there is, of IPv4 if there are some.
func choosePool(r store.Reader, ref string) (cluster.Pool, error) {
	if ref != "" {
		return findPool(r, ref)
	}
	var names, names4 []string
	for pool := range pools.All(r) {
		names = append(names, pool.Name)
		if slices.ContainsFunc(pool.Prefixes, func(p netip.Prefix) bool { return p.Addr().Is4() }) {
			names4 = append(names4, pool.Name)
		}
	}
	switch {
	case len(names) == 0:
		return cluster.Pool{}, fmt.Errorf("%w: there is no pool of external IPs; an operator makes one (`ciao create pool`)", cluster.ErrNotFound)
	case len(names) == 1:
		return findPool(r, names[0])
	case len(names4) == 1:
		return findPool(r, names4[0])
	}
	slices.Sort(names)
	return cluster.Pool{}, fmt.Errorf("%w: say of which pool; there are %s", cluster.ErrInvalid, strings.Join(names, ", "))
}

// freeAddress is the lowest address of a pool that neither a tenant nor the cluster itself has.
func freeAddress(r store.Reader, pool cluster.Pool) (netip.Addr, error) {
	own := ownAddresses(r)
	for address := range pool.Addresses() {
		if own[address] == "" && !externalIPs.Has(r, address.String()) {
			return address, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("pool %q: %w: all of its %d addresses are taken; delete an external IP, or ask an operator for more", pool.Name, cluster.ErrNoCapacity, pool.Size())
}

func reserveExternalIP(tx store.Tx, tenantID string) error {
	tenant, err := findTenant(tx, tenantID, tenantID)
	if err != nil {
		return err
	}
	usage, err := usages.Get(tx, tenantID)
	if err != nil {
		return noSuch("tenant", tenantID)
	}
	if usage.Usage, err = quota.Add(tenant.Quota, usage.Usage, cluster.Usage{ExternalIPs: 1}); err != nil {
		return fmt.Errorf("tenant %s: %w", tenant.Name, err)
	}
	return usages.Put(tx, usage)
}

// attach has a reserved external IP mapped to an instance. It writes the tenant's usage row, as every transaction that removes an
// instance does: what is being removed gets no external IP any more.
func attach(tx store.Tx, scope, ref string, row *cluster.ExternalIP) error {
	instance, _, err := findInstance(tx, scope, ref)
	if err != nil {
		return err
	}
	usage, err := usages.Get(tx, row.Tenant)
	switch {
	case err != nil:
		return err
	case instance.Tenant != row.Tenant:
		return fmt.Errorf("instance %q: %w: it is another tenant's than %s", ref, cluster.ErrConflict, row.Address)
	case instance.Desired == cluster.WantDeleted:
		return fmt.Errorf("instance %q: %w: it is being deleted", ref, cluster.ErrConflict)
	case !addressFor(row.Address, instance.Addresses).IsValid():
		return fmt.Errorf("instance %q: %w: it has no IPv6 address, to which %s could lead; attach one of IPv4", ref, cluster.ErrConflict, row.Address)
	case instance.Retired:
		return fmt.Errorf("instance %q: %w: it is about to be deleted; attach it to %s, which has taken over", ref, cluster.ErrConflict, instanceName(tx, instance.Replacement))
	}
	if len(externalAddresses(tx, instance.ID)) >= cluster.MaxExternalIPsPerInstance {
		return fmt.Errorf("instance %q: %w: it has %d external IPs, and no instance may have more; detach one, or attach this one to another instance",
			ref, cluster.ErrTooLarge, cluster.MaxExternalIPsPerInstance)
	}
	row.Instance, row.Subnet, row.State, row.Reason = instance.ID, instance.Subnet, cluster.ExternalMapping, ""
	return usages.Put(tx, usage)
}

// AttachExternalIP wants an external IP mapped to an instance. ErrConflict: it is attached to something, or still being detached.
func (c *Controller) AttachExternalIP(ctx context.Context, scope, ref, instance string) (ExternalIP, error) {
	if err := c.unfoldFor(ctx, scope, instance); err != nil {
		return ExternalIP{}, err
	}
	return c.changeExternalIP(ctx, scope, ref, func(tx store.Tx, row *cluster.ExternalIP) error {
		switch {
		case row.Attached():
			return fmt.Errorf("%w: it is attached to instance %s; detach it first", cluster.ErrConflict, instanceName(tx, row.Instance))
		case row.State == cluster.ExternalUnmapping:
			return fmt.Errorf("%w: it is still being detached; try again in a moment", cluster.ErrConflict)
		}
		return attach(tx, scope, instance, row)
	})
}

// DetachExternalIP wants an external IP mapped to nothing; its tenant keeps it. ErrConflict: it is attached to nothing.
func (c *Controller) DetachExternalIP(ctx context.Context, scope, ref string) (ExternalIP, error) {
	return c.changeExternalIP(ctx, scope, ref, func(tx store.Tx, row *cluster.ExternalIP) error {
		if row.State == cluster.ExternalReserved {
			return fmt.Errorf("%w: it is attached to nothing", cluster.ErrConflict)
		}
		if passing(tx, *row) {
			row.Instance = "" // it goes on to nobody
		}
		row.State, row.Reason = cluster.ExternalUnmapping, ""
		return nil
	})
}

// DeleteExternalIP gives an external IP back to its pool. ErrConflict: it is attached.
func (c *Controller) DeleteExternalIP(ctx context.Context, scope, ref string) error {
	_, err := c.update(ctx, func(tx store.Tx) error {
		row, err := findExternalIP(tx, scope, ref)
		if err != nil {
			return err
		}
		switch {
		case row.Attached():
			return fmt.Errorf("external IP %s: %w: it is attached to instance %s; detach it first", ref, cluster.ErrConflict, instanceName(tx, row.Instance))
		case row.State == cluster.ExternalUnmapping:
			return fmt.Errorf("external IP %s: %w: it is still being detached; try again in a moment", ref, cluster.ErrConflict)
		}
		usage, err := usages.Get(tx, row.Tenant)
		if err != nil {
			return err
		}
		pool, err := pools.Get(tx, row.Pool)
		if err != nil {
			return err
		}
		pool.Lent--
		usage.Usage = quota.Sub(usage.Usage, cluster.Usage{ExternalIPs: 1})
		return errors.Join(usages.Put(tx, usage), pools.Put(tx, pool), externalIPs.Delete(tx, row.Address.String()))
	})
	return err
}

// ExternalIPs lists the external IPs of a scope, in order of addresses as text.
func (c *Controller) ExternalIPs(ctx context.Context, scope string) (list []ExternalIP, err error) {
	err = c.view(ctx, func(r store.Reader) error {
		all := externalIPs.All(r)
		if scope != Operator {
			all = externalIPs.By(r, byTenant, scope)
		}
		for row := range all {
			list = append(list, describeExternalIP(r, row))
		}
		return nil
	})
	return list, err
}

// ExternalIP looks an external IP up by its address.
func (c *Controller) ExternalIP(ctx context.Context, scope, ref string) (found ExternalIP, err error) {
	err = c.view(ctx, func(r store.Reader) error {
		row, err := findExternalIP(r, scope, ref)
		if err == nil {
			found = describeExternalIP(r, row)
		}
		return err
	})
	return found, err
}

// ExternalAddresses are the external IPs that are attached to an instance. It reads the store's memory, which waits for nothing.
func (c *Controller) ExternalAddresses(instance string) (addresses []netip.Addr) {
	err := c.view(context.Background(), func(r store.Reader) error {
		addresses = externalAddresses(r, instance)
		return nil
	})
	if err != nil {
		return nil // the store has closed
	}
	return addresses
}

func externalAddresses(r store.Reader, instance string) (addresses []netip.Addr) {
	for e := range externalIPs.By(r, byInstance, instance) {
		if e.Attached() {
			addresses = append(addresses, e.Address)
		}
	}
	slices.SortFunc(addresses, netip.Addr.Compare)
	return addresses
}

func findExternalIP(r store.Reader, scope, ref string) (cluster.ExternalIP, error) {
	address, err := netip.ParseAddr(ref)
	if err != nil {
		return cluster.ExternalIP{}, fmt.Errorf("external IP %q: %w: name it by its address", ref, cluster.ErrInvalid)
	}
	row, err := externalIPs.Get(r, address.String())
	if err != nil || scope != Operator && row.Tenant != scope {
		return cluster.ExternalIP{}, noSuch("external IP", ref)
	}
	return row, nil
}

func (c *Controller) changeExternalIP(ctx context.Context, scope, ref string, change func(store.Tx, *cluster.ExternalIP) error) (changed ExternalIP, err error) {
	_, err = c.update(ctx, func(tx store.Tx) error {
		row, err := findExternalIP(tx, scope, ref)
		if err != nil {
			return err
		}
		if err := change(tx, &row); err != nil {
			return fmt.Errorf("external IP %s: %w", ref, err)
		}
		changed = describeExternalIP(tx, row)
		return externalIPs.Put(tx, row)
	})
	return changed, err
}

func describeExternalIP(r store.Reader, row cluster.ExternalIP) ExternalIP {
	described := ExternalIP{ExternalIP: row}
	if pool, err := pools.Get(r, row.Pool); err == nil {
		described.PoolName = pool.Name
	}
	if instance, err := instances.Get(r, row.Instance); err == nil && row.Instance != "" {
		described.InstanceName = instance.Name
		described.Internal = addressFor(row.Address, instance.Addresses)
	}
	return described
}

// internalAddress is the IPv4 address of an instance.
func internalAddress(addresses []netip.Addr) netip.Addr {
	return addressFor(netip.IPv4Unspecified(), addresses)
}

// addressFor is the address of an instance that an external address is translated to: that of its family; invalid without one.
func addressFor(external netip.Addr, addresses []netip.Addr) netip.Addr {
	if i := slices.IndexFunc(addresses, func(a netip.Addr) bool { return a.Is4() == external.Is4() }); i >= 0 {
		return addresses[i]
	}
	return netip.Addr{}
}

func instanceName(r store.Reader, id string) string {
	if instance, err := instances.Get(r, id); err == nil {
		return instance.Name
	}
	return id
}

// detachAll wants the external IPs of an instance that is being removed mapped to nothing.
func detachAll(tx store.Tx, instance string) error {
	for row := range externalIPs.By(tx, byInstance, instance) {
		if !row.Attached() {
			continue
		}
		row.State, row.Reason = cluster.ExternalUnmapping, ""
		if err := externalIPs.Put(tx, row); err != nil {
			return err
		}
	}
	return nil
}

// releaseExternalIPs ends what was being detached in a subnet that is being removed: it has no CNCI any more that could hold it.
func releaseExternalIPs(tx store.Tx, subnet string) error {
	for row := range externalIPs.By(tx, bySubnet, subnet) {
		if err := settleExternalIP(tx, row, cluster.ExternalReserved, ""); err != nil {
			return err
		}
	}
	return nil
}

func unmapped(row cluster.ExternalIP) cluster.ExternalIP {
	row.Instance, row.Subnet, row.State, row.Reason = "", "", cluster.ExternalReserved, ""
	return row
}
