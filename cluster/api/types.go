package api

import (
	"net/netip"
	"time"

	"github.com/ciaocloud/ciao/cluster"
)

// Instance is one running, stopped or wanted copy of a workload.
type Instance struct {
	ID          string            `json:"id" doc:"UUID"`
	Name        string            `json:"name" doc:"host and DNS name, unique among the tenant's instances"`
	Tenant      string            `json:"tenant" doc:"id of its owner"`
	Workload    string            `json:"workload" doc:"name of its workload"`
	WorkloadID  string            `json:"workload_id" doc:"id of its workload"`
	Kind        cluster.Kind      `json:"kind" doc:"vm, container or process"`
	State       cluster.State     `json:"state" doc:"where it is in its life"`
	Desired     cluster.Desired   `json:"desired" doc:"what its owner wants of it: active, stopped or deleted"`
	Node        string            `json:"node" doc:"id of its node, empty before it has one"`
	MAC         string            `json:"mac"`
	Addresses   []netip.Addr      `json:"addresses" nullable:"false" doc:"in its tenant's network"`
	ExternalIPs []netip.Addr      `json:"external_ips" nullable:"false" doc:"addresses that are attached to it, and reach it from outside its network"`
	SSH         *Endpoint         `json:"ssh,omitempty" doc:"where a login reaches it from outside its network, if it can"`
	Ports       []PublishedPort   `json:"ports" nullable:"false" doc:"where the ports that its workload publishes are reached from outside its network"`
	Subnet      string            `json:"subnet" doc:"id of its subnet"`
	Labels      map[string]string `json:"labels" nullable:"false"`
	Created     time.Time         `json:"created"`
	Changed     time.Time         `json:"changed" doc:"when it came to its state"`
	Reason      string            `json:"reason" doc:"why it is in its state, for people"`
	Explanation string            `json:"explanation" doc:"why it was placed on its node"`
	Refusals    []cluster.Refusal `json:"refusals" nullable:"false" doc:"nodes that could not start it since it was last asked to start, the last five, and what they said"`
	ExitCode    *int              `json:"exit_code,omitempty" doc:"of an instance that ended by itself"`
	Generation  uint64            `json:"generation" doc:"counts its starts"`
	VCPUs       float64           `json:"vcpus"`
	MemoryMiB   int64             `json:"memory_mib"`
	Replaces    string            `json:"replaces,omitempty" doc:"id of the instance that it takes over from when it is active"`
	DiskMiB     int64             `json:"disk_mib" doc:"that is kept for it on its node"`
}

// Endpoint is a host and a port.
type Endpoint struct {
	Host string `json:"host"`
	Port int    `json:"port"`
	User string `json:"user,omitempty" doc:"whom the SSH keys let in, where the workload's cloud_init says it (user: NAME); otherwise the image's own user"`
}

// PublishedPort is a port of an instance that is reached from outside its network.
type PublishedPort struct {
	Host      string           `json:"host" doc:"the address of its CNCI, or an external IP"`
	Published int              `json:"published" doc:"the port of that address"`
	Port      int              `json:"port" doc:"of the instance, that it leads to"`
	Protocol  cluster.Protocol `json:"protocol" doc:"tcp or udp"`
}

// PortSpec publishes a port of each instance of a workload.
type PortSpec struct {
	Port      int                 `json:"port" doc:"that the instance listens on"`
	Protocol  cluster.Protocol    `json:"protocol,omitempty" doc:"tcp (the default) or udp"`
	Address   cluster.PortAddress `json:"address,omitempty" doc:"cnci (the default): the address of the CNCI of the instance's subnet; external-ip: its external IPs"`
	Published int                 `json:"published,omitempty" doc:"port of that address, 1 to 15999 on the CNCI, where it leads to one instance of a subnet; by default one is chosen for each instance, and on external IPs the same as port"`
}

// CreateInstances asks for instances of one workload.
type CreateInstances struct {
	Workload string            `json:"workload" minLength:"1" maxLength:"64" doc:"name or id"`
	Count    int               `json:"count,omitempty" minimum:"1" maximum:"10000" default:"1" doc:"how many"`
	Name     string            `json:"name,omitempty" maxLength:"63" doc:"the name, or the stem of the names NAME-1 to NAME-count; made up when empty"`
	Labels   map[string]string `json:"labels,omitempty" maxProperties:"64"`
	SSHKeys  []string          `json:"ssh_keys,omitempty" maxItems:"64" doc:"public keys, in addition to the workload's, that let the user of a virtual machine's image in"`

	SSHKeyNames []string `json:"ssh_key_names,omitempty" maxItems:"64" doc:"names or ids of keys that the tenant keeps, for the same"`

	Volumes []InstanceVolume `json:"volumes,omitempty" maxItems:"16" doc:"existing volumes, of one instance, beside those of its workload"`
}

