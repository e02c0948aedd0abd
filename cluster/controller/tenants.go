package controller

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/store"
)

// CreateTenant adds a tenant. ErrExists: the id or the name is taken.
func (c *Controller) CreateTenant(ctx context.Context, request TenantRequest) (cluster.Tenant, error) {
	tenant := cluster.Tenant{
		ID: request.ID, Name: request.Name, SubnetBits: request.SubnetBits, Permissions: request.Permissions,
		Quota: cluster.NoQuota(), Created: time.Now().UTC(),
	}
	if tenant.ID == "" {
		tenant.ID = uuid.NewString()
	}
	if tenant.SubnetBits == 0 {
		tenant.SubnetBits = cluster.DefaultSubnetBits
	}
	if request.Quota != nil {
		tenant.Quota = *request.Quota
	}
	if err := validateTenant(tenant); err != nil {
		return cluster.Tenant{}, err
	}
	_, err := c.update(ctx, func(tx store.Tx) error {
		if tenants.Has(tx, tenant.ID) {
			return fmt.Errorf("tenant %s: %w", tenant.ID, cluster.ErrExists)
		}
		if err := claimName(tx, tenantClaim(tenant.Name), tenant.ID, "tenant", tenant.Name); err != nil {
			return err
		}
		return errors.Join(tenants.Put(tx, tenant), usages.Put(tx, usageRow{Tenant: tenant.ID}))
	})
	if err != nil {
		return cluster.Tenant{}, err
	}
	return tenant, nil
}

func validateTenant(tenant cluster.Tenant) error {
	var problems cluster.Problems
	if !cluster.ValidID(tenant.ID) {
		problems.Add("id", "%q is not a UUID in lower case", tenant.ID)
	}
	if !cluster.ValidName(tenant.Name) {
		problems.Add("name", "%q must be 1 to 63 lower-case letters, digits and hyphens, with no hyphen at either end", tenant.Name)
	}
	if tenant.SubnetBits < cluster.MinSubnetBits || tenant.SubnetBits > cluster.MaxSubnetBits {
		problems.Add("subnet_bits", "must be from %d to %d", cluster.MinSubnetBits, cluster.MaxSubnetBits)
	}
	validateQuota(tenant.Quota, &problems)
	return problems.Err()
}

// claimName takes a name for owner.
func claimName(tx store.Tx, key, owner, what, name string) error {
	err := claims.Create(tx, claim{Key: key, Owner: owner})
	if errors.Is(err, store.ErrExists) {
		return fmt.Errorf("%s name %q: %w: choose another", what, name, cluster.ErrExists)
	}
	return err
}

// Tenants lists tenants; a tenant sees itself.
func (c *Controller) Tenants(ctx context.Context, scope string, p Page) (list []cluster.Tenant, next string, err error) {
	err = c.view(ctx, func(r store.Reader) error {
		if scope != Operator {
			tenant, err := findTenant(r, scope, scope)
			list = []cluster.Tenant{tenant}
			return err
		}
		list, next = Paged(slices.Collect(tenants.All(r)), p, func(t cluster.Tenant) string { return t.ID })
		return nil
	})
	return list, next, err
}

// Tenant looks a tenant up by id or name; the revision is for an ETag.
func (c *Controller) Tenant(ctx context.Context, scope, ref string) (tenant cluster.Tenant, revision store.Revision, err error) {
	err = c.view(ctx, func(r store.Reader) error {
		tenant, err = findTenant(r, scope, ref)
		revision = tenants.Revision(r, tenant.ID)
		return err
	})
	return tenant, revision, err
}

func findTenant(r store.Reader, scope, ref string) (cluster.Tenant, error) {
	id := ref
	if !cluster.ValidID(ref) {
		for tenant := range tenants.By(r, byName, ref) {
			id = tenant.ID
		}
	}
	if scope != Operator && scope != id {
		return cluster.Tenant{}, noSuch("tenant", ref)
	}
	tenant, err := tenants.Get(r, id)
	if err != nil {
		return cluster.Tenant{}, noSuch("tenant", ref)
	}
	return tenant, nil
}

