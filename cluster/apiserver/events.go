package apiserver

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/ciaocloud/ciao/cluster/api"
	"github.com/ciaocloud/ciao/cluster/controller"
)

type listEvents struct {
	ForTenant
	Page
	Instance string    `query:"instance" maxLength:"64" doc:"id or name"`
	Node     string    `query:"node" maxLength:"64" doc:"id"`
	Since    time.Time `query:"since"`
}

func (s *Server) registerEvents(a huma.API) {
	handle(s, a, operation("list-events", http.MethodGet, "/events", "List what happened, oldest first", "events"), s.listEvents)
	handle(s, a, operation("clear-events", http.MethodDelete, "/events", "Forget all events (operator)", "events"), s.clearEvents)
}

func (s *Server) listEvents(ctx context.Context, in *listEvents) (api.List[api.Event], error) {
	scope, err := s.scope(ctx, in.Tenant)
	if err != nil {
		return api.List[api.Event]{}, err
	}
	filter := controller.EventFilter{Page: controller.Page(in.Page), Instance: in.Instance, Node: in.Node, Since: in.Since}
	if in.Instance != "" { // by name if there is such an instance; the events of one that is gone are found by its id
		if instance, err := s.config.UseCases.Instance(ctx, scope, in.Instance); err == nil {
			filter.Instance = instance.ID
		}
	}
	found, next, err := s.config.UseCases.Events(ctx, scope, filter)
	return api.List[api.Event]{Items: list(found), Next: next}, err
}

func (s *Server) clearEvents(ctx context.Context, _ *struct{}) (api.Deleted, error) {
	if err := operator(ctx); err != nil {
		return api.Deleted{}, err
	}
	count, err := s.config.UseCases.ClearEvents(ctx)
	return api.Deleted{Count: count}, err
}