// InstanceUsage is what an active instance uses, as its node last sampled it.
type InstanceUsage struct {
	ID            string    `json:"id" doc:"of the instance"`
	Name          string    `json:"name"`
	Tenant        string    `json:"tenant"`
	Node          string    `json:"node"`
	VCPUs         float64   `json:"vcpus" doc:"that it asked for"`
	VCPUsUsed     float64   `json:"vcpus_used" doc:"since the sample before; -1 is unknown"`
	MemoryMiB     int64     `json:"memory_mib" doc:"that it asked for"`
	MemoryMiBUsed int64     `json:"memory_mib_used" doc:"-1 is unknown"`
	DiskMiBUsed   int64     `json:"disk_mib_used" doc:"-1 is unknown"`
	Pids          int64     `json:"pids" doc:"processes and threads; -1 is unknown"`
	Time          time.Time `json:"time" doc:"of the sample"`
}

// Workload is the recipe of instances.
type Workload struct {
	ID           string                `json:"id" doc:"UUID"`
	Name         string                `json:"name"`
	Tenant       string                `json:"tenant" doc:"its owner; empty for a public workload"`
	Visibility   cluster.Visibility    `json:"visibility" doc:"public or private"`
	Kind         cluster.Kind          `json:"kind"`
	Description  string                `json:"description"`
	Image        string                `json:"image"`
	Pull         cluster.PullPolicy    `json:"pull"`
	CloudInit    string                `json:"cloud_init" doc:"vm: user data, as cloud-init reads it"`
	SSHKeys      []string              `json:"ssh_keys" nullable:"false" doc:"vm: public keys that let the image's user in"`
	Firmware     cluster.Firmware      `json:"firmware" doc:"vm: bios or uefi"`
	Command      []string              `json:"command" nullable:"false"`
	Environment  map[string]string     `json:"environment" nullable:"false"`
	User         string                `json:"user" doc:"of a process"`
	Directory    string                `json:"directory" doc:"in which a process begins"`
	Requirements Requirements          `json:"requirements"`
	Ports        []PortSpec            `json:"ports" nullable:"false" doc:"that are reached from outside the tenant's network"`
	Volumes      []VolumeSpec          `json:"volumes" nullable:"false"`
	Privileged   bool                  `json:"privileged"`
	Restart      cluster.RestartPolicy `json:"restart"`
	Drain        cluster.DrainOrder    `json:"drain" doc:"stop-first or start-first: what an instance does first when its node is evacuated"`
	StopGrace    string                `json:"stop_grace" doc:"a duration such as 10s"`
	Created      time.Time             `json:"created"`
}

// Requirements are what an instance takes of a node, and which nodes will do.
type Requirements struct {
	VCPUs     float64           `json:"vcpus,omitempty" doc:"with at most three digits behind the point"`
	MemoryMiB int64             `json:"memory_mib,omitempty"`
	DiskMiB   int64             `json:"disk_mib,omitempty" doc:"disk that is kept for it on its node; of a vm the size of its disk, at least the image's"`
	Pids      int64             `json:"pids,omitempty" doc:"most processes and threads at one time"`
	Node      string            `json:"node,omitempty" doc:"id of the only node that will do"`
	Hostname  string            `json:"hostname,omitempty" doc:"host name of the only node that will do"`
	Labels    map[string]string `json:"labels,omitempty" maxProperties:"64" doc:"only nodes that have all of them will do"`
	Together  string            `json:"together,omitempty" doc:"name of a group: all of the tenant's instances of this group are on one node"`
	Spread    string            `json:"spread,omitempty" doc:"name of a group: no two of the tenant's instances of this group on one node"`
}

