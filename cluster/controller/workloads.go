package controller

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/ciaocloud/ciao/ccloudvm/seed"
	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/store"
)

// CreateWorkload adds a recipe. ErrPermission: a tenant may not make public ones.
func (c *Controller) CreateWorkload(ctx context.Context, scope string, request WorkloadRequest) (cluster.Workload, error) {
	workload := cluster.Workload{
		ID: uuid.NewString(), Name: request.Name, Tenant: scope, Visibility: request.Visibility,
		Spec: request.Spec.WithDefaults(), Created: time.Now().UTC(),
	}
	own := cluster.Private
	if scope == Operator {
		own = cluster.Public
	}
	if workload.Visibility == "" {
		workload.Visibility = own
	}
	if err := validateWorkload(workload, own); err != nil {
		return cluster.Workload{}, err
	}
	var problems cluster.Problems
	for k, v := range workload.Spec.Volumes {
		c.checkStorage(fmt.Sprintf("volumes[%d].storage", k), v.Storage, &problems)
	}
	if err := problems.Err(); err != nil {
		return cluster.Workload{}, err
	}
	_, err := c.update(ctx, func(tx store.Tx) error {
		if scope != Operator {
			if err := touchTenant(tx, scope); err != nil {
				return err
			}
		}
		if err := claimName(tx, workloadClaim(scope, workload.Name), workload.ID, "workload", workload.Name); err != nil {
			return err
		}
		return workloads.Create(tx, workload)
	})
	if err != nil {
		return cluster.Workload{}, err
	}
	return workload, nil
}

// touchTenant makes a transaction that adds something to a tenant conflict with the tenant's deletion.
func touchTenant(tx store.Tx, tenant string) error {
	row, err := usages.Get(tx, tenant)
	if err != nil {
		return noSuch("tenant", tenant)
	}
	return usages.Put(tx, row)
}

func validateWorkload(workload cluster.Workload, own cluster.Visibility) error {
	var problems cluster.Problems
	if !cluster.ValidName(workload.Name) {
		problems.Add("name", "%q must be 1 to 63 lower-case letters, digits and hyphens, with no hyphen at either end", workload.Name)
	}
	switch workload.Visibility {
	case own:
	case cluster.Public:
		return fmt.Errorf("workload %q: %w: only an operator makes public workloads; make it private", workload.Name, cluster.ErrPermission)
	case cluster.Private:
		problems.Add("visibility", "a private workload belongs to a tenant; act as that tenant to create it")
	default:
		problems.Add("visibility", "%q is not a visibility; use public or private", workload.Visibility)
	}
	var more cluster.Problems
	if err := workload.Spec.Validate(); errors.As(err, &more) {
		problems = append(problems, more...)
	}
	checkCloudInit([]byte(workload.Spec.CloudInit), &problems)
	return problems.Err()
}

// checkCloudInit finds what would only be noticed inside the guest.
func checkCloudInit(userData []byte, problems *cluster.Problems) {
	switch {
	case len(userData) == 0:
	case seed.IsCloudConfig(userData):
		if err := seed.Validate(userData); err != nil {
			problems.Add("cloud_init", "%s", err)
		}
	case !bytes.HasPrefix(userData, []byte("#")):
		problems.Add("cloud_init", "must begin with the line #cloud-config, or be a script that begins with #!")
	}
}

// Workloads lists a tenant's own and all public workloads; the operator sees all.
func (c *Controller) Workloads(ctx context.Context, scope string, p Page) (list []cluster.Workload, next string, err error) {
	err = c.view(ctx, func(r store.Reader) error {
		if scope == Operator {
			list = slices.Collect(workloads.All(r))
		} else {
			list = slices.AppendSeq(slices.Collect(workloads.By(r, byTenant, scope)), workloads.By(r, byTenant, ownerKey("")))
			slices.SortFunc(list, func(a, b cluster.Workload) int { return compareText(a.ID, b.ID) })
		}
		list, next = Paged(list, p, func(w cluster.Workload) string { return w.ID })
		return nil
	})
	return list, next, err
}

// Workload looks a workload up by id or name; a tenant's own goes before a public one of the same name.
func (c *Controller) Workload(ctx context.Context, scope, ref string) (workload cluster.Workload, err error) {
	err = c.view(ctx, func(r store.Reader) error {
		workload, err = findWorkload(r, scope, ref)
		return err
	})
	return workload, err
}

func findWorkload(r store.Reader, scope, ref string) (cluster.Workload, error) {
	id := ref
	if !cluster.ValidID(ref) {
		own, err := claims.Get(r, workloadClaim(scope, ref))
		if err != nil {
			own, err = claims.Get(r, workloadClaim("", ref))
		}
		if err != nil {
			return cluster.Workload{}, noSuch("workload", ref)
		}
		id = own.Owner
	}
	workload, err := workloads.Get(r, id)
	if err != nil || scope != Operator && workload.Tenant != "" && workload.Tenant != scope {
		return cluster.Workload{}, noSuch("workload", ref)
	}
	return workload, nil
}

// DeleteWorkload removes a recipe that no instance was made from, else ErrConflict. (An instance has its own copy of the recipe: one
// that is being created at the same moment is not harmed.)
func (c *Controller) DeleteWorkload(ctx context.Context, scope, ref string) error {
	_, err := c.update(ctx, func(tx store.Tx) error {
		workload, err := findWorkload(tx, scope, ref)
		if err != nil {
			return err
		}
		if scope != Operator && workload.Tenant != scope {
			return fmt.Errorf("workload %q: %w: it is public; only an operator deletes it", ref, cluster.ErrPermission)
		}
		if err := unused(tx, workload); err != nil {
			return err
		}
		return removeWorkload(tx, workload)
	})
	return err
}

func removeWorkload(tx store.Tx, workload cluster.Workload) error {
	return errors.Join(claims.Delete(tx, workloadClaim(workload.Tenant, workload.Name)), workloads.Delete(tx, workload.ID))
}

// unused refuses a workload with instances, naming some.
func unused(r store.Reader, workload cluster.Workload) error {
	const shown = 5
	var users []string
	count := 0
	use := func(instance cluster.Instance) {
		if count++; count <= shown {
			users = append(users, instance.Name)
		}
	}
	for instance := range instances.By(r, byWorkload, workload.ID) {
		use(instance)
	}
	for batch := range batches.All(r) {
		if batch.Template.Workload == workload.ID {
			for instance := range batch.Instances(batch.Unfolded) {
				use(instance)
			}
		}
	}
	if count == 0 {
		return nil
	}
	names := strings.Join(users, ", ")
	if count > shown {
		names += fmt.Sprintf(" and %d more", count-shown)
	}
	return fmt.Errorf("workload %q: %w: it is used by %s; delete them first", workload.Name, cluster.ErrConflict, names)
}
