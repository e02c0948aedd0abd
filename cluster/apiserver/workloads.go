package apiserver

import (
	"context"
	"fmt"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/api"
	"github.com/ciaocloud/ciao/cluster/controller"
)

type createWorkload struct {
	ForTenant
	Body api.CreateWorkload
}

type listWorkloads struct {
	ForTenant
	Page
}

type oneWorkload struct {
	ForTenant
	Named
}

func (s *Server) registerWorkloads(a huma.API) {
	const tag = "workloads"
	handle(s, a, operation("create-workload", http.MethodPost, "/workloads", "Create a workload: the recipe of instances", tag), s.createWorkload)
	handle(s, a, operation("list-workloads", http.MethodGet, "/workloads", "List the tenant's and the public workloads", tag), s.listWorkloads)
	handle(s, a, operation("get-workload", http.MethodGet, "/workloads/{ref}", "Show a workload", tag), s.getWorkload)
	handleEmpty(s, a, operation("delete-workload", http.MethodDelete, "/workloads/{ref}", "Delete a workload that no instance uses", tag), s.deleteWorkload)
}

func (s *Server) createWorkload(ctx context.Context, in *createWorkload) (api.Workload, error) {
	scope, err := s.workloadScope(ctx, in)
	if err != nil {
		return api.Workload{}, err
	}
	spec, err := specOf(in.Body)
	if err != nil {
		return api.Workload{}, err
	}
	created, err := s.config.UseCases.CreateWorkload(ctx, scope, controller.WorkloadRequest{Name: in.Body.Name, Visibility: in.Body.Visibility, Spec: spec})
	return workloadOf(created), err
}

// workloadScope is the owner of a new workload: public ones are the operator's, private ones a tenant's.
func (s *Server) workloadScope(ctx context.Context, in *createWorkload) (string, error) {
	if in.Body.Visibility == cluster.Public {
		if err := operator(ctx); err != nil {
			return "", fmt.Errorf("a public workload: %w", err)
		}
		return controller.Operator, nil
	}
	return s.owner(ctx, in.Tenant)
}

func (s *Server) listWorkloads(ctx context.Context, in *listWorkloads) (api.List[api.Workload], error) {
	scope, err := s.scope(ctx, in.Tenant)
	if err != nil {
		return api.List[api.Workload]{}, err
	}
	found, next, err := s.config.UseCases.Workloads(ctx, scope, controller.Page(in.Page))
	return api.List[api.Workload]{Items: each(found, workloadOf), Next: next}, err
}

func (s *Server) getWorkload(ctx context.Context, in *oneWorkload) (api.Workload, error) {
	scope, err := s.scope(ctx, in.Tenant)
	if err != nil {
		return api.Workload{}, err
	}
	found, err := s.config.UseCases.Workload(ctx, scope, in.Ref)
	return workloadOf(found), err
}

func (s *Server) deleteWorkload(ctx context.Context, in *oneWorkload) error {
	scope, err := s.scope(ctx, in.Tenant)
	if err != nil {
		return err
	}
	return s.config.UseCases.DeleteWorkload(ctx, scope, in.Ref)
}

// each translates a list, which is never null on the wire.
func each[T, U any](items []T, translate func(T) U) []U {
	out := make([]U, len(items))
	for i, item := range items {
		out[i] = translate(item)
	}
	return out
}
