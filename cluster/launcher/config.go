package launcher

import (
	"cmp"
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/driver"
	"github.com/ciaocloud/ciao/cluster/network"
	"github.com/ciaocloud/ciao/cluster/storage"
)

// Config says how a launcher works. Link, Directory and Drivers are required, and Network on a compute node.
type Config struct {
	// Link is the way to the rest of the cluster. The node's id and roles are those of its certificate.
	Link *Link
	// Directory holds everything that the node's instances own; one launcher at a time uses it.
	Directory string
	// Drivers run the instances, one for each kind.
	Drivers []driver.Driver
	// Network keeps the node's network as wanted.
	Network network.NodeNetwork
	// Streams reaches controllers for logs and commands; nil is a node without.
	Streams StreamDialer
	// Images fetches uploaded images; nil is a node that starts nothing from them.
	Images ImageCache
	// Revocations takes lists of revoked certificates; nil takes none.
	Revocations Revocations
	// Storage keeps the node's own volumes; nil is a node without.
	Storage storage.Driver
	// Ceph keeps volumes in Ceph; nil is a node that does not reach it. It must be a storage.Fencer, too, if it has anything to be fenced.
	Ceph storage.Driver

	Hostname string            // default os.Hostname
	Version  string            // of the program, for people to read
	Labels   map[string]string // that workloads may require of the node; not changed after New
	// Capacity is what the node offers; each zero amount is probed from the machine.
	Capacity cluster.Resources
	// ReserveMemoryMiB is kept from the probed memory for the node's own needs.
	ReserveMemoryMiB int64
	// Overcommit must be the scheduler's own; default cluster.DefaultOvercommit.
	Overcommit cluster.Overcommit
	// MaxParallelStarts bounds how many instances are being created and started at one time; fewer are where more would only wait for
	// each other. Default 8, at least twice the number of processors.
	MaxParallelStarts int
	// Statistics is the period of samples; default 6 s.
	Statistics time.Duration
	// GuestGrace is how long the guest of a virtual machine may be active before it is told that it has not asked for its address; default 2 min.
	GuestGrace time.Duration
	// TimeScale multiplies every deadline; default 1.
	TimeScale float64
	Logger    *slog.Logger // nil logs nothing
}

// InstancesDirectory is where a launcher with that directory keeps its instances, each in a directory named by its id.
func InstancesDirectory(directory string) string { return filepath.Join(directory, "instances") }

func (c Config) withDefaults() Config {
	c.Overcommit = cmp.Or(c.Overcommit, cluster.DefaultOvercommit())
	c.MaxParallelStarts = cmp.Or(c.MaxParallelStarts, max(8, 2*runtime.NumCPU()))
	c.Statistics = cmp.Or(c.Statistics, 6*time.Second)
	c.GuestGrace = cmp.Or(c.GuestGrace, 2*time.Minute)
	c.TimeScale = cmp.Or(c.TimeScale, 1)
	c.Logger = cmp.Or(c.Logger, slog.New(slog.DiscardHandler))
	return c
}

func (c Config) validate() error {
	var problems cluster.Problems
	if c.Link == nil {
		problems.Add("Link", "is missing")
	} else if c.Network == nil && slices.Contains(c.Link.roles(), cluster.Compute) {
		problems.Add("Network", "is missing: a compute node needs one")
	}
	if !filepath.IsAbs(c.Directory) {
		problems.Add("Directory", "%q must be an absolute path", c.Directory)
	}
	if len(c.Drivers) == 0 {
		problems.Add("Drivers", "needs at least one")
	}
	for i, d := range c.Drivers {
		if slices.ContainsFunc(c.Drivers[:i], func(o driver.Driver) bool { return o.Kind() == d.Kind() }) {
			problems.Add("Drivers", "has two drivers of kind %s", d.Kind())
		}
	}
	if err := problems.Err(); err != nil {
		return fmt.Errorf("launcher: %w", err)
	}
	return nil
}

// scaled multiplies a deadline by the time scale.
func (c Config) scaled(d time.Duration) time.Duration {
	return time.Duration(c.TimeScale * float64(d))
}

// Revocations is what the launcher needs of the list of revoked certificates.
type Revocations interface {
	// Take brings a newer list, DER, in force.
	Take(list []byte) error
}
