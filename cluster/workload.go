package cluster

import (
	"cmp"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"
)

// Kind says what carries an instance.
type Kind string

// Kinds of instances. A cnci is the cluster's own: no workload has that kind.
const (
	KindVM        Kind = "vm"
	KindContainer Kind = "container"
	KindProcess   Kind = "process"
	KindCNCI      Kind = "cnci"
)

// Visibility says who may see and use a workload.
type Visibility string

// Visibilities of a workload.
const (
	Public  Visibility = "public"  // every tenant
	Private Visibility = "private" // its tenant alone
)

// RestartPolicy says where an instance that stopped without being asked to may be started again.
type RestartPolicy string

// RestartOnNode starts the instance only ever on its node, whatever happens elsewhere; the default.
const RestartOnNode RestartPolicy = "on-node"

// DrainOrder says what an instance does first when it leaves a node that is being evacuated.
type DrainOrder string

// Orders of leaving a node.
const (
	StopFirst  DrainOrder = "stop-first"  // it stops and starts elsewhere, and keeps id, name and addresses; the default
	StartFirst DrainOrder = "start-first" // a new instance of the same recipe starts elsewhere, and then it stops and is deleted
)

// PullPolicy says when an image is fetched.
type PullPolicy string

// Pull policies of a container's image.
const (
	PullMissing PullPolicy = "missing" // when the node's engine does not have it; the default
	PullNever   PullPolicy = "never"
)

// Workload is the recipe of instances.
type Workload struct {
	ID         string       `json:"id"`
	Name       string       `json:"name"`
	Tenant     string       `json:"tenant,omitempty"` // owner; empty for a public workload
	Visibility Visibility   `json:"visibility"`
	Spec       WorkloadSpec `json:"spec"`
	Created    time.Time    `json:"created"`
}

// WorkloadSpec is what a workload file says of its instances.
type WorkloadSpec struct {
	Kind         Kind              `json:"kind"`
	Description  string            `json:"description,omitempty"`
	Image        string            `json:"image,omitempty"` // of what it starts from: an uploaded image's name; container: or the reference of a registry's; process: or nothing
	Pull         PullPolicy        `json:"pull,omitempty"`
	CloudInit    string            `json:"cloud_init,omitempty"` // vm: user data, as cloud-init reads it
	SSHKeys      []string          `json:"ssh_keys,omitempty"`   // vm: lines of authorized_keys (sshd(8)) that let the image's own user in
	Firmware     Firmware          `json:"firmware,omitempty"`   // vm
	Command      []string          `json:"command,omitempty"`    // container: replaces the image's command; process: the program
	Environment  map[string]string `json:"environment,omitempty"`
	User         string            `json:"user,omitempty"`      // process: a name or UID[:GID]; default nobody
	Directory    string            `json:"directory,omitempty"` // process: working directory; default /
	Requirements Requirements      `json:"requirements"`
	Ports        []PortSpec        `json:"ports,omitempty"` // that are reached from outside the tenant's network
	Volumes      []VolumeSpec      `json:"volumes,omitempty"`
	Privileged   bool              `json:"privileged,omitempty"` // needs the tenant's permission
	Restart      RestartPolicy     `json:"restart,omitempty"`
	Drain        DrainOrder        `json:"drain,omitempty"`
	StopGrace    Duration          `json:"stop_grace,omitempty"` // from asking to stop until it is killed
}

// Requirements are what an instance takes of a node, and which nodes will do.
type Requirements struct {
	VCPUs     CPU               `json:"vcpus"`
	MemoryMiB int64             `json:"memory_mib"`
	DiskMiB   int64             `json:"disk_mib,omitempty"` // disk that is kept for it on its node; vm: size of its disk, if that is more than the image's
	Pids      int64             `json:"pids,omitempty"`     // most processes and threads at one time
	Node      string            `json:"node,omitempty"`     // id of the only node that will do
	Hostname  string            `json:"hostname,omitempty"` // host name of the only node that will do
	Labels    map[string]string `json:"labels,omitempty"`   // only nodes that have all of them will do
	Together  string            `json:"together,omitempty"` // a group: all of its tenant's instances of this group are on one node
	Spread    string            `json:"spread,omitempty"`   // a group: no two of its tenant's instances of this group will do on one node
}

// Resources are the amounts that placement and quota count.
func (r Requirements) Resources() Resources {
	return Resources{CPU: r.VCPUs, MemoryMiB: r.MemoryMiB, DiskMiB: r.DiskMiB}
}

// Defaults and bounds of a workload.
const (
	DefaultVCPUs     = VCPU
	DefaultMemoryMiB = 128
	DefaultPids      = 512
	DefaultUser      = "nobody"
	DefaultStopGrace = Duration(10 * time.Second)
	MinMemoryMiB     = 6 // the Docker Engine's lower bound
	MaxMemoryMiB     = 16 << 20
	MaxDiskMiB       = 1 << 30
	MaxStopGrace     = Duration(10 * time.Minute)
	maxHostname      = 253 // hostname(7)
	maxArguments     = 256
	maxArgumentBytes = 32 << 10
)

