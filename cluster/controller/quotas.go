package controller

import (
	"context"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/store"
)

// Quota is what a tenant may hold and holds. The revision is the tenant's.
func (c *Controller) Quota(ctx context.Context, scope, ref string) (quota cluster.Quota, usage cluster.Usage, revision store.Revision, err error) {
	err = c.view(ctx, func(r store.Reader) error {
		tenant, err := findTenant(r, scope, ref)
		if err != nil {
			return err
		}
		row, err := usages.Get(r, tenant.ID)
		quota, usage, revision = tenant.Quota, row.Usage, tenants.Revision(r, tenant.ID)
		return err
	})
	return quota, usage, revision, err
}

// UpdateQuota changes limits. A limit below what is in use takes nothing away; it refuses what comes next.
func (c *Controller) UpdateQuota(ctx context.Context, ref string, update QuotaUpdate, match store.Revision) (cluster.Quota, cluster.Usage, store.Revision, error) {
	tenant, revision, err := c.changeTenant(ctx, ref, match, func(_ store.Tx, tenant *cluster.Tenant) error {
		for _, change := range []struct{ to, from *cluster.Limit }{
			{&tenant.Quota.Instances, update.Instances},
			{&tenant.Quota.VCPUs, update.VCPUs},
			{&tenant.Quota.MemoryMiB, update.MemoryMiB},
			{&tenant.Quota.DiskMiB, update.DiskMiB},
			{&tenant.Quota.Images, update.Images},
			{&tenant.Quota.ExternalIPs, update.ExternalIPs},
			{&tenant.Quota.Volumes, update.Volumes},
			{&tenant.Quota.InstanceVCPUs, update.InstanceVCPUs},
			{&tenant.Quota.InstanceMemoryMiB, update.InstanceMemoryMiB},
			{&tenant.Quota.InstanceDiskMiB, update.InstanceDiskMiB},
		} {
			if change.from != nil {
				*change.to = *change.from
			}
		}
		return nil
	})
	if err != nil {
		return cluster.Quota{}, cluster.Usage{}, 0, err
	}
	_, usage, _, err := c.Quota(ctx, Operator, tenant.ID)
	return tenant.Quota, usage, revision, err
}

func validateQuota(quota cluster.Quota, problems *cluster.Problems) {
	for _, limit := range []struct {
		path  string
		value cluster.Limit
	}{
		{"quota.instances", quota.Instances}, {"quota.vcpus", quota.VCPUs}, {"quota.memory_mib", quota.MemoryMiB},
		{"quota.disk_mib", quota.DiskMiB}, {"quota.images", quota.Images}, {"quota.external_ips", quota.ExternalIPs}, {"quota.volumes", quota.Volumes}, {"quota.instance_vcpus", quota.InstanceVCPUs},
		{"quota.instance_memory_mib", quota.InstanceMemoryMiB}, {"quota.instance_disk_mib", quota.InstanceDiskMiB},
	} {
		if limit.value < cluster.Unlimited {
			problems.Add(limit.path, "must be a whole number from 0, or unlimited")
		}
	}
}
