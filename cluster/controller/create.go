package controller

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/ipam"
	"github.com/ciaocloud/ciao/cluster/quota"
	"github.com/ciaocloud/ciao/cluster/store"
)

// CreateInstances records Count instances of a workload with all their reservations, in one transaction, and returns them. Errors:
// ErrOverQuota, ErrExists (a name), ErrConflict (a port of the CNCI), ErrNotFound (the workload), ErrInvalid, ErrPermission, ErrTooLarge; after an error nothing
// remains.
func (c *Controller) CreateInstances(ctx context.Context, tenant string, request InstanceRequest) ([]cluster.Instance, error) {
	if request.Count == 0 {
		request.Count = 1
	}
	if err := validateInstances(tenant, request); err != nil {
		return nil, err
	}
	var batch cluster.Batch
	_, err := c.update(ctx, func(tx store.Tx) (err error) {
		batch, err = c.reserve(tx, tenant, request)
		return err
	})
	if errors.Is(err, cluster.ErrOverQuota) {
		c.noteRefusal(ctx, tenant, err)
	}
	if err != nil {
		return nil, err
	}
	return slices.Collect(batch.Instances(0)), nil
}

func validateInstances(tenant string, request InstanceRequest) error {
	var problems cluster.Problems
	if tenant == Operator {
		problems.Add("tenant", "instances belong to a tenant; act as one")
	}
	if request.Count < 1 || request.Count > cluster.MaxBatch {
		problems.Add("count", "must be from 1 to %d", cluster.MaxBatch)
	}
	if last := lastName(request.Name, request.Count); request.Name != "" && !cluster.ValidName(last) {
		problems.Add("name", "%q must be 1 to 63 lower-case letters, digits and hyphens, with no hyphen at either end", last)
	}
	problems.AddLabels("labels", request.Labels)
	problems.AddSSHKeys("ssh_keys", request.SSHKeys)
	return problems.Err()
}

// lastName is the longest name that a stem leads to.
func lastName(stem string, count int) string {
	if count <= 1 {
		return stem
	}
	return stem + "-" + strconv.Itoa(count)
}

// reserve makes the batch in a transaction.
func (c *Controller) reserve(tx store.Tx, tenantID string, request InstanceRequest) (cluster.Batch, error) {
	tenant, err := findTenant(tx, tenantID, tenantID)
	if err != nil {
		return cluster.Batch{}, err
	}
	workload, err := findWorkload(tx, tenantID, request.Workload)
	if err != nil {
		return cluster.Batch{}, err
	}
	if workload.Spec.Privileged && !tenant.Permissions.PrivilegedContainers {
		return cluster.Batch{}, fmt.Errorf("workload %q: %w: tenant %s may not run privileged instances; an operator can allow it",
			workload.Name, cluster.ErrPermission, tenant.Name)
	}
	keys, err := keysFor(tx, tenantID, request)
	if err != nil {
		return cluster.Batch{}, err
	}
	if workload.Spec, err = withKeys(workload, keys); err != nil {
		return cluster.Batch{}, err
	}
	usage, err := usages.Get(tx, tenantID)
	if err != nil {
		return cluster.Batch{}, err
	}
	usage.Usage, err = quota.Reserve(tenant.Quota, usage.Usage, workload.Spec.Requirements.Resources(), request.Count)
	if err != nil {
		return cluster.Batch{}, fmt.Errorf("tenant %s: %w", tenant.Name, err)
	}
	batch := newBatch(tenantID, workload, request)
	if batch.Template.Image, err = resolveImage(tx, workload); err != nil {
		return cluster.Batch{}, err
	}
	if batch.Volumes, err = c.volumesOf(tx, workload, tenantID, batch.Template.Created); err != nil {
		return cluster.Batch{}, fmt.Errorf("workload %q: %w", workload.Name, err)
	}
	if batch.Template.Name, err = chooseNames(tx, batch, workload, request.Name); err != nil {
		return cluster.Batch{}, err
	}
	if batch.Segments, err = reserveAddresses(tx, tenant, request.Count, batch.Template.Created); err != nil {
		return cluster.Batch{}, err
	}
	if err := claimPorts(tx, workload.Spec, tenantID, batch.Segments); err != nil {
		return cluster.Batch{}, err
	}
	if err := errors.Join(usages.Put(tx, usage), batches.Create(tx, batch), putEvent(tx, createdEvent(batch, workload))); err != nil {
		return cluster.Batch{}, err
	}
	return batch, c.giveVolumes(tx, batch, request.Volumes)
}

// withKeys is the workload's recipe with SSH keys added.
func withKeys(workload cluster.Workload, keys []string) (cluster.WorkloadSpec, error) {
	spec := workload.Spec
	if len(keys) > 0 && spec.Kind != cluster.KindVM {
		return spec, fmt.Errorf("workload %q: %w: SSH keys are for virtual machines, and it makes instances of kind %s", workload.Name, cluster.ErrInvalid, spec.Kind)
	}
	spec.SSHKeys = slices.Concat(spec.SSHKeys, keys)
	if len(spec.SSHKeys) > cluster.MaxSSHKeys {
		return spec, fmt.Errorf("workload %q: %w: with its own SSH keys there are %d, and a virtual machine has at most %d", workload.Name, cluster.ErrInvalid, len(spec.SSHKeys), cluster.MaxSSHKeys)
	}
	return spec, nil
}

