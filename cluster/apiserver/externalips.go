package apiserver

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"

	"github.com/danielgtaylor/huma/v2"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/api"
	"github.com/ciaocloud/ciao/cluster/controller"
)

type createPool struct{ Body api.CreatePool }

type listPools struct{ Page }

type onePool struct{ Named }

type updatePool struct {
	Named
	Body api.UpdatePool
}

type createExternalIP struct {
	ForTenant
	Body api.CreateExternalIP
}

type listExternalIPs struct {
	ForTenant
	Page
}

type oneExternalIP struct {
	ForTenant
	Address string `path:"address" maxLength:"64"`
}

type attachExternalIP struct {
	ForTenant
	Address string `path:"address" maxLength:"64"`
	Body    api.AttachExternalIP
}

func (s *Server) registerExternalIPs(a huma.API) {
	const tag = "external-ips"
	handle(s, a, operation("create-pool", http.MethodPost, "/pools", "Create a pool of external IPs (operator)", tag), s.createPool)
	handle(s, a, operation("list-pools", http.MethodGet, "/pools", "List the pools of external IPs", tag), s.listPools)
	handle(s, a, operation("get-pool", http.MethodGet, "/pools/{ref}", "Show a pool", tag), s.getPool)
	handle(s, a, operation("update-pool", http.MethodPatch, "/pools/{ref}", "Give a pool addresses, or take some from it (operator)", tag), s.updatePool)
	handleEmpty(s, a, operation("delete-pool", http.MethodDelete, "/pools/{ref}", "Delete a pool that no tenant has an address of (operator)", tag), s.deletePool)
	handle(s, a, operation("create-external-ip", http.MethodPost, "/external-ips", "Take an address from a pool, and attach it if an instance is named", tag), s.createExternalIP)
	handle(s, a, operation("list-external-ips", http.MethodGet, "/external-ips", "List the tenant's external IPs", tag), s.listExternalIPs)
	handle(s, a, operation("get-external-ip", http.MethodGet, "/external-ips/{address}", "Show an external IP", tag), s.externalIP(s.config.UseCases.ExternalIP))
	handleEmpty(s, a, operation("delete-external-ip", http.MethodDelete, "/external-ips/{address}", "Give an external IP that is attached to nothing back to its pool", tag), s.deleteExternalIP)
	attach := operation("attach-external-ip", http.MethodPost, "/external-ips/{address}/attach", "Attach an external IP to an instance", tag)
	attach.DefaultStatus = http.StatusOK
	handle(s, a, attach, s.attachExternalIP)
	detach := operation("detach-external-ip", http.MethodPost, "/external-ips/{address}/detach", "Detach an external IP from its instance; the tenant keeps it", tag)
	detach.DefaultStatus = http.StatusOK
	handle(s, a, detach, s.externalIP(s.config.UseCases.DetachExternalIP))
}

func (s *Server) createPool(ctx context.Context, in *createPool) (api.Pool, error) {
	prefixes, err := s.operatorsPrefixes(ctx, "addresses", in.Body.Addresses)
	if err != nil {
		return api.Pool{}, err
	}
	created, err := s.config.UseCases.CreatePool(ctx, in.Body.Name, prefixes)
	return poolOf(created, true), err
}

// operatorsPrefixes reads ranges and single addresses, if the caller may give them.
func (s *Server) operatorsPrefixes(ctx context.Context, path string, texts []string) (prefixes []netip.Prefix, err error) {
	if err := operator(ctx); err != nil {
		return nil, err
	}
	var problems cluster.Problems
	for i, text := range texts {
		prefix, err := netip.ParsePrefix(text)
		if address, failure := netip.ParseAddr(text); failure == nil && address.Zone() == "" {
			prefix, err = netip.PrefixFrom(address, address.BitLen()), nil
		}
		if err != nil {
			problems.Add(fmt.Sprintf("%s[%d]", path, i), "%q is neither a range such as 198.51.100.16/28 nor an address", text)
			continue
		}
		prefixes = append(prefixes, prefix)
	}
	return prefixes, problems.Err()
}