// CreateWorkload is a new recipe. Empty fields take their defaults.
type CreateWorkload struct {
	Name         string                `json:"name" minLength:"1" maxLength:"63"`
	Visibility   cluster.Visibility    `json:"visibility,omitempty" doc:"private is the default; public needs an operator"`
	Kind         cluster.Kind          `json:"kind"`
	Description  string                `json:"description,omitempty" maxLength:"1024"`
	Image        string                `json:"image,omitempty" maxLength:"255"`
	Pull         cluster.PullPolicy    `json:"pull,omitempty" doc:"missing (the default) or never"`
	CloudInit    string                `json:"cloud_init,omitempty" maxLength:"65536" doc:"vm: user data, as cloud-init reads it"`
	SSHKeys      []string              `json:"ssh_keys,omitempty" maxItems:"64" doc:"vm: public keys that let the image's user in"`
	Firmware     cluster.Firmware      `json:"firmware,omitempty" doc:"vm: bios (the default) or uefi"`
	Command      []string              `json:"command,omitempty" maxItems:"256"`
	Environment  map[string]string     `json:"environment,omitempty" maxProperties:"256"`
	User         string                `json:"user,omitempty" doc:"of a process: a name or UID[:GID]; nobody is the default"`
	Directory    string                `json:"directory,omitempty" doc:"in which a process begins; / is the default"`
	Requirements Requirements          `json:"requirements,omitempty"`
	Ports        []PortSpec            `json:"ports,omitempty" maxItems:"8" doc:"that are reached from outside the tenant's network"`
	Volumes      []VolumeSpec          `json:"volumes,omitempty" maxItems:"16"`
	Privileged   bool                  `json:"privileged,omitempty"`
	Restart      cluster.RestartPolicy `json:"restart,omitempty"`
	Drain        cluster.DrainOrder    `json:"drain,omitempty" doc:"stop-first (the default) or start-first"`
	StopGrace    string                `json:"stop_grace,omitempty" doc:"a duration such as 10s"`
}

// Image is what VMs, containers and processes start from, uploaded to the cluster.
type Image struct {
	ID         string              `json:"id" doc:"UUID"`
	Name       string              `json:"name"`
	Tenant     string              `json:"tenant" doc:"its owner; empty for a public or internal image"`
	Visibility cluster.Visibility  `json:"visibility" doc:"private, public, or internal: the cluster's own"`
	State      cluster.ImageState  `json:"state" doc:"uploading until all of its content is there and right, then active"`
	Format     cluster.ImageFormat `json:"format" doc:"qcow2 or raw (disks of VMs), tar (a file system), docker-archive; empty before it is known"`
	Bytes      int64               `json:"bytes" doc:"of its content"`
	Uploaded   int64               `json:"uploaded" doc:"bytes that are there: an upload goes on from here"`
	DiskBytes  int64               `json:"disk_bytes" doc:"of the disk that it holds, as a VM sees it; 0 if it holds none"`
	Digest     string              `json:"digest" doc:"sha256:HEX of its content; before it is active, what it must be, if anything"`
	Reason     string              `json:"reason" doc:"why the last upload was refused"`
	Created    time.Time           `json:"created"`
}

// CreateImage is a new image, whose content is uploaded afterwards.
type CreateImage struct {
	Name       string              `json:"name" minLength:"1" maxLength:"63"`
	Visibility cluster.Visibility  `json:"visibility,omitempty" doc:"private is the default; public and internal need an operator"`
	Format     cluster.ImageFormat `json:"format,omitempty" doc:"that the content must have; found out when empty"`
	Bytes      int64               `json:"bytes" minimum:"1" doc:"of the content"`
	Digest     string              `json:"digest,omitempty" maxLength:"71" doc:"sha256:HEX that the content must have"`
}

// BlobPath is where nodes, and nobody else, read the contents of images that they need: the digest follows.
const BlobPath = Version + "/blobs/"

// VolumeSpec is a volume of each instance of a workload: an existing one, or one that is made with the instance.
type VolumeSpec struct {
	Volume    string          `json:"volume,omitempty" maxLength:"64" doc:"name or id of an existing one"`
	SizeMiB   int64           `json:"size_mib,omitempty" doc:"of one that is made with the instance"`
	Image     string          `json:"image,omitempty" maxLength:"64" doc:"uploaded image that it begins as a copy of"`
	Target    string          `json:"target,omitempty" maxLength:"255" doc:"containers and processes: absolute path at which they find it"`
	ReadOnly  bool            `json:"read_only,omitempty"`
	Ephemeral bool            `json:"ephemeral,omitempty" doc:"it goes with its instance"`
	Storage   cluster.Storage `json:"storage,omitempty" enum:"local,ceph" doc:"what keeps one that is made with the instance: its node, or the cluster's Ceph; the cluster's choice when empty"`
}

