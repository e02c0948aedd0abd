package apiserver

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/api"
	"github.com/ciaocloud/ciao/cluster/controller"
)

// Chosen is the part of an input that chooses instances.
type Chosen struct {
	State    string   `query:"state" enum:"pending,scheduled,starting,active,stopping,stopped,exited,failed,missing,deleting"`
	Workload string   `query:"workload" maxLength:"64" doc:"id or name"`
	Node     string   `query:"node" maxLength:"64" doc:"id"`
	Label    []string `query:"label,explode" maxItems:"16" doc:"KEY=VALUE, or KEY for the empty value; all of these"`
}

type createInstances struct {
	ForTenant
	Body api.CreateInstances
}

type listInstances struct {
	ForTenant
	Page
	Chosen
}

type listUsage struct {
	ForTenant
	Page
}

type deleteInstances struct {
	ForTenant
	Chosen
}

type oneInstance struct {
	ForTenant
	Named
}

func (s *Server) registerInstances(a huma.API) {
	const tag = "instances"
	handle(s, a, operation("create-instances", http.MethodPost, "/instances", "Create instances of a workload, all or none", tag), s.createInstances)
	handle(s, a, operation("list-instances", http.MethodGet, "/instances", "List instances", tag), s.listInstances)
	handle(s, a, operation("delete-instances", http.MethodDelete, "/instances", "Delete all chosen instances", tag), s.deleteInstances)
	handle(s, a, operation("list-usage", http.MethodGet, "/usage", "List what active instances use", tag), s.listUsage)
	handle(s, a, operation("get-instance", http.MethodGet, "/instances/{ref}", "Show an instance", tag), s.one(s.config.UseCases.Instance))
	handle(s, a, operation("delete-instance", http.MethodDelete, "/instances/{ref}", "Delete an instance", tag), s.one(s.config.UseCases.DeleteInstance))
	handle(s, a, operation("list-traces", http.MethodGet, "/instances/{ref}/traces", "List the ways of the latest commands to an instance through the cluster, oldest first", tag), s.listTraces)
	start := operation("start-instance", http.MethodPost, "/instances/{ref}/start", "Start a stopped, exited or failed instance", tag)
	start.DefaultStatus = http.StatusOK
	handle(s, a, start, s.one(s.config.UseCases.StartInstance))
	stop := operation("stop-instance", http.MethodPost, "/instances/{ref}/stop", "Stop an instance; its name, addresses and disk are kept", tag)
	stop.DefaultStatus = http.StatusOK
	handle(s, a, stop, s.one(s.config.UseCases.StopInstance))
}

func (s *Server) listTraces(ctx context.Context, in *oneInstance) (api.List[api.Trace], error) {
	scope, err := s.scope(ctx, in.Tenant)
	if err != nil {
		return api.List[api.Trace]{}, err
	}
	found, err := s.config.UseCases.Traces(ctx, scope, in.Ref)
	return api.List[api.Trace]{Items: list(found)}, err
}

func (s *Server) createInstances(ctx context.Context, in *createInstances) (api.List[api.Instance], error) {
	tenant, err := s.owner(ctx, in.Tenant)
	if err != nil {
		return api.List[api.Instance]{}, err
	}
	created, err := s.config.UseCases.CreateInstances(ctx, tenant, controller.InstanceRequest{
		Workload: in.Body.Workload, Count: in.Body.Count, Name: in.Body.Name, Labels: in.Body.Labels, SSHKeys: in.Body.SSHKeys, SSHKeyNames: in.Body.SSHKeyNames,
		Volumes: each(in.Body.Volumes, attachmentOf),
	})
	if err != nil {
		return api.List[api.Instance]{}, err
	}
	return api.List[api.Instance]{Items: s.instances(ctx, tenant, created)}, nil
}

