package apiserver

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"

	"github.com/danielgtaylor/huma/v2"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/api"
	"github.com/ciaocloud/ciao/cluster/controller"
	"github.com/ciaocloud/ciao/cluster/store"
)

type createTenant struct{ Body api.CreateTenant }

type listTenants struct{ Page }

type oneTenant struct{ Named }

type updateTenant struct {
	Named
	Matching
	Body api.UpdateTenant
}

type updateQuota struct {
	Named
	Matching
	Body api.UpdateQuota
}

func (s *Server) registerTenants(a huma.API) {
	const tag = "tenants"
	handle(s, a, operation("create-tenant", http.MethodPost, "/tenants", "Create a tenant (operator)", tag), s.createTenant)
	handle(s, a, operation("list-tenants", http.MethodGet, "/tenants", "List the tenants that the caller may act for", tag), s.listTenants)
	handleTagged(s, a, operation("get-tenant", http.MethodGet, "/tenants/{ref}", "Show a tenant", tag), s.getTenant)
	handleTagged(s, a, operation("update-tenant", http.MethodPatch, "/tenants/{ref}", "Change a tenant (operator)", tag), s.updateTenant)
	handleEmpty(s, a, operation("delete-tenant", http.MethodDelete, "/tenants/{ref}", "Delete a tenant that has no instances (operator)", tag), s.deleteTenant)
	handleTagged(s, a, operation("get-quota", http.MethodGet, "/tenants/{ref}/quota", "Show what a tenant may hold, and holds", tag), s.getQuota)
	handleTagged(s, a, operation("update-quota", http.MethodPut, "/tenants/{ref}/quota", "Change what a tenant may hold (operator)", tag), s.updateQuota)
}

func (s *Server) createTenant(ctx context.Context, in *createTenant) (api.Tenant, error) {
	if err := operator(ctx); err != nil {
		return api.Tenant{}, err
	}
	created, err := s.config.UseCases.CreateTenant(ctx, controller.TenantRequest{
		ID: in.Body.ID, Name: in.Body.Name, SubnetBits: in.Body.SubnetBits,
		Permissions: cluster.Permissions{PrivilegedContainers: in.Body.PrivilegedContainers},
	})
	return tenantOf(created), err
}

func (s *Server) listTenants(ctx context.Context, in *listTenants) (api.List[api.Tenant], error) {
	if callerOf(ctx).admin {
		found, next, err := s.config.UseCases.Tenants(ctx, controller.Operator, controller.Page(in.Page))
		return api.List[api.Tenant]{Items: each(found, tenantOf), Next: next}, err
	}
	own := []api.Tenant{}
	for _, id := range callerOf(ctx).tenants {
		if found, _, err := s.config.UseCases.Tenant(ctx, id, id); err == nil {
			own = append(own, tenantOf(found))
		}
	}
	return api.List[api.Tenant]{Items: own}, nil
}

// tenantScope is the scope in which the caller may look at the named tenant.
func (s *Server) tenantScope(ctx context.Context, name string) (string, error) {
	if callerOf(ctx).admin {
		return controller.Operator, nil
	}
	return s.scope(ctx, name)
}

func (s *Server) getTenant(ctx context.Context, in *oneTenant) (api.Tenant, store.Revision, error) {
	scope, err := s.tenantScope(ctx, in.Ref)
	if err != nil {
		return api.Tenant{}, 0, err
	}
	found, revision, err := s.config.UseCases.Tenant(ctx, scope, in.Ref)
	return tenantOf(found), revision, err
}

func (s *Server) updateTenant(ctx context.Context, in *updateTenant) (api.Tenant, store.Revision, error) {
	match, err := in.changeable(ctx)
	if err != nil {
		return api.Tenant{}, 0, err
	}
	update := controller.TenantUpdate{Name: in.Body.Name, SubnetBits: in.Body.SubnetBits}
	if in.Body.PrivilegedContainers != nil {
		update.Permissions = &cluster.Permissions{PrivilegedContainers: *in.Body.PrivilegedContainers}
	}
	updated, revision, err := s.config.UseCases.UpdateTenant(ctx, in.Ref, update, match)
	return tenantOf(updated), revision, err
}

func (s *Server) deleteTenant(ctx context.Context, in *oneTenant) error {
	if err := operator(ctx); err != nil {
		return err
	}
	return s.config.UseCases.DeleteTenant(ctx, in.Ref)
}

func (s *Server) getQuota(ctx context.Context, in *oneTenant) (api.Quota, store.Revision, error) {
	scope, err := s.tenantScope(ctx, in.Ref)
	if err != nil {
		return api.Quota{}, 0, err
	}
	quota, used, revision, err := s.config.UseCases.Quota(ctx, scope, in.Ref)
	return quotaOf(in.Ref, quota, used), revision, err
}

func (s *Server) updateQuota(ctx context.Context, in *updateQuota) (api.Quota, store.Revision, error) {
	match, err := in.changeable(ctx)
	if err != nil {
		return api.Quota{}, 0, err
	}
	update, err := quotaUpdate(in.Body.Limits)
	if err != nil {
		return api.Quota{}, 0, err
	}
	quota, used, revision, err := s.config.UseCases.UpdateQuota(ctx, in.Ref, update, match)
	return quotaOf(in.Ref, quota, used), revision, err
}

func quotaUpdate(limits map[string]string) (controller.QuotaUpdate, error) {
	var update controller.QuotaUpdate
	var problems cluster.Problems
	fields := map[string]**cluster.Limit{
		api.QuotaInstances: &update.Instances, api.QuotaVCPUs: &update.VCPUs, api.QuotaMemoryMiB: &update.MemoryMiB,
		api.QuotaDiskMiB: &update.DiskMiB, api.QuotaImages: &update.Images, api.QuotaExternalIPs: &update.ExternalIPs, api.QuotaVolumes: &update.Volumes, api.QuotaInstanceVCPUs: &update.InstanceVCPUs,
		api.QuotaInstanceMemoryMiB: &update.InstanceMemoryMiB, api.QuotaInstanceDiskMiB: &update.InstanceDiskMiB,
	}
	for name, value := range limits {
		field, known := fields[name]
		if !known {
			problems.Add("limits."+name, "is not a quota; the quotas are %v", slices.Sorted(maps.Keys(fields)))
			continue
		}
		limit := new(cluster.Limit)
		if err := limit.UnmarshalText([]byte(value)); err != nil {
			problems.Add("limits."+name, "%s", err)
			continue
		}
		*field = limit
	}
	if len(limits) == 0 {
		problems.Add("limits", "names no quota to change")
	}
	if err := problems.Err(); err != nil {
		return controller.QuotaUpdate{}, fmt.Errorf("quota: %w", err)
	}
	return update, nil
}