// Volume is storage that outlives instances.
type Volume struct {
	ID        string                `json:"id" doc:"UUID"`
	Name      string                `json:"name" doc:"empty for one that was made with its instance"`
	Tenant    string                `json:"tenant" doc:"id of its owner"`
	State     cluster.VolumeState   `json:"state" doc:"creating, available, attaching, attached, detaching, deleting or failed"`
	Content   cluster.VolumeContent `json:"content" doc:"disk (VMs) or filesystem (containers, processes); empty until its first instance decides"`
	Storage   cluster.Storage       `json:"storage" doc:"what keeps it: local (its node) or ceph (all nodes reach it); empty until its first instance decides, when it was left to the cluster"`
	SizeMiB   int64                 `json:"size_mib"`
	Image     string                `json:"image" doc:"name of the image that it began as a copy of"`
	Source    string                `json:"source" doc:"id of the volume that it began as a copy of"`
	Node      string                `json:"node" doc:"id of the node that it is on; empty before its first instance is placed, and for one that all nodes reach"`
	Instance  string                `json:"instance" doc:"id of the instance that has it"`
	Target    string                `json:"target" doc:"where the instance finds it"`
	ReadOnly  bool                  `json:"read_only"`
	Ephemeral bool                  `json:"ephemeral" doc:"it goes with its instance"`
	Reason    string                `json:"reason" doc:"why it is in its state, for people"`
	Created   time.Time             `json:"created"`
}

// CreateVolume is a new volume: empty, or a copy of an image or of a volume.
type CreateVolume struct {
	Name    string          `json:"name,omitempty" maxLength:"63" doc:"made up when empty"`
	SizeMiB int64           `json:"size_mib,omitempty" doc:"that of what it is a copy of when 0"`
	Image   string          `json:"image,omitempty" maxLength:"64" doc:"name or id of an uploaded image"`
	Volume  string          `json:"volume,omitempty" maxLength:"64" doc:"name or id of a volume that no instance has"`
	Storage cluster.Storage `json:"storage,omitempty" enum:"local,ceph" doc:"what keeps it: a node, or the cluster's Ceph; the cluster's choice when empty"`
}

// AttachVolume gives a volume to an instance: a VM that runs, or one that does not run.
type AttachVolume struct {
	Instance string `json:"instance" minLength:"1" maxLength:"64" doc:"name or id"`
	Target   string `json:"target,omitempty" maxLength:"255" doc:"containers and processes: absolute path at which they find it"`
	ReadOnly bool   `json:"read_only,omitempty"`
}

// InstanceVolume is an existing volume that a new instance has.
type InstanceVolume struct {
	Volume   string `json:"volume" minLength:"1" maxLength:"64" doc:"name or id"`
	Target   string `json:"target,omitempty" maxLength:"255" doc:"containers and processes: absolute path at which they find it"`
	ReadOnly bool   `json:"read_only,omitempty"`
}

// Tenant is the owner of instances, networks and quotas.
type Tenant struct {
	ID                   string    `json:"id" doc:"UUID: the Organization of its users' certificates"`
	Name                 string    `json:"name"`
	SubnetBits           int       `json:"subnet_bits" doc:"prefix length of each of its subnets"`
	PrivilegedContainers bool      `json:"privileged_containers"`
	Created              time.Time `json:"created"`
}

// CreateTenant is a new tenant.
type CreateTenant struct {
	ID                   string `json:"id,omitempty" maxLength:"36" doc:"a UUID; made up when empty"`
	Name                 string `json:"name" minLength:"1" maxLength:"63"`
	SubnetBits           int    `json:"subnet_bits,omitempty" doc:"16 to 29, 24 when empty"`
	PrivilegedContainers bool   `json:"privileged_containers,omitempty"`
}

// UpdateTenant changes what is not null.
type UpdateTenant struct {
	Name                 *string `json:"name,omitempty" minLength:"1" maxLength:"63"`
	SubnetBits           *int    `json:"subnet_bits,omitempty"`
	PrivilegedContainers *bool   `json:"privileged_containers,omitempty"`
}

// Quota is what a tenant may hold, and holds.
type Quota struct {
	Tenant string      `json:"tenant"`
	Items  []QuotaItem `json:"items" nullable:"false"`
}

// Names of quotas.
const (
	QuotaInstances         = "instances"
	QuotaVCPUs             = "vcpus"
	QuotaMemoryMiB         = "memory_mib"
	QuotaDiskMiB           = "disk_mib"
	QuotaImages            = "images"
	QuotaExternalIPs       = "external_ips"
	QuotaVolumes           = "volumes"
	QuotaInstanceVCPUs     = "instance_vcpus" // of one instance
	QuotaInstanceMemoryMiB = "instance_memory_mib"
	QuotaInstanceDiskMiB   = "instance_disk_mib"
)