// UpdateTenant changes a tenant.
func (c *Controller) UpdateTenant(ctx context.Context, ref string, update TenantUpdate, match store.Revision) (cluster.Tenant, store.Revision, error) {
	return c.changeTenant(ctx, ref, match, func(tx store.Tx, tenant *cluster.Tenant) error {
		if update.SubnetBits != nil {
			tenant.SubnetBits = *update.SubnetBits
		}
		if update.Permissions != nil {
			tenant.Permissions = *update.Permissions
		}
		if update.Name == nil || *update.Name == tenant.Name {
			return nil
		}
		if err := claims.Delete(tx, tenantClaim(tenant.Name)); err != nil {
			return err
		}
		tenant.Name = *update.Name
		return claimName(tx, tenantClaim(tenant.Name), tenant.ID, "tenant", tenant.Name)
	})
}

func (c *Controller) changeTenant(ctx context.Context, ref string, match store.Revision, change func(store.Tx, *cluster.Tenant) error) (tenant cluster.Tenant, revision store.Revision, err error) {
	revision, err = c.update(ctx, func(tx store.Tx) error {
		found, err := findTenant(tx, Operator, ref)
		if err != nil {
			return err
		}
		if err := checkMatch(tenants.Revision(tx, found.ID), match); err != nil {
			return fmt.Errorf("tenant %q: %w", ref, err)
		}
		if err := change(tx, &found); err != nil {
			return err
		}
		if err := validateTenant(found); err != nil {
			return err
		}
		tenant = found
		return tenants.Put(tx, found)
	})
	return tenant, revision, err
}

// workloadsPerTransaction leaves room for each workload's claim.
const workloadsPerTransaction = 50

// DeleteTenant removes a tenant that has neither instances nor volumes nor external IPs (else ErrConflict), with its workloads, images and SSH keys. Its subnets and CNCIs follow.
func (c *Controller) DeleteTenant(ctx context.Context, ref string) error {
	for {
		more := false
		_, err := c.update(ctx, func(tx store.Tx) error {
			tenant, err := findTenant(tx, Operator, ref)
			if err != nil {
				return err
			}
			more, err = deleteTenant(tx, tenant)
			return err
		})
		if err != nil {
			return err
		}
		if !more {
			break
		}
	}
	if c.blobs == nil {
		return nil
	}
	return c.sweepImages(ctx)
}

// deleteTenant removes as much of a tenant as one transaction holds, and says whether there is more.
func deleteTenant(tx store.Tx, tenant cluster.Tenant) (more bool, err error) {
	usage, err := usages.Get(tx, tenant.ID)
	if err != nil {
		return false, err
	}
	if n := usage.Usage.Instances; n > 0 {
		return false, fmt.Errorf("tenant %s: %w: it has %d instances; delete them first and wait until they are gone", tenant.Name, cluster.ErrConflict, n)
	}
	if n := usage.Usage.Volumes; n > 0 {
		return false, fmt.Errorf("tenant %s: %w: it has %d volumes; delete them first and wait until they are gone", tenant.Name, cluster.ErrConflict, n)
	}
	if n := usage.Usage.ExternalIPs; n > 0 {
		return false, fmt.Errorf("tenant %s: %w: it has %d external IPs; delete them first", tenant.Name, cluster.ErrConflict, n)
	}
	removed := 0
	for workload := range workloads.By(tx, byTenant, tenant.ID) {
		if removed == workloadsPerTransaction {
			return true, nil
		}
		if err := removeWorkload(tx, workload); err != nil {
			return false, err
		}
		removed++
	}
	for image := range images.By(tx, byTenant, tenant.ID) {
		if removed == workloadsPerTransaction {
			return true, nil
		}
		if err := removeImage(tx, image); err != nil {
			return false, err
		}
		removed++
	}
	for key := range sshKeys.By(tx, byTenant, tenant.ID) {
		if removed == workloadsPerTransaction {
			return true, nil
		}
		if err := sshKeys.Delete(tx, key.ID); err != nil {
			return false, err
		}
		removed++
	}
	return false, errors.Join(
		usages.Delete(tx, tenant.ID),
		claims.Delete(tx, tenantClaim(tenant.Name)),
		tenants.Delete(tx, tenant.ID))
}
