package controller

import (
	"context"
	"fmt"
	"iter"
	"slices"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/store"
)

// Instances lists tenants' instances, also those that are not unfolded yet.
func (c *Controller) Instances(ctx context.Context, scope string, filter InstanceFilter) (list []cluster.Instance, next string, err error) {
	err = c.view(ctx, func(r store.Reader) error {
		list = selectInstances(r, scope, filter)
		list, next = Paged(list, filter.Page, func(i cluster.Instance) string { return i.ID })
		return nil
	})
	return list, next, err
}

// selectInstances are all that a filter wants, in order of ids.
func selectInstances(r store.Reader, scope string, filter InstanceFilter) []cluster.Instance {
	var list []cluster.Instance
	for instance := range visible(r, scope) {
		if filter.wants(instance) {
			list = append(list, instance)
		}
	}
	slices.SortFunc(list, func(a, b cluster.Instance) int { return compareText(a.ID, b.ID) })
	return list
}

// visible yields the instances of a scope, without CNCIs.
func visible(r store.Reader, scope string) iter.Seq[cluster.Instance] {
	stored, folded := instances.All(r), batches.All(r)
	if scope != Operator {
		stored, folded = instances.By(r, byTenant, scope), batches.By(r, byTenant, scope)
	}
	return func(yield func(cluster.Instance) bool) {
		for instance := range stored {
			if !instance.Host() && !yield(instance) {
				return
			}
		}
		for batch := range folded {
			for instance := range batch.Instances(batch.Unfolded) {
				if !yield(instance) {
					return
				}
			}
		}
	}
}

func (f InstanceFilter) wants(i cluster.Instance) bool {
	for _, wanted := range []struct{ want, have string }{
		{string(f.State), string(i.State)}, {f.Node, i.Node}, {f.Workload, i.Workload}, {f.Subnet, i.Subnet}, {f.Name, i.Name},
	} {
		if wanted.want != "" && wanted.want != wanted.have {
			return false
		}
	}
	return cluster.Labelled(i.Labels, f.Labels)
}

// Instance looks an instance up by id or name. For the operator a name that several tenants use is ErrConflict.
func (c *Controller) Instance(ctx context.Context, scope, ref string) (instance cluster.Instance, err error) {
	err = c.view(ctx, func(r store.Reader) error {
		instance, _, err = findInstance(r, scope, ref)
		return err
	})
	return instance, err
}

// findInstance also returns the batch that the instance is still in, if it is.
func findInstance(r store.Reader, scope, ref string) (cluster.Instance, string, error) {
	if cluster.ValidID(ref) {
		if instance, err := instances.Get(r, ref); err == nil {
			return allowed(instance, "", scope, ref)
		}
	} else if found := namedInstances(r, scope, ref); len(found) == 1 {
		return allowed(found[0], "", scope, ref)
	} else if len(found) > 1 {
		return cluster.Instance{}, "", fmt.Errorf("instance %q: %w: several tenants have one of that name; give its id", ref, cluster.ErrConflict)
	}
	for batch := range batches.All(r) {
		for i := batch.Unfolded; i < batch.Count; i++ {
			mine := scope == Operator || scope == batch.Template.Tenant
			if mine && (batch.InstanceName(i) == ref || batch.InstanceID(i) == ref) {
				instance, _ := batch.Instance(i)
				return instance, batch.ID, nil
			}
		}
	}
	return cluster.Instance{}, "", noSuch("instance", ref)
}

func namedInstances(r store.Reader, scope, name string) []cluster.Instance {
	if scope != Operator {
		name = scope + "/" + name
	}
	return slices.Collect(instances.By(r, byName, name))
}

func allowed(instance cluster.Instance, batch, scope, ref string) (cluster.Instance, string, error) {
	if instance.Host() || scope != Operator && instance.Tenant != scope {
		return cluster.Instance{}, "", noSuch("instance", ref)
	}
	return instance, batch, nil
}