func (s *Server) listPools(ctx context.Context, in *listPools) (api.List[api.Pool], error) {
	found, err := s.config.UseCases.Pools(ctx)
	found, next := controller.Paged(found, controller.Page(in.Page), func(p cluster.Pool) string { return p.ID })
	admin := callerOf(ctx).admin
	return api.List[api.Pool]{Items: each(found, func(p cluster.Pool) api.Pool { return poolOf(p, admin) }), Next: next}, err
}

func (s *Server) getPool(ctx context.Context, in *onePool) (api.Pool, error) {
	found, err := s.config.UseCases.Pool(ctx, in.Ref)
	return poolOf(found, callerOf(ctx).admin), err
}

func (s *Server) updatePool(ctx context.Context, in *updatePool) (pool api.Pool, err error) {
	add, err := s.operatorsPrefixes(ctx, "add", in.Body.Add)
	if err != nil {
		return pool, err
	}
	remove, err := s.operatorsPrefixes(ctx, "remove", in.Body.Remove)
	if err != nil {
		return pool, err
	}
	changed, err := s.config.UseCases.UpdatePool(ctx, in.Ref, add, remove)
	return poolOf(changed, true), err
}

func (s *Server) deletePool(ctx context.Context, in *onePool) error {
	if err := operator(ctx); err != nil {
		return err
	}
	return s.config.UseCases.DeletePool(ctx, in.Ref)
}

func (s *Server) createExternalIP(ctx context.Context, in *createExternalIP) (api.ExternalIP, error) {
	tenant, err := s.owner(ctx, in.Tenant)
	if err != nil {
		return api.ExternalIP{}, err
	}
	created, err := s.config.UseCases.CreateExternalIP(ctx, tenant, controller.ExternalIPRequest(in.Body))
	return externalIPOf(created), err
}

func (s *Server) listExternalIPs(ctx context.Context, in *listExternalIPs) (api.List[api.ExternalIP], error) {
	scope, err := s.scope(ctx, in.Tenant)
	if err != nil {
		return api.List[api.ExternalIP]{}, err
	}
	found, err := s.config.UseCases.ExternalIPs(ctx, scope)
	found, next := controller.Paged(found, controller.Page(in.Page), func(e controller.ExternalIP) string { return e.Address.String() })
	return api.List[api.ExternalIP]{Items: each(found, externalIPOf), Next: next}, err
}

func (s *Server) deleteExternalIP(ctx context.Context, in *oneExternalIP) error {
	scope, err := s.scope(ctx, in.Tenant)
	if err != nil {
		return err
	}
	return s.config.UseCases.DeleteExternalIP(ctx, scope, in.Address)
}

func (s *Server) attachExternalIP(ctx context.Context, in *attachExternalIP) (api.ExternalIP, error) {
	scope, err := s.scope(ctx, in.Tenant)
	if err != nil {
		return api.ExternalIP{}, err
	}
	changed, err := s.config.UseCases.AttachExternalIP(ctx, scope, in.Address, in.Body.Instance)
	return externalIPOf(changed), err
}

// externalIP makes the handler of a use case on one external IP.
func (s *Server) externalIP(do func(ctx context.Context, scope, ref string) (controller.ExternalIP, error)) func(context.Context, *oneExternalIP) (api.ExternalIP, error) {
	return func(ctx context.Context, in *oneExternalIP) (api.ExternalIP, error) {
		scope, err := s.scope(ctx, in.Tenant)
		if err != nil {
			return api.ExternalIP{}, err
		}
		found, err := do(ctx, scope, in.Address)
		return externalIPOf(found), err
	}
}

func poolOf(p cluster.Pool, whole bool) api.Pool {
	pool := api.Pool{ID: p.ID, Name: p.Name, Addresses: []string{}, Total: p.Size(), Free: p.Size() - p.Lent, Created: p.Created}
	if whole {
		pool.Addresses = each(p.Prefixes, cluster.PrefixText)
	}
	return pool
}

func externalIPOf(e controller.ExternalIP) api.ExternalIP {
	external := api.ExternalIP{
		Address: e.Address, Pool: e.PoolName, Tenant: e.Tenant, State: e.State, Instance: e.InstanceName, InstanceID: e.Instance,
		Internal: text(e.Internal), Reason: e.Reason, Created: e.Created,
	}
	return external
}
