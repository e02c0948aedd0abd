// Package config reads the files that people write: the cluster file, which every daemon is started with, and workload files.
//
// A file is decoded strictly (an unknown or repeated key is an error), defaulted, then validated; every problem is reported at once
// with its line and column. The cluster file is versioned by api_version: a file of a newer version is refused before
// anything else of it is looked at.
//
// What is guaranteed: a Cluster that Load returned is complete, every path in it is absolute, and every address parses. Reading has
// no effects.
package config

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/ciaocloud/ciao/cluster"
)

// Version is the version of the cluster file that this program reads.
const Version = "ciao/v1"

// Ports of the daemons (reference: ciao's own).
const (
	SSNTPPort = 8888
	APIPort   = 8889
)

// maxFile bounds what is read of any file, in bytes.
const maxFile = 1 << 20

// Cluster is the cluster file.
type Cluster struct {
	APIVersion string     `yaml:"api_version"`
	Name       string     `yaml:"name"` // marks everything that is made on a machine
	PKI        PKI        `yaml:"pki"`
	Scheduler  Scheduler  `yaml:"scheduler"`
	Controller Controller `yaml:"controller"`
	Launcher   Launcher   `yaml:"launcher"`
	Network    Network    `yaml:"network"`
	Storage    Storage    `yaml:"storage,omitempty"`
	CNCI       CNCI       `yaml:"cnci"`
	TimeScale  float64    `yaml:"time_scale"` // multiplies every deadline; 1 on ordinary machines, more on emulated ones
	LogLevel   string     `yaml:"log_level"`  // debug, info, warn or error
}

// PKI says where certificates and keys are.
type PKI struct {
	Directory string `yaml:"directory"` // ca.pem and NAME.pem, NAME-key.pem for each daemon
	Revoked   string `yaml:"revoked"`   // list of revoked certificates, which need not exist; default is revoked.pem in the directory
}

// Scheduler configures the scheduler and how it is reached.
type Scheduler struct {
	Listen      string   `yaml:"listen"`
	Directory   string   `yaml:"directory"`    // of the socket for ciao ssntp tap
	Addresses   []string `yaml:"addresses"`    // where clients dial, in order of preference
	CPURatio    float64  `yaml:"cpu_ratio"`    // vCPUs that may be promised for each processor
	MemoryRatio float64  `yaml:"memory_ratio"` // memory that may be promised for each byte
	Placement   string   `yaml:"placement"`    // first-fit fills node after node, spread uses all of them evenly
	Metrics     string   `yaml:"metrics"`      // address of /metrics over HTTP; empty is none
}

// Ways in which the scheduler chooses among the nodes that can take an instance; see package placement for what each guarantees.
const (
	FirstFit = "first-fit" // the default
	Spread   = "spread"
)

// Controller configures the controller and its API.
type Controller struct {
	Listen    string           `yaml:"listen"`
	Address   string           `yaml:"address"`   // where nodes reach the API, for logs and commands; empty is listen, if that has a host
	Directory string           `yaml:"directory"` // of the embedded store
	Store     Store            `yaml:"store"`
	CNCIIdle  cluster.Duration `yaml:"cnci_idle"`     // a CNCI without instances is removed after this time
	NodeGrace cluster.Duration `yaml:"node_grace"`    // a silent node's instances are missing after this time
	Queue     cluster.Duration `yaml:"queue"`         // an instance that fits nowhere fails after this time
	MaxImage  int64            `yaml:"max_image_mib"` // most MiB of an uploaded image
}

// Store says where the state is kept: in the embedded server, or in an etcd cluster that somebody else runs.
type Store struct {
	Endpoints   []string `yaml:"endpoints"`   // of an etcd cluster, such as https://10.0.0.1:2379; none is the embedded server
	Prefix      string   `yaml:"prefix"`      // of all keys there; clusters that share an etcd need different ones
	CA          string   `yaml:"ca"`          // file with the authority of etcd's certificates; empty is those that the system trusts
	Certificate string   `yaml:"certificate"` // file with the certificate that etcd knows the controller by; empty is none
	Key         string   `yaml:"key"`         // file with its key
}

