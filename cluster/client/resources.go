package client

import (
	"context"
	"net/http"
	"net/url"

	"github.com/ciaocloud/ciao/cluster/api"
)

// InstanceFilter chooses instances; empty fields choose all.
type InstanceFilter struct {
	State    string
	Workload string // name or id
	Node     string // id
	Labels   []string
}

func (f InstanceFilter) values() url.Values {
	query := values("state", f.State, "workload", f.Workload, "node", f.Node)
	for _, label := range f.Labels {
		query.Add("label", label)
	}
	return query
}

// CreateInstances creates instances, all or none.
func (c *Client) CreateInstances(ctx context.Context, request api.CreateInstances) ([]api.Instance, error) {
	created, err := exchange[api.List[api.Instance]](ctx, c, http.MethodPost, "instances", nil, request)
	return created.Items, err
}

// Instances lists instances.
func (c *Client) Instances(ctx context.Context, filter InstanceFilter) ([]api.Instance, error) {
	return all[api.Instance](ctx, c, "instances", filter.values())
}

// Instance shows one, by id or name.
func (c *Client) Instance(ctx context.Context, ref string) (api.Instance, error) {
	return get[api.Instance](ctx, c, "instances/"+url.PathEscape(ref), nil)
}

// Traces lists the ways of the latest commands to an instance, oldest first.
func (c *Client) Traces(ctx context.Context, ref string) ([]api.Trace, error) {
	return all[api.Trace](ctx, c, "instances/"+url.PathEscape(ref)+"/traces", nil)
}

// Usage lists what active instances use.
func (c *Client) Usage(ctx context.Context) ([]api.InstanceUsage, error) {
	return all[api.InstanceUsage](ctx, c, "usage", nil)
}

// StartInstance starts a stopped, exited or failed instance.
func (c *Client) StartInstance(ctx context.Context, ref string) (api.Instance, error) {
	return exchange[api.Instance](ctx, c, http.MethodPost, "instances/"+url.PathEscape(ref)+"/start", nil, nil)
}

// StopInstance stops an instance.
func (c *Client) StopInstance(ctx context.Context, ref string) (api.Instance, error) {
	return exchange[api.Instance](ctx, c, http.MethodPost, "instances/"+url.PathEscape(ref)+"/stop", nil, nil)
}

// DeleteInstance deletes an instance.
func (c *Client) DeleteInstance(ctx context.Context, ref string) (api.Instance, error) {
	return exchange[api.Instance](ctx, c, http.MethodDelete, "instances/"+url.PathEscape(ref), nil, nil)
}

// DeleteInstances deletes all chosen instances of the tenant and says how many.
func (c *Client) DeleteInstances(ctx context.Context, filter InstanceFilter) (int, error) {
	deleted, err := exchange[api.Deleted](ctx, c, http.MethodDelete, "instances", filter.values(), nil)
	return deleted.Count, err
}

// CreateWorkload creates a workload.
func (c *Client) CreateWorkload(ctx context.Context, request api.CreateWorkload) (api.Workload, error) {
	return exchange[api.Workload](ctx, c, http.MethodPost, "workloads", nil, request)
}

// Workloads lists the tenant's and the public workloads.
func (c *Client) Workloads(ctx context.Context) ([]api.Workload, error) {
	return all[api.Workload](ctx, c, "workloads", nil)
}

// Workload shows one, by id or name.
func (c *Client) Workload(ctx context.Context, ref string) (api.Workload, error) {
	return get[api.Workload](ctx, c, "workloads/"+url.PathEscape(ref), nil)
}

// DeleteWorkload deletes a workload that no instance uses.
func (c *Client) DeleteWorkload(ctx context.Context, ref string) error {
	return c.call(ctx, http.MethodDelete, "workloads/"+url.PathEscape(ref), nil, nil, nil)
}

// CreateTenant creates a tenant.
func (c *Client) CreateTenant(ctx context.Context, request api.CreateTenant) (api.Tenant, error) {
	return exchange[api.Tenant](ctx, c, http.MethodPost, "tenants", nil, request)
}

