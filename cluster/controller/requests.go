package controller

import (
	"net/netip"
	"time"

	"github.com/ciaocloud/ciao/cluster"
)

// Operator is the scope that sees every tenant's things. Any other scope is the id of a tenant, which sees its own.
const Operator = ""

// Page bounds a list. Lists are in order of ids; the cursor that a list returns is the After of its next page, empty at the end.
type Page struct {
	After string
	Limit int // 0 is all
}

// TenantRequest is a tenant to be created.
type TenantRequest struct {
	ID          string // UUID; made up when empty
	Name        string
	SubnetBits  int // 0 is cluster.DefaultSubnetBits
	Permissions cluster.Permissions
	Quota       *cluster.Quota // nil is cluster.NoQuota
}

// TenantUpdate changes what is not nil. SubnetBits counts for subnets that are made later.
type TenantUpdate struct {
	Name        *string
	SubnetBits  *int
	Permissions *cluster.Permissions
}

// QuotaUpdate changes what is not nil.
type QuotaUpdate struct {
	Instances         *cluster.Limit
	VCPUs             *cluster.Limit
	MemoryMiB         *cluster.Limit
	DiskMiB           *cluster.Limit
	Images            *cluster.Limit
	ExternalIPs       *cluster.Limit
	Volumes           *cluster.Limit
	InstanceVCPUs     *cluster.Limit
	InstanceMemoryMiB *cluster.Limit
	InstanceDiskMiB   *cluster.Limit
}

// WorkloadRequest is a workload to be created.
type WorkloadRequest struct {
	Name       string
	Visibility cluster.Visibility // empty: public for the operator, private for a tenant
	Spec       cluster.WorkloadSpec
}

// InstanceRequest asks for instances of one workload.
type InstanceRequest struct {
	Workload string            // name or id; a tenant's own goes before a public one of the same name
	Count    int               // 0 is 1
	Name     string            // of the one, or the stem of name-1 to name-Count; empty is made up
	Labels   map[string]string // at most 64, keys of 1 to 63 and values of up to 255 bytes
	SSHKeys  []string          // of virtual machines, in addition to the workload's

	SSHKeyNames []string           // names or ids of keys that the tenant keeps, for the same
	Volumes     []VolumeAttachment // existing ones of the one instance, beside those of the workload
}

// InstanceFilter chooses instances; empty fields choose all.
type InstanceFilter struct {
	Page
	State    cluster.State
	Node     string // id
	Workload string // id
	Subnet   string // id
	Name     string
	Labels   map[string]string // all of these
}

// EventFilter chooses events, newest last.
type EventFilter struct {
	Page
	Instance string // id
	Node     string // id
	Since    time.Time
}

// CNCI is the network service of one subnet, as shown to people.
type CNCI struct {
	ID        string
	Tenant    string
	Subnet    string
	Prefix    netip.Prefix
	Prefix6   netip.Prefix // invalid before its subnet has one
	Gateway   netip.Addr
	State     cluster.State
	Node      string
	Underlay  netip.Addr // invalid before its agent reported it
	Reason    string
	Instances int // addresses that are in use in its subnet
	Created   time.Time
}

// ChangeKind says what a Change is about.
type ChangeKind string

// Kinds of changes.
const (
	ChangeInstance ChangeKind = "instance"
	ChangeNode     ChangeKind = "node"
	ChangeCNCI     ChangeKind = "cnci"
	ChangeEvent    ChangeKind = "event"
	ChangeProgress ChangeKind = "progress" // of a start; never stored
	ChangeResync   ChangeKind = "resync"   // changes were missed, or the stream begins: list again
)

// Change is one change of what the watcher may see. Of what is deleted only the id is given.
type Change struct {
	Kind     ChangeKind
	ID       string
	Deleted  bool
	Instance *cluster.Instance
	Node     *cluster.Node
	CNCI     *CNCI
	Event    *cluster.Event
	Progress *Progress
}

// Progress is how far the start of an instance has come.
type Progress struct {
	Instance string
	Step     string // pull, network, create, start
	Percent  int    // -1 is unknown
	Message  string
}