// WithDefaults returns the spec with every empty field that has a default filled in.
func (s WorkloadSpec) WithDefaults() WorkloadSpec {
	if s.Requirements.VCPUs == 0 {
		s.Requirements.VCPUs = DefaultVCPUs
	}
	if s.Requirements.MemoryMiB == 0 {
		s.Requirements.MemoryMiB = DefaultMemoryMiB
	}
	if s.Requirements.Pids == 0 {
		s.Requirements.Pids = DefaultPids
	}
	if s.StopGrace == 0 {
		s.StopGrace = DefaultStopGrace
	}
	if s.Drain == "" {
		s.Drain = StopFirst
	}
	if s.Restart == "" {
		s.Restart = RestartOnNode
	}
	s.Ports = portsWithDefaults(s.Ports)
	switch s.Kind {
	case KindContainer:
		s.Pull = cmp.Or(s.Pull, PullMissing)
	case KindProcess:
		s.User, s.Directory = cmp.Or(s.User, DefaultUser), cmp.Or(s.Directory, "/")
	case KindVM:
		s.Firmware = cmp.Or(s.Firmware, BIOS)
	}
	return s
}

// Validate reports every problem of a spec that has its defaults; the error is of class ErrInvalid.
func (s WorkloadSpec) Validate() error {
	var problems Problems
	s.validateKind(&problems)
	s.validateCommand(&problems)
	s.validateVolumes(&problems)
	s.validatePorts(&problems)
	s.Requirements.validate(&problems)
	if s.Restart != RestartOnNode {
		problems.Add("restart", "%q is not a restart policy; use on-node", s.Restart)
	}
	switch {
	case s.Drain != StopFirst && s.Drain != StartFirst:
		problems.Add("drain", "%q is not an order; use stop-first or start-first", s.Drain)
	case s.Drain == StartFirst && s.Requirements.Together != "":
		problems.Add("drain", "what is on one node with others (requirements.together) cannot start elsewhere first; use stop-first")
	}
	if s.StopGrace < 0 || s.StopGrace > MaxStopGrace {
		problems.Add("stop_grace", "must be from 0s to %s", MaxStopGrace)
	}
	return problems.Err()
}

// validateKind has the rules of the spec's kind; each has a file of its own.
func (s WorkloadSpec) validateKind(problems *Problems) {
	switch s.Kind {
	case KindContainer:
		s.validateContainer(problems)
	case KindProcess:
		s.validateProcess(problems)
	case KindVM:
		s.validateVM(problems)
		return
	case "":
		problems.Add("kind", "is missing; use container, process or vm")
	default:
		problems.Add("kind", "%q is not a kind of workload; use container, process or vm", s.Kind)
	}
	s.withoutVM(problems)
}

func (s WorkloadSpec) validateCommand(problems *Problems) {
	bytes := 0
	for _, argument := range s.Command {
		bytes += len(argument)
		if strings.ContainsRune(argument, 0) || !utf8.ValidString(argument) {
			problems.Add("command", "arguments must be text without zero bytes")
			break
		}
	}
	if len(s.Command) > maxArguments || bytes > maxArgumentBytes {
		problems.Add("command", "must have at most %d arguments and %d bytes", maxArguments, maxArgumentBytes)
	}
	for name, value := range s.Environment {
		if !environmentName.MatchString(name) {
			problems.Add("environment."+name, "is not the name of an environment variable")
		}
		bytes += len(name) + len(value)
		if strings.ContainsRune(value, 0) {
			problems.Add("environment."+name, "must not contain a zero byte")
		}
	}
	if bytes > 2*maxArgumentBytes {
		problems.Add("environment", "command and environment must be at most %d bytes", 2*maxArgumentBytes)
	}
}

func (r Requirements) validate(problems *Problems) {
	if r.VCPUs < 10 || r.VCPUs > MaxVCPUs*VCPU {
		problems.Add("requirements.vcpus", "must be from 0.01 to %d", MaxVCPUs)
	}
	if r.MemoryMiB < MinMemoryMiB || r.MemoryMiB > MaxMemoryMiB {
		problems.Add("requirements.memory_mib", "must be from %d to %d", MinMemoryMiB, MaxMemoryMiB)
	}
	if r.DiskMiB < 0 || r.DiskMiB > MaxDiskMiB {
		problems.Add("requirements.disk_mib", "must be from 0 to %d", MaxDiskMiB)
	}
	if r.Pids < 1 || r.Pids > 1<<20 {
		problems.Add("requirements.pids", "must be from 1 to %d", 1<<20)
	}
	if r.Node != "" && !ValidID(r.Node) {
		problems.Add("requirements.node", "%q is not the id of a node; `ciao list nodes` shows them", r.Node)
	}
	if len(r.Hostname) > maxHostname {
		problems.Add("requirements.hostname", "must be at most %d bytes; `ciao list nodes` shows host names", maxHostname)
	}
	problems.AddLabels("requirements.labels", r.Labels)
	for _, group := range []struct{ path, name string }{{"requirements.together", r.Together}, {"requirements.spread", r.Spread}} {
		if group.name != "" && !ValidName(group.name) {
			problems.Add(group.path, "%q is not a name of a group; use lower-case letters, digits and hyphens", group.name)
		}
	}
	if r.Together != "" && r.Spread != "" {
		problems.Add("requirements.spread", "instances cannot be both on one node (together) and on different ones; leave one of the two out")
	}
}

var (
	environmentName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]{0,255}$`)
	resourceName    = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	uuidText        = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)
)

// ValidName says whether a name can be given to a tenant, workload or instance: a DNS label (RFC 1123, section 2.1) in lower case.
func ValidName(name string) bool { return resourceName.MatchString(name) }

// ValidID says whether text is an id: a UUID in lower case (RFC 9562).
func ValidID(id string) bool { return uuidText.MatchString(id) }