// Tenants lists the tenants that the caller may act for.
func (c *Client) Tenants(ctx context.Context) ([]api.Tenant, error) {
	return all[api.Tenant](ctx, c, "tenants", nil)
}

// Tenant shows one, by id or name.
func (c *Client) Tenant(ctx context.Context, ref string) (api.Tenant, error) {
	return get[api.Tenant](ctx, c, "tenants/"+url.PathEscape(ref), nil)
}

// UpdateTenant changes what is not nil.
func (c *Client) UpdateTenant(ctx context.Context, ref string, update api.UpdateTenant) (api.Tenant, error) {
	return exchange[api.Tenant](ctx, c, http.MethodPatch, "tenants/"+url.PathEscape(ref), nil, update)
}

// DeleteTenant deletes a tenant that has no instances.
func (c *Client) DeleteTenant(ctx context.Context, ref string) error {
	return c.call(ctx, http.MethodDelete, "tenants/"+url.PathEscape(ref), nil, nil, nil)
}

// Quota shows what a tenant may hold, and holds.
func (c *Client) Quota(ctx context.Context, tenant string) (api.Quota, error) {
	return get[api.Quota](ctx, c, "tenants/"+url.PathEscape(tenant)+"/quota", nil)
}

// UpdateQuota sets the named limits.
func (c *Client) UpdateQuota(ctx context.Context, tenant string, update api.UpdateQuota) (api.Quota, error) {
	return exchange[api.Quota](ctx, c, http.MethodPut, "tenants/"+url.PathEscape(tenant)+"/quota", nil, update)
}

// Nodes lists the nodes; role may be compute, network or empty.
func (c *Client) Nodes(ctx context.Context, role string) ([]api.Node, error) {
	return all[api.Node](ctx, c, "nodes", values("role", role))
}

// Node shows one, by id or host name.
func (c *Client) Node(ctx context.Context, ref string) (api.Node, error) {
	return get[api.Node](ctx, c, "nodes/"+url.PathEscape(ref), nil)
}

// EvacuateNode moves everything off a node and nothing new onto it; lost says that the node is gone for good.
func (c *Client) EvacuateNode(ctx context.Context, ref string, lost bool) (api.Node, error) {
	query := url.Values{}
	if lost {
		query.Set("lost", "true")
	}
	return exchange[api.Node](ctx, c, http.MethodPost, "nodes/"+url.PathEscape(ref)+"/evacuate", query, nil)
}

// RestoreNode lets an evacuated node take instances again.
func (c *Client) RestoreNode(ctx context.Context, ref string) (api.Node, error) {
	return exchange[api.Node](ctx, c, http.MethodPost, "nodes/"+url.PathEscape(ref)+"/restore", nil, nil)
}

// DeleteNode forgets a node that is not connected and has nothing.
func (c *Client) DeleteNode(ctx context.Context, ref string) error {
	return c.call(ctx, http.MethodDelete, "nodes/"+url.PathEscape(ref), nil, nil, nil)
}

// CNCIs lists the CNCIs of the tenant's subnets.
func (c *Client) CNCIs(ctx context.Context) ([]api.CNCI, error) {
	return all[api.CNCI](ctx, c, "cncis", nil)
}

// CNCI shows one, by id.
func (c *Client) CNCI(ctx context.Context, id string) (api.CNCI, error) {
	return get[api.CNCI](ctx, c, "cncis/"+url.PathEscape(id), nil)
}

// EventFilter chooses events; empty fields choose all.
type EventFilter struct {
	Instance string // id or name
	Node     string // id
}

// Events lists what happened, oldest first.
func (c *Client) Events(ctx context.Context, filter EventFilter) ([]api.Event, error) {
	return all[api.Event](ctx, c, "events", values("instance", filter.Instance, "node", filter.Node))
}

// ClearEvents forgets all events and says how many.
func (c *Client) ClearEvents(ctx context.Context) (int, error) {
	deleted, err := exchange[api.Deleted](ctx, c, http.MethodDelete, "events", nil, nil)
	return deleted.Count, err
}
