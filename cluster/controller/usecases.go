package controller

import (
	"context"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/store"
)

// UseCases are the methods of *Controller that faces call. All may be called from many goroutines; errors are of the classes of
// package cluster. scope is Operator or the id of a tenant; ref is an id or a name. Methods without a scope are the operator's:
// the face checks that before it calls. match is the revision of an ETag: when it is not zero and the thing has changed since,
// the answer is cluster.ErrConflict.
type UseCases interface {
	CreateTenant(ctx context.Context, request TenantRequest) (cluster.Tenant, error)
	Tenants(ctx context.Context, scope string, page Page) (tenants []cluster.Tenant, next string, err error)
	Tenant(ctx context.Context, scope, ref string) (cluster.Tenant, store.Revision, error)
	UpdateTenant(ctx context.Context, ref string, update TenantUpdate, match store.Revision) (cluster.Tenant, store.Revision, error)
	DeleteTenant(ctx context.Context, ref string) error // ErrConflict while it has instances

	Quota(ctx context.Context, scope, tenant string) (cluster.Quota, cluster.Usage, store.Revision, error)
	UpdateQuota(ctx context.Context, tenant string, update QuotaUpdate, match store.Revision) (cluster.Quota, cluster.Usage, store.Revision, error)

	CreateWorkload(ctx context.Context, scope string, request WorkloadRequest) (cluster.Workload, error)
	Workloads(ctx context.Context, scope string, page Page) (workloads []cluster.Workload, next string, err error)
	Workload(ctx context.Context, scope, ref string) (cluster.Workload, error)
	DeleteWorkload(ctx context.Context, scope, ref string) error // ErrConflict names the instances that use it

	CreateInstances(ctx context.Context, tenant string, request InstanceRequest) ([]cluster.Instance, error)
	Instances(ctx context.Context, scope string, filter InstanceFilter) (instances []cluster.Instance, next string, err error)
	Instance(ctx context.Context, scope, ref string) (cluster.Instance, error)
	StartInstance(ctx context.Context, scope, ref string) (cluster.Instance, error)
	StopInstance(ctx context.Context, scope, ref string) (cluster.Instance, error)
	DeleteInstance(ctx context.Context, scope, ref string) (cluster.Instance, error)
	DeleteInstances(ctx context.Context, scope string, filter InstanceFilter) (count int, err error)

	Nodes(ctx context.Context) ([]cluster.Node, error)
	Node(ctx context.Context, ref string) (cluster.Node, error)
	NodeStatistics(node string) (cluster.NodeStatistics, bool)
	InstanceStatistics(ctx context.Context, scope, ref string) (cluster.InstanceStatistics, bool, error)

	CNCIs(ctx context.Context, scope string) ([]CNCI, error)
	CNCI(ctx context.Context, scope, id string) (CNCI, error)

	Events(ctx context.Context, scope string, filter EventFilter) (events []cluster.Event, next string, err error)
	ClearEvents(ctx context.Context) (count int, err error)

	// Watch sends changes of the wanted kinds (none: all) until ctx ends. It begins with a resync and sends one again when the
	// reader was too slow or the controller's connection to its store was lost.
	Watch(ctx context.Context, scope string, kinds ...ChangeKind) <-chan Change

	Counters() Counters
}

var _ UseCases = (*Controller)(nil)
