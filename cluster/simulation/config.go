package simulation

import (
	"cmp"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/ipam"
)

// Config says what to simulate. Zero fields take their defaults, but for the first three.
type Config struct {
	Nodes     int // that run instances
	Instances int // of all tenants
	Tenants   int // which share the instances evenly
	// StartDelay is how long an instance takes to start.
	StartDelay Delay
	// Failures is the share of starts that fail, from 0 to less than 1; such an instance is placed on another node.
	Failures float64
	Seed     uint64 // of delays and failures
	// Disconnect cuts the connections of all nodes and CNCIs at once, so long after the first call of the API; 0 does not.
	Disconnect time.Duration
	// Memory has the store keep its state in memory, not in an embedded etcd.
	Memory bool
	// TimeScale multiplies every deadline of the daemons; default 1. More is for a machine that has much else to do.
	TimeScale float64
	Patience  time.Duration // how long instances may take in all; default 10 minutes
	Directory string        // for temporary files; default os.TempDir
	Logger    *slog.Logger  // of all parts; nil logs nothing
}

// Delay is from how long to how long something takes. Its text is such as 1ms or 1ms-1s.
type Delay struct{ Min, Max time.Duration }

// String is the text that UnmarshalText reads.
func (d Delay) String() string {
	if d.Max <= d.Min {
		return d.Min.String()
	}
	return d.Min.String() + "-" + d.Max.String()
}

// MarshalText implements encoding.TextMarshaler.
func (d Delay) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler; errors are of class cluster.ErrInvalid.
func (d *Delay) UnmarshalText(text []byte) (err error) {
	from, to, found := strings.Cut(string(text), "-")
	if !found {
		to = from
	}
	var read Delay
	if read.Min, err = time.ParseDuration(from); err == nil {
		read.Max, err = time.ParseDuration(to)
	}
	if err != nil || read.Min < 0 || read.Max < read.Min {
		return fmt.Errorf("%w: %q is no delay: write a duration such as 1ms, or a range such as 1ms-1s", cluster.ErrInvalid, text)
	}
	*d = read
	return nil
}

func (c Config) withDefaults() Config {
	c.TimeScale = cmp.Or(c.TimeScale, 1)
	c.Patience = cmp.Or(c.Patience, 10*time.Minute)
	c.Logger = cmp.Or(c.Logger, slog.New(slog.DiscardHandler))
	return c
}

// maxPerTenant is the API's bound of one create.
const maxPerTenant = 10000

func (c Config) validate() error {
	var problems cluster.Problems
	if c.Nodes < 1 {
		problems.Add("nodes", "%d must be at least 1", c.Nodes)
	}
	if c.Tenants < 1 {
		problems.Add("tenants", "%d must be at least 1", c.Tenants)
	} else if c.Instances < c.Tenants || c.Instances > maxPerTenant*c.Tenants {
		problems.Add("instances", "%d must be from 1 to %d for each of the %d tenants", c.Instances, maxPerTenant, c.Tenants)
	}
	if c.Failures < 0 || c.Failures >= 1 {
		problems.Add("failures", "%g must be a share, from 0 to less than 1", c.Failures)
	}
	if c.Disconnect < 0 {
		problems.Add("disconnect", "%s must be above 0: how long after the first request all nodes lose their connections", c.Disconnect)
	}
	if c.TimeScale < 0 {
		problems.Add("time-scale", "%g must be above 0", c.TimeScale)
	}
	if most := descriptors(); c.Nodes > 0 && c.Tenants > 0 && c.descriptors() > most {
		problems.Add("nodes", "%d nodes need %d open files and this process may have %d: raise `ulimit -n`, or simulate fewer", c.Nodes, c.descriptors(), most)
	}
	if err := problems.Err(); err != nil {
		return fmt.Errorf("simulation: %w", err)
	}
	return nil
}

// descriptors is about how many the simulation needs: both ends of a connection and a lock for each node, both ends and a file being
// written for each CNCI, and some for the store.
func (c Config) descriptors() uint64 { return uint64(3*(c.Nodes+c.networkNodes()+c.subnets()) + 200) }

// descriptors is how many this process may have; the Go runtime has raised the limit as far as it may.
func descriptors() uint64 {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0
	}
	return limit.Max
}

// subnets is how many the tenants get at most, each with a CNCI.
func (c Config) subnets() int {
	room := ipam.Capacity(netip.PrefixFrom(cluster.TenantRange.Addr(), cluster.DefaultSubnetBits))
	return c.Tenants * ((c.perTenant(0) + room - 1) / room)
}

// networkNodes run the CNCIs.
func (c Config) networkNodes() int { return (c.subnets() + 9) / 10 }

// perTenant is how many instances a tenant has.
func (c Config) perTenant(tenant int) int {
	count := c.Instances / c.Tenants
	if tenant < c.Instances%c.Tenants {
		count++
	}
	return count
}