// Launcher configures a node.
type Launcher struct {
	Directory         string            `yaml:"directory"`
	Hostname          string            `yaml:"hostname"` // empty is the machine's; nodes that share a machine differ in it
	Roles             []string          `yaml:"roles"`
	Labels            map[string]string `yaml:"labels,omitempty"` // that workloads may require of the node, such as zone: a
	Kinds             []string          `yaml:"kinds,omitempty"`  // of instances that the node runs for tenants; empty is all that it can
	Docker            string            `yaml:"docker"`           // address of the Docker Engine
	Processes         Processes         `yaml:"processes,omitempty"`
	MaxParallelStarts int               `yaml:"max_parallel_starts"` // 0 is a default by the number of processors
	ReserveMemoryMiB  int64             `yaml:"reserve_memory_mib"`  // kept from instances
	Statistics        cluster.Duration  `yaml:"statistics"`          // period of samples
	GuestGrace        cluster.Duration  `yaml:"guest_grace"`         // a guest that has not asked for its address is told of after this time
	ImageCacheMiB     int64             `yaml:"image_cache_mib"`     // most MiB of images that are kept for instances to come
}

// Processes says what instances of kind process may have of the node.
type Processes struct {
	Paths []string `yaml:"paths,omitempty"` // directories, besides /usr, that processes without an image may read
}

// Network says how a node meets the underlay.
type Network struct {
	Underlay string   `yaml:"underlay"` // link that the nodes' and CNCIs' macvlans are put on
	Address  string   `yaml:"address"`  // of the node, with its prefix length; empty is DHCP
	Blocked  []string `yaml:"blocked"`  // further destinations that tenants must not reach
	Isolated bool     `yaml:"isolated"` // the launcher speaks from its node's namespace, so that nodes that share a machine meet on the underlay only
}

// Storage says where volumes are kept, besides on nodes.
type Storage struct {
	Ceph Ceph `yaml:"ceph,omitempty"`
}

// Ceph is a Ceph cluster in which the disks of volumes are kept.
type Ceph struct {
	Pool          string `yaml:"pool"`          // of RBD; empty is no Ceph
	Namespace     string `yaml:"namespace"`     // in the pool; empty is none
	Configuration string `yaml:"configuration"` // file that everybody on a node may read
	User          string `yaml:"user"`          // without client.
	Keyring       string `yaml:"keyring"`       // file on nodes with the user's key
}

// Disks is where new disks are kept.
func (s Storage) Disks() cluster.Storage {
	if s.Ceph.Pool != "" {
		return cluster.StorageCeph
	}
	return cluster.StorageLocal
}

// CNCI configures the agent of one CNCI; the launcher that runs it writes this part.
type CNCI struct {
	Instance    string `yaml:"instance"` // its id
	Directory   string `yaml:"directory"`
	Certificate string `yaml:"certificate"`
	Key         string `yaml:"key"`
}

// Load reads the cluster file.
func Load(name string) (Cluster, error) {
	data, err := readFile(name)
	if err != nil {
		return Cluster{}, err
	}
	return Parse(name, data)
}

// Parse reads a cluster file from memory; name is used in messages.
func Parse(name string, data []byte) (Cluster, error) {
	if err := checkVersion(name, data); err != nil {
		return Cluster{}, err
	}
	var c Cluster
	if err := decode(name, data, &c); err != nil {
		return Cluster{}, err
	}
	c.setDefaults()
	if err := c.validate(); err != nil {
		return Cluster{}, locate(name, data, err)
	}
	return c, nil
}