func (s *Server) listInstances(ctx context.Context, in *listInstances) (api.List[api.Instance], error) {
	scope, filter, err := s.filter(ctx, in.Tenant, in.Chosen)
	if err != nil {
		return api.List[api.Instance]{}, err
	}
	filter.Page = controller.Page(in.Page)
	found, next, err := s.config.UseCases.Instances(ctx, scope, filter)
	if err != nil {
		return api.List[api.Instance]{}, err
	}
	return api.List[api.Instance]{Items: s.instances(ctx, scope, found), Next: next}, nil
}

func (s *Server) listUsage(ctx context.Context, in *listUsage) (api.List[api.InstanceUsage], error) {
	scope, err := s.scope(ctx, in.Tenant)
	if err != nil {
		return api.List[api.InstanceUsage]{}, err
	}
	found, next, err := s.config.UseCases.InstanceUsages(ctx, scope, controller.Page(in.Page))
	return api.List[api.InstanceUsage]{Items: each(found, usageOf), Next: next}, err
}

// deleteInstances needs a tenant even from an operator: "all" must never mean everybody's by omission.
func (s *Server) deleteInstances(ctx context.Context, in *deleteInstances) (api.Deleted, error) {
	if _, err := s.owner(ctx, in.Tenant); err != nil {
		return api.Deleted{}, err
	}
	scope, filter, err := s.filter(ctx, in.Tenant, in.Chosen)
	if err != nil {
		return api.Deleted{}, err
	}
	count, err := s.config.UseCases.DeleteInstances(ctx, scope, filter)
	return api.Deleted{Count: count}, err
}

func (s *Server) filter(ctx context.Context, tenant string, in Chosen) (string, controller.InstanceFilter, error) {
	scope, err := s.scope(ctx, tenant)
	if err != nil {
		return "", controller.InstanceFilter{}, err
	}
	filter := controller.InstanceFilter{State: cluster.State(in.State), Node: in.Node}
	if in.Workload != "" {
		workload, err := s.config.UseCases.Workload(ctx, scope, in.Workload)
		if err != nil {
			return "", controller.InstanceFilter{}, err
		}
		filter.Workload = workload.ID
	}
	filter.Labels, err = labels(in.Label)
	return scope, filter, err
}

func labels(texts []string) (map[string]string, error) {
	if len(texts) == 0 {
		return nil, nil
	}
	chosen := make(map[string]string, len(texts))
	for _, text := range texts {
		key, value, _ := strings.Cut(text, "=")
		if key == "" {
			return nil, fmt.Errorf("label %q: %w: it must be KEY=VALUE", text, cluster.ErrInvalid)
		}
		chosen[key] = value
	}
	return chosen, nil
}

// one makes the handler of a use case on one instance.
func (s *Server) one(do func(ctx context.Context, scope, ref string) (cluster.Instance, error)) func(context.Context, *oneInstance) (api.Instance, error) {
	return func(ctx context.Context, in *oneInstance) (api.Instance, error) {
		scope, err := s.scope(ctx, in.Tenant)
		if err != nil {
			return api.Instance{}, err
		}
		found, err := do(ctx, scope, in.Ref)
		if err != nil {
			return api.Instance{}, err
		}
		return s.instances(ctx, scope, []cluster.Instance{found})[0], nil
	}
}

// instances translates, with the names of the workloads, which instances know by id only.
func (s *Server) instances(ctx context.Context, scope string, found []cluster.Instance) []api.Instance {
	names := s.workloadNames(scope)
	out := make([]api.Instance, len(found))
	for i, instance := range found {
		out[i] = s.instanceOf(instance, names(ctx, instance.Workload))
	}
	return out
}

// workloadNames looks names up, each once.
func (s *Server) workloadNames(scope string) func(ctx context.Context, id string) string {
	known := make(map[string]string)
	return func(ctx context.Context, id string) string {
		if name, found := known[id]; found {
			return name
		}
		name := id
		if workload, err := s.config.UseCases.Workload(ctx, scope, id); err == nil {
			name = workload.Name
		}
		known[id] = name
		return name
	}
}