// QuotaItem is one bounded amount.
type QuotaItem struct {
	Name  string  `json:"name" doc:"instances, vcpus, memory_mib, disk_mib, images, external_ips, volumes: what all of the tenant's may be; instance_vcpus, instance_memory_mib, instance_disk_mib: what each instance may have"`
	Limit string  `json:"limit" doc:"a whole number, or unlimited"`
	Used  float64 `json:"used"`
	Each  bool    `json:"each" doc:"it bounds one instance, not their sum: none of it is used"`
}

// UpdateQuota sets the named limits and leaves the others.
type UpdateQuota struct {
	Limits map[string]string `json:"limits" doc:"by name; a whole number, or unlimited"`
}

// Node is a machine with a launcher.
type Node struct {
	ID                 string             `json:"id"`
	Hostname           string             `json:"hostname"`
	Roles              []cluster.NodeRole `json:"roles" nullable:"false"`
	State              cluster.NodeState  `json:"state"`
	Reason             string             `json:"reason" doc:"why it takes nothing new, empty when it does"`
	Kinds              []cluster.Kind     `json:"kinds" nullable:"false"`
	Labels             map[string]string  `json:"labels" nullable:"false" doc:"that its operator gave it"`
	VCPUs              float64            `json:"vcpus" doc:"that it has"`
	VCPUsLimit         float64            `json:"vcpus_limit" doc:"that may be promised to instances: those that it has with the cluster's overcommit"`
	VCPUsAllocated     float64            `json:"vcpus_allocated" doc:"that its instances asked for"`
	MemoryMiB          int64              `json:"memory_mib"`
	MemoryMiBLimit     int64              `json:"memory_mib_limit"`
	MemoryMiBAllocated int64              `json:"memory_mib_allocated"`
	DiskMiB            int64              `json:"disk_mib"`
	DiskMiBAllocated   int64              `json:"disk_mib_allocated"`
	Load               float64            `json:"load" doc:"one-minute load average; -1 is unknown"`
	Evacuated          bool               `json:"evacuated" doc:"an operator wants it empty"`
	Instances          int                `json:"instances" doc:"tenants' instances that are placed on it"`
	Running            int                `json:"running" doc:"those that are active"`
	Underlay           []netip.Addr       `json:"underlay" nullable:"false"`
	Version            string             `json:"version"`
	Staying            []cluster.Stay     `json:"staying" nullable:"false" doc:"what does not leave the evacuated node, because no other node will do for it"`
	Seen               time.Time          `json:"seen" doc:"when it was last heard of"`
}

// CNCI is the network service of one subnet.
type CNCI struct {
	ID       string        `json:"id"`
	Tenant   string        `json:"tenant"`
	Subnet   string        `json:"subnet"`
	Prefix   netip.Prefix  `json:"prefix"`
	Prefix6  string        `json:"prefix6" doc:"its subnet's IPv6 prefix, empty before it has one"`
	State    cluster.State `json:"state"`
	Node     string        `json:"node"`
	Underlay string        `json:"underlay" doc:"its address on the underlay, empty before it has one"`
	Reason   string        `json:"reason"`
	Created  time.Time     `json:"created"`
}

// Event is something that happened.
type Event = cluster.Event

// Trace is the way of a command to an instance.
type Trace = cluster.Trace

// TraceHop is a daemon on it.
type TraceHop = cluster.TraceHop

// Deleted answers a request that deletes many.
type Deleted struct {
	Count int `json:"count" doc:"how many were asked to go"`
}

// Types of changes at /v1/watch.
const (
	ChangeInstance = "instance"
	ChangeNode     = "node"
	ChangeCNCI     = "cnci"
	ChangeEvent    = "event"
	ChangeProgress = "progress" // of a start; never stored
	ChangeResync   = "resync"   // changes were missed: list again
)

// Change is one change of what the caller may see. Of a deletion only the id is given.
type Change struct {
	Type     string    `json:"type"`
	Deleted  bool      `json:"deleted,omitempty"`
	ID       string    `json:"id"`
	Instance *Instance `json:"instance,omitempty"`
	Node     *Node     `json:"node,omitempty"`
	CNCI     *CNCI     `json:"cnci,omitempty"`
	Event    *Event    `json:"event,omitempty"`
	Progress *Progress `json:"progress,omitempty"`
}

// Progress is how far the start of the instance with the change's id has come.
type Progress struct {
	Step    string `json:"step" doc:"pull, network, create or start"`
	Percent int    `json:"percent" doc:"-1 is unknown"`
	Message string `json:"message"`
}

// Alive is sent at /v1/watch when there was nothing else to send for a while.
type Alive struct{}
