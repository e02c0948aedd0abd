package apiserver

import (
	"context"
	"io"
	"net/netip"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/controller"
	"github.com/ciaocloud/ciao/cluster/store"
	"github.com/ciaocloud/ciao/cluster/stream"
)

// UseCases is what the server needs of a *controller.Controller, whose documentation says what each method means. scope is
// controller.Operator or the id of a tenant; methods without one are the operator's, which the server checks before it calls.
type UseCases interface {
	CreateTenant(ctx context.Context, request controller.TenantRequest) (cluster.Tenant, error)
	Tenants(ctx context.Context, scope string, page controller.Page) (tenants []cluster.Tenant, next string, err error)
	Tenant(ctx context.Context, scope, ref string) (cluster.Tenant, store.Revision, error)
	UpdateTenant(ctx context.Context, ref string, update controller.TenantUpdate, match store.Revision) (cluster.Tenant, store.Revision, error)
	DeleteTenant(ctx context.Context, ref string) error

	Quota(ctx context.Context, scope, tenant string) (cluster.Quota, cluster.Usage, store.Revision, error)
	UpdateQuota(ctx context.Context, tenant string, update controller.QuotaUpdate, match store.Revision) (cluster.Quota, cluster.Usage, store.Revision, error)

	CreateWorkload(ctx context.Context, scope string, request controller.WorkloadRequest) (cluster.Workload, error)
	Workloads(ctx context.Context, scope string, page controller.Page) (workloads []cluster.Workload, next string, err error)
	Workload(ctx context.Context, scope, ref string) (cluster.Workload, error)
	DeleteWorkload(ctx context.Context, scope, ref string) error

	CreateImage(ctx context.Context, scope string, request controller.ImageRequest) (controller.ImageUpload, error)
	UploadImage(ctx context.Context, scope, ref string, offset int64, content io.Reader) (controller.ImageUpload, error)
	Images(ctx context.Context, scope string, page controller.Page) (images []controller.ImageUpload, next string, err error)
	Image(ctx context.Context, scope, ref string) (controller.ImageUpload, error)
	OpenImage(ctx context.Context, scope, ref string) (cluster.Image, io.ReadSeekCloser, error)
	OpenBlob(ctx context.Context, node, digest string) (io.ReadSeekCloser, error)
	DeleteImage(ctx context.Context, scope, ref string) error

	CreateVolume(ctx context.Context, tenant string, request controller.VolumeRequest) (cluster.Volume, error)
	Volumes(ctx context.Context, scope string, page controller.Page) (volumes []cluster.Volume, next string, err error)
	Volume(ctx context.Context, scope, ref string) (cluster.Volume, error)
	AttachVolume(ctx context.Context, scope, ref, instance string, place cluster.VolumePlace) (cluster.Volume, error)
	DetachVolume(ctx context.Context, scope, ref string) (cluster.Volume, error)
	DeleteVolume(ctx context.Context, scope, ref string) (cluster.Volume, error)

	CreateSSHKey(ctx context.Context, tenant, name, key string) (cluster.SSHKey, error)
	SSHKeys(ctx context.Context, scope string, page controller.Page) (keys []cluster.SSHKey, next string, err error)
	SSHKey(ctx context.Context, scope, ref string) (cluster.SSHKey, error)
	DeleteSSHKey(ctx context.Context, scope, ref string) error

	CreateInstances(ctx context.Context, tenant string, request controller.InstanceRequest) ([]cluster.Instance, error)
	Instances(ctx context.Context, scope string, filter controller.InstanceFilter) (instances []cluster.Instance, next string, err error)
	Instance(ctx context.Context, scope, ref string) (cluster.Instance, error)
	StartInstance(ctx context.Context, scope, ref string) (cluster.Instance, error)
	StopInstance(ctx context.Context, scope, ref string) (cluster.Instance, error)
	DeleteInstance(ctx context.Context, scope, ref string) (cluster.Instance, error)
	DeleteInstances(ctx context.Context, scope string, filter controller.InstanceFilter) (count int, err error)

	InstanceUsages(ctx context.Context, scope string, page controller.Page) (list []controller.InstanceUsage, next string, err error)
	Traces(ctx context.Context, scope, ref string) ([]cluster.Trace, error)
	OpenLogs(ctx context.Context, scope, ref string, request controller.LogsRequest) (stream.Conn, error)
	OpenExec(ctx context.Context, scope, ref string, request controller.ExecRequest) (stream.Conn, error)
	OpenConsole(ctx context.Context, scope, ref string, takeover bool) (stream.Conn, error)
	JoinStream(ctx context.Context, node, id, secret string, accept func() (stream.Conn, error)) error

	Nodes(ctx context.Context) ([]cluster.Node, error)
	Node(ctx context.Context, ref string) (cluster.Node, error)
	EvacuateNode(ctx context.Context, ref string, lost bool) (cluster.Node, error)
	RestoreNode(ctx context.Context, ref string) (cluster.Node, error)
	DeleteNode(ctx context.Context, ref string) error
	NodeStatistics(node string) (cluster.NodeStatistics, bool)

	CNCIs(ctx context.Context, scope string) ([]controller.CNCI, error)
	CNCI(ctx context.Context, scope, id string) (controller.CNCI, error)

	CreatePool(ctx context.Context, name string, prefixes []netip.Prefix) (cluster.Pool, error)
	Pools(ctx context.Context) ([]cluster.Pool, error)
	Pool(ctx context.Context, ref string) (cluster.Pool, error)
	UpdatePool(ctx context.Context, ref string, add, remove []netip.Prefix) (cluster.Pool, error)
	DeletePool(ctx context.Context, ref string) error

	CreateExternalIP(ctx context.Context, tenant string, request controller.ExternalIPRequest) (controller.ExternalIP, error)
	ExternalIPs(ctx context.Context, scope string) ([]controller.ExternalIP, error)
	ExternalAddresses(instance string) []netip.Addr
	Login(instance cluster.Instance) netip.AddrPort
	PublishedPorts(instance cluster.Instance) []controller.PublishedPort
	ExternalIP(ctx context.Context, scope, address string) (controller.ExternalIP, error)
	AttachExternalIP(ctx context.Context, scope, address, instance string) (controller.ExternalIP, error)
	DetachExternalIP(ctx context.Context, scope, address string) (controller.ExternalIP, error)
	DeleteExternalIP(ctx context.Context, scope, address string) error

	Events(ctx context.Context, scope string, filter controller.EventFilter) (events []cluster.Event, next string, err error)
	ClearEvents(ctx context.Context) (count int, err error)

	Watch(ctx context.Context, scope string, kinds ...controller.ChangeKind) <-chan controller.Change
	Counters() controller.Counters

	SettleStore(ctx context.Context) error
}

var _ UseCases = (*controller.Controller)(nil)