// setDefaults fills in what the file left empty.
func (c *Cluster) setDefaults() {
	setDefault(&c.PKI.Directory, "/etc/ciao/pki")
	setDefault(&c.PKI.Revoked, filepath.Join(c.PKI.Directory, "revoked.pem"))
	setDefault(&c.TimeScale, 1)
	setDefault(&c.LogLevel, "info")
	setDefault(&c.Scheduler.CPURatio, 16)
	setDefault(&c.Scheduler.MemoryRatio, 1)
	setDefault(&c.Scheduler.Placement, FirstFit)
	setDefault(&c.Scheduler.Listen, ":"+strconv.Itoa(SSNTPPort))
	setDefault(&c.Controller.Listen, ":"+strconv.Itoa(APIPort))
	setDefault(&c.Controller.Address, reachable(c.Controller.Listen))
	setDefault(&c.Scheduler.Directory, "/var/lib/ciao/scheduler")
	setDefault(&c.Controller.Directory, "/var/lib/ciao/controller")
	if len(c.Controller.Store.Endpoints) > 0 {
		setDefault(&c.Controller.Store.Prefix, "ciao/"+c.Name)
	}
	setDefault(&c.Controller.CNCIIdle, cluster.Duration(5*time.Minute))
	setDefault(&c.Controller.NodeGrace, cluster.Duration(30*time.Second))
	setDefault(&c.Controller.Queue, cluster.Duration(30*time.Second))
	setDefault(&c.Controller.MaxImage, 64<<10)
	setDefault(&c.Launcher.ImageCacheMiB, 20<<10)
	setDefault(&c.Launcher.Directory, "/var/lib/ciao/launcher")
	setDefault(&c.Launcher.Docker, "unix:///var/run/docker.sock")
	setDefault(&c.Launcher.ReserveMemoryMiB, 512)
	setDefault(&c.Launcher.Statistics, cluster.Duration(6*time.Second))
	setDefault(&c.Launcher.GuestGrace, cluster.Duration(2*time.Minute))
	if c.Storage.Ceph.Pool != "" {
		setDefault(&c.Storage.Ceph.Configuration, "/etc/ceph/ceph.conf")
		setDefault(&c.Storage.Ceph.User, "ciao")
		setDefault(&c.Storage.Ceph.Keyring, "/etc/ceph/ceph.client."+c.Storage.Ceph.User+".keyring")
	}
	if len(c.Launcher.Roles) == 0 {
		c.Launcher.Roles = []string{string(cluster.Compute), string(cluster.Network)}
	}
}