func newBatch(tenant string, workload cluster.Workload, request InstanceRequest) cluster.Batch {
	now := time.Now().UTC()
	return cluster.Batch{
		ID:    uuid.NewString(),
		Count: request.Count,
		Template: cluster.Instance{
			Tenant: tenant, Workload: workload.ID, Kind: workload.Spec.Kind, Spec: workload.Spec, Labels: request.Labels,
			Desired: cluster.WantActive, State: cluster.Pending, Generation: 1, Created: now, Changed: now,
		},
	}
}

func createdEvent(batch cluster.Batch, workload cluster.Workload) cluster.Event {
	event := newEvent(cluster.Info, "Created", "")
	event.Tenant = batch.Template.Tenant
	if batch.Count == 1 {
		event.Instance = batch.InstanceID(0)
		event.Message = fmt.Sprintf("Instance %s of workload %s was created.", batch.InstanceName(0), workload.Name)
	} else {
		event.Message = fmt.Sprintf("%d instances of workload %s were created: %s to %s.",
			batch.Count, workload.Name, batch.InstanceName(0), batch.InstanceName(batch.Count-1))
	}
	return event
}

// chooseNames returns the wanted stem if all its names are free, or one made of the workload's name.
func chooseNames(r store.Reader, batch cluster.Batch, workload cluster.Workload, stem string) (string, error) {
	taken := pendingNames(r, batch.Template.Tenant)
	if stem != "" {
		batch.Template.Name = stem
		if name := takenName(r, batch, taken); name != "" {
			return "", fmt.Errorf("instance name %q: %w: choose another", name, cluster.ErrExists)
		}
		return stem, nil
	}
	const letters = "bcdfghjkmnpqrstvwxz23456789"
	base := workload.Name[:min(len(workload.Name), 50)]
	for size := 5; ; size++ {
		suffix := make([]byte, size)
		for i := range suffix {
			suffix[i] = letters[rand.IntN(len(letters))]
		}
		batch.Template.Name = base + "-" + string(suffix)
		if size > 8 || takenName(r, batch, taken) == "" {
			return batch.Template.Name, nil
		}
	}
}

// takenName is the first of a batch's names that the tenant already uses, or empty.
func takenName(r store.Reader, batch cluster.Batch, pending map[string]bool) string {
	for i := range batch.Count {
		name := batch.InstanceName(i)
		if pending[name] {
			return name
		}
		for range instances.By(r, byName, batch.Template.Tenant+"/"+name) {
			return name
		}
	}
	return ""
}

// pendingNames are the names of a tenant's instances that are still in batches.
func pendingNames(r store.Reader, tenant string) map[string]bool {
	names := map[string]bool{}
	for batch := range batches.By(r, byTenant, tenant) {
		for i := batch.Unfolded; i < batch.Count; i++ {
			names[batch.InstanceName(i)] = true
		}
	}
	return names
}

// maxSubnetsPerRequest keeps a create within one transaction: each subnet costs a row and, when it is new, its key.
const maxSubnetsPerRequest = 55

// reserveAddresses takes n host numbers of the tenant's subnets, the oldest first, and of new ones when those are full. It relies on
// the tenant's usage row being written in the same transaction.
func reserveAddresses(tx store.Tx, tenant cluster.Tenant, n int, now time.Time) (segments []cluster.BatchSegment, err error) {
	within, err := ownRange6(tx)
	if err != nil {
		return nil, err
	}
	own := slices.SortedFunc(subnets.By(tx, byTenant, tenant.ID), func(a, b cluster.Subnet) int { return a.Prefix.Addr().Compare(b.Prefix.Addr()) })
	touched := 0
	take := func(subnet cluster.Subnet) error {
		taken, after := ipam.Allocate(subnet.Prefix, subnet.Allocated, n)
		if taken == nil {
			return nil
		}
		subnet = withIPv6(within, subnet)
		for _, r := range taken {
			segments = append(segments, cluster.BatchSegment{Subnet: subnet.ID, Prefix: subnet.Prefix, Prefix6: subnet.Prefix6, Range: r})
			n -= r.Len()
		}
		subnet.Allocated = after
		touched++
		return subnets.Put(tx, subnet)
	}
	for _, subnet := range own {
		if n == 0 || touched == maxSubnetsPerRequest {
			break
		}
		current, err := subnets.Get(tx, subnet.ID) // protects it
		if err != nil {
			return nil, err
		}
		if err := take(current); err != nil {
			return nil, err
		}
	}
	for n > 0 {
		if touched == maxSubnetsPerRequest {
			return nil, fmt.Errorf("%w: the request needs more than %d subnets of /%d; ask for fewer instances at a time", cluster.ErrTooLarge, touched, tenant.SubnetBits)
		}
		subnet, err := newSubnet(tx, tenant, own, now)
		if err != nil {
			return nil, err
		}
		own = append(own, subnet)
		if err := take(subnet); err != nil {
			return nil, err
		}
	}
	return segments, nil
}
