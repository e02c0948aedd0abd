package apiserver

import (
	"context"
	"net/http"
	"slices"

	"github.com/danielgtaylor/huma/v2"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/api"
	"github.com/ciaocloud/ciao/cluster/controller"
)

type listNodes struct {
	Page
	Role string `query:"role" enum:"compute,network" doc:"only nodes with this role"`
}

type oneNode struct{ Named }

type evacuateNode struct {
	Named
	Lost bool `query:"lost" doc:"it is gone for good: start its instances elsewhere although it cannot say that they do not run"`
}

type listCNCIs struct {
	ForTenant
	Page
}

type oneCNCI struct {
	ForTenant
	Named
}

func (s *Server) registerNodes(a huma.API) {
	handle(s, a, operation("list-nodes", http.MethodGet, "/nodes", "List the nodes (operator)", "nodes"), s.listNodes)
	handle(s, a, operation("get-node", http.MethodGet, "/nodes/{ref}", "Show a node (operator)", "nodes"), s.getNode)
	evacuate := operation("evacuate-node", http.MethodPost, "/nodes/{ref}/evacuate", "Move everything off a node, and nothing new onto it (operator)", "nodes")
	evacuate.DefaultStatus = http.StatusOK
	handle(s, a, evacuate, s.evacuateNode)
	restore := operation("restore-node", http.MethodPost, "/nodes/{ref}/restore", "Let an evacuated node take instances again (operator)", "nodes")
	restore.DefaultStatus = http.StatusOK
	handle(s, a, restore, s.restoreNode)
	handleEmpty(s, a, operation("delete-node", http.MethodDelete, "/nodes/{ref}", "Forget a node that is not connected and has nothing (operator)", "nodes"), s.deleteNode)
	handle(s, a, operation("list-cncis", http.MethodGet, "/cncis", "List the CNCIs of the tenant's subnets", "cncis"), s.listCNCIs)
	handle(s, a, operation("get-cnci", http.MethodGet, "/cncis/{ref}", "Show a CNCI", "cncis"), s.getCNCI)
}

func (s *Server) listNodes(ctx context.Context, in *listNodes) (api.List[api.Node], error) {
	if err := operator(ctx); err != nil {
		return api.List[api.Node]{}, err
	}
	found, err := s.config.UseCases.Nodes(ctx)
	if err != nil {
		return api.List[api.Node]{}, err
	}
	if in.Role != "" {
		found = slices.DeleteFunc(found, func(n cluster.Node) bool { return !slices.Contains(n.Roles, cluster.NodeRole(in.Role)) })
	}
	found, next := controller.Paged(found, controller.Page(in.Page), func(n cluster.Node) string { return n.ID })
	return api.List[api.Node]{Items: each(found, s.nodeOf), Next: next}, nil
}

func (s *Server) getNode(ctx context.Context, in *oneNode) (api.Node, error) {
	if err := operator(ctx); err != nil {
		return api.Node{}, err
	}
	found, err := s.config.UseCases.Node(ctx, in.Ref)
	if err != nil {
		return api.Node{}, err
	}
	return s.nodeOf(found), nil
}

func (s *Server) listCNCIs(ctx context.Context, in *listCNCIs) (api.List[api.CNCI], error) {
	scope, err := s.scope(ctx, in.Tenant)
	if err != nil {
		return api.List[api.CNCI]{}, err
	}
	found, err := s.config.UseCases.CNCIs(ctx, scope)
	found, next := controller.Paged(found, controller.Page(in.Page), func(c controller.CNCI) string { return c.ID })
	return api.List[api.CNCI]{Items: each(found, cnciOf), Next: next}, err
}

func (s *Server) getCNCI(ctx context.Context, in *oneCNCI) (api.CNCI, error) {
	scope, err := s.scope(ctx, in.Tenant)
	if err != nil {
		return api.CNCI{}, err
	}
	found, err := s.config.UseCases.CNCI(ctx, scope, in.Ref)
	return cnciOf(found), err
}

func (s *Server) evacuateNode(ctx context.Context, in *evacuateNode) (api.Node, error) {
	if err := operator(ctx); err != nil {
		return api.Node{}, err
	}
	found, err := s.config.UseCases.EvacuateNode(ctx, in.Ref, in.Lost)
	return s.nodeOf(found), err
}

func (s *Server) restoreNode(ctx context.Context, in *oneNode) (api.Node, error) {
	if err := operator(ctx); err != nil {
		return api.Node{}, err
	}
	found, err := s.config.UseCases.RestoreNode(ctx, in.Ref)
	return s.nodeOf(found), err
}

func (s *Server) deleteNode(ctx context.Context, in *oneNode) error {
	if err := operator(ctx); err != nil {
		return err
	}
	return s.config.UseCases.DeleteNode(ctx, in.Ref)
}