// reachable is a listening address if others can reach it by the very same, and empty otherwise.
func reachable(listen string) string {
	host, _, err := net.SplitHostPort(listen)
	if ip, _ := netip.ParseAddr(host); err != nil || host == "" || ip.IsUnspecified() {
		return ""
	}
	return listen
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func (c *Cluster) validate() error {
	var problems cluster.Problems
	if !cluster.ValidName(c.Name) {
		problems.Add("name", "%q is not a name; use lower-case letters, digits and hyphens", c.Name)
	}
	if c.TimeScale < 1 || c.TimeScale > 100 {
		problems.Add("time_scale", "must be from 1 to 100")
	}
	c.validatePaths(&problems)
	c.validateAddresses(&problems)
	c.validateAmounts(&problems)
	c.Storage.Ceph.validate(&problems)
	if c.Launcher.Hostname != "" && !validHostname(c.Launcher.Hostname) {
		problems.Add("launcher.hostname", "%q is not a host name; use at most 253 letters, digits, hyphens and dots", c.Launcher.Hostname)
	}
	problems.AddLabels("launcher.labels", c.Launcher.Labels)
	c.Controller.Store.validate(&problems)
	for i, role := range c.Launcher.Roles {
		if role != string(cluster.Compute) && role != string(cluster.Network) {
			problems.Add(fmt.Sprintf("launcher.roles[%d]", i), "%q is not a role of a node; use compute or network", role)
		}
	}
	c.Launcher.validateKinds(&problems)
	if c.Scheduler.Placement != FirstFit && c.Scheduler.Placement != Spread {
		problems.Add("scheduler.placement", "%q is not a way to choose nodes; use first-fit or spread", c.Scheduler.Placement)
	}
	switch c.LogLevel {
	case "debug", "info", "warn", "error":
	default:
		problems.Add("log_level", "%q is not a level; use debug, info, warn or error", c.LogLevel)
	}
	return problems.Err()
}

var cephName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$`)

func (c Ceph) validate(problems *cluster.Problems) {
	if c.Pool == "" {
		if c != (Ceph{}) {
			problems.Add("storage.ceph.pool", "is missing: the pool for RBD images, which `ceph osd pool ls` lists")
		}
		return
	}
	for field, value := range map[string]string{"pool": c.Pool, "namespace": c.Namespace, "user": c.User} {
		if !cephName.MatchString(value) && (field != "namespace" || value != "") {
			problems.Add("storage.ceph."+field, "%q must be letters, digits, hyphens, dots and underscores", value)
		}
	}
	for field, value := range map[string]string{"configuration": c.Configuration, "keyring": c.Keyring} {
		if !filepath.IsAbs(value) {
			problems.Add("storage.ceph."+field, "%q must be an absolute path", value)
		}
	}
}

func (l Launcher) validateKinds(problems *cluster.Problems) {
	for i, kind := range l.Kinds {
		if !slices.Contains([]cluster.Kind{cluster.KindContainer, cluster.KindProcess, cluster.KindVM}, cluster.Kind(kind)) {
			problems.Add(fmt.Sprintf("launcher.kinds[%d]", i), "%q is not a kind of instances; use container, process or vm", kind)
		}
	}
	for i, path := range l.Processes.Paths {
		if !filepath.IsAbs(path) || filepath.Clean(path) != path || path == "/" {
			problems.Add(fmt.Sprintf("launcher.processes.paths[%d]", i), "%q must be the absolute path of a directory other than /", path)
		}
	}
}

func (c *Cluster) validatePaths(problems *cluster.Problems) {
	for path, value := range map[string]string{
		"pki.directory":        c.PKI.Directory,
		"pki.revoked":          c.PKI.Revoked,
		"scheduler.directory":  c.Scheduler.Directory,
		"controller.directory": c.Controller.Directory,
		"launcher.directory":   c.Launcher.Directory,
	} {
		if !filepath.IsAbs(value) {
			problems.Add(path, "%q must be an absolute path", value)
		}
	}
}

func (c *Cluster) validateAddresses(problems *cluster.Problems) {
	checkHostPort(problems, "scheduler.listen", c.Scheduler.Listen)
	checkHostPort(problems, "controller.listen", c.Controller.Listen)
	if c.Controller.Address != "" {
		checkHostPort(problems, "controller.address", c.Controller.Address)
	}
	if c.Scheduler.Metrics != "" {
		checkHostPort(problems, "scheduler.metrics", c.Scheduler.Metrics)
	}
	if len(c.Scheduler.Addresses) == 0 {
		problems.Add("scheduler.addresses", "needs at least one address, such as 198.51.100.1:%d", SSNTPPort)
	}
	for i, address := range c.Scheduler.Addresses {
		checkHostPort(problems, fmt.Sprintf("scheduler.addresses[%d]", i), address)
	}
	if c.Network.Underlay == "" || len(c.Network.Underlay) > 15 || strings.ContainsAny(c.Network.Underlay, "/ ") {
		problems.Add("network.underlay", "%q is not the name of a link; `ip link` shows them", c.Network.Underlay)
	}
	if _, err := netip.ParsePrefix(c.Network.Address); c.Network.Address != "" && err != nil {
		problems.Add("network.address", "%q is not an address with its prefix length, such as 198.51.100.2/24", c.Network.Address)
	}
	for i, prefix := range c.Network.Blocked {
		if _, err := netip.ParsePrefix(prefix); err != nil {
			problems.Add(fmt.Sprintf("network.blocked[%d]", i), "%q is not a prefix, such as 10.0.0.0/8", prefix)
		}
	}
}

func (c *Cluster) validateAmounts(problems *cluster.Problems) {
	if c.Scheduler.CPURatio < 0.1 || c.Scheduler.CPURatio > 1000 {
		problems.Add("scheduler.cpu_ratio", "must be from 0.1 to 1000")
	}
	if c.Scheduler.MemoryRatio < 0.1 || c.Scheduler.MemoryRatio > 16 {
		problems.Add("scheduler.memory_ratio", "must be from 0.1 to 16")
	}
	if c.Launcher.MaxParallelStarts < 0 || c.Launcher.MaxParallelStarts > 1024 {
		problems.Add("launcher.max_parallel_starts", "must be from 0 to 1024")
	}
	if c.Controller.MaxImage < 1 || c.Controller.MaxImage > 16<<20 {
		problems.Add("controller.max_image_mib", "must be from 1 to %d", 16<<20)
	}
	if c.Launcher.ImageCacheMiB < 1 {
		problems.Add("launcher.image_cache_mib", "must be at least 1")
	}
	if c.Launcher.ReserveMemoryMiB < 0 {
		problems.Add("launcher.reserve_memory_mib", "must not be negative")
	}
	for path, value := range map[string]cluster.Duration{
		"controller.cnci_idle":  c.Controller.CNCIIdle,
		"controller.node_grace": c.Controller.NodeGrace,
		"controller.queue":      c.Controller.Queue,
		"launcher.statistics":   c.Launcher.Statistics,
		"launcher.guest_grace":  c.Launcher.GuestGrace,
	} {
		if value < cluster.Duration(100*time.Millisecond) || value > cluster.Duration(24*time.Hour) {
			problems.Add(path, "must be from 100ms to 24h")
		}
	}
}

// validHostname takes what hostname(7) does.
func validHostname(name string) bool {
	return len(name) <= 253 && !strings.ContainsFunc(name, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '.' || r == '_')
	})
}

func checkHostPort(problems *cluster.Problems, path, value string) {
	host, port, err := net.SplitHostPort(value)
	number, numberErr := strconv.ParseUint(port, 10, 16)
	if err != nil || numberErr != nil || number == 0 || strings.ContainsAny(host, " /") {
		problems.Add(path, "%q is not an address such as 198.51.100.1:%d", value, SSNTPPort)
	}
}

// Names of the daemons' certificates in the PKI directory.
const (
	ControllerCertificate = "controller"
	APICertificate        = "api"
	SchedulerCertificate  = "scheduler"
	LauncherCertificate   = "launcher"
)

// Format writes a cluster file that Parse reads back as c.
func Format(c Cluster) ([]byte, error) {
	data, err := yaml.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("write the cluster file: %w", err)
	}
	return data, nil
}

// CertificateFile and KeyFile are where the PKI directory has a daemon's certificate and its key.
func (p PKI) CertificateFile(name string) string { return filepath.Join(p.Directory, name+".pem") }

// KeyFile is where the PKI directory has the key of CertificateFile.
func (p PKI) KeyFile(name string) string { return filepath.Join(p.Directory, name+"-key.pem") }

// CAFile is the certificate that everybody in the cluster trusts.
func (p PKI) CAFile() string { return filepath.Join(p.Directory, "ca.pem") }

// CAKeyFile is the authority's key; only the controller's machine has it.
func (p PKI) CAKeyFile() string { return filepath.Join(p.Directory, "ca-key.pem") }

// StorageDirectory is where a node's volumes are.
func (l Launcher) StorageDirectory() string { return filepath.Join(l.Directory, "volumes") }

// ImagesDirectory is where the contents of uploaded images are. Controllers that share an etcd cluster share this directory, too.
func (c Controller) ImagesDirectory() string { return filepath.Join(c.Directory, "images") }

// TapSocket is where the frames that pass the scheduler can be looked at.
func (s Scheduler) TapSocket() string { return filepath.Join(s.Directory, "tap.sock") }

func readFile(name string) ([]byte, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return readAll(name, file)
}

// readAll reads a document to its end, but no more than a file may have: a device has no end.
func readAll(name string, r io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	if errors.Is(err, syscall.EISDIR) {
		return nil, fmt.Errorf("%s: %w: it is a folder; name a file", name, cluster.ErrInvalid)
	}
	if err != nil {
		return nil, err
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("%s: %w: a file of this kind has at most %d bytes", name, cluster.ErrTooLarge, maxFile)
	}
	return data, nil
}
