package concentrator

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/driver"
	"github.com/ciaocloud/ciao/cluster/driver/shim"
)

// Namespaces makes the network namespaces of concentrators. Every call may be repeated.
type Namespaces interface {
	// Create makes the namespace of a concentrator, or finds it, and returns its path; an empty path is the launcher's own.
	Create(ctx context.Context, id string) (path string, err error)
	// Remove ends every process in it and removes it with everything in it; one that is not there is no error.
	Remove(ctx context.Context, id string) error
	// List names the concentrators of this node that have a namespace.
	List(ctx context.Context) ([]string, error)
}

// Issuer has certificates signed; the launcher asks the controller.
type Issuer interface {
	// Issue returns a certificate chain (PEM, leaf first) for a concentrator's request (PKCS #10, DER).
	Issue(ctx context.Context, instance string, csr []byte) (chain []byte, err error)
}

// Agent is one concentrator's agent, as its command needs to know it.
type Agent struct {
	Instance    string // the concentrator's instance id
	Tenant      string
	Arguments   []string // of the instance's recipe; ciao's own CNCIs have none
	Directory   string   // its own, mode 0700; the command may keep files there
	Certificate string   // file with its certificate chain
	Key         string   // file with its private key
	Namespace   string   // path of the network namespace that it runs in
}

// Config says how the driver works; everything but TimeScale and Logger is required.
type Config struct {
	// Instances is the directory that holds a directory for each instance, named by its id.
	Instances  string
	Namespaces Namespaces
	Issuer     Issuer
	// Command is the program and arguments of an agent. It may write files into the agent's directory first.
	Command func(agent Agent) ([]string, error)
	// Edition is another when the agents' program, or what all of them are configured with, is new: those that run an older one are
	// reported as interrupted, and Start replaces them. Empty lets every agent run on.
	Edition   string
	TimeScale float64 // multiplies every deadline; default 1
	Logger    *slog.Logger
}

// Driver runs concentrators. Make it with New.
type Driver struct {
	config   Config
	logger   *slog.Logger
	watchers shim.Watchers
}

var _ driver.Driver = (*Driver)(nil)

// New checks the configuration.
func New(config Config) (*Driver, error) {
	var problems cluster.Problems
	if !filepath.IsAbs(config.Instances) {
		problems.Add("Instances", "%q must be an absolute path", config.Instances)
	}
	if config.Namespaces == nil || config.Issuer == nil || config.Command == nil {
		problems.Add("Namespaces, Issuer, Command", "are required")
	}
	if err := problems.Err(); err != nil {
		return nil, fmt.Errorf("concentrator driver: %w", err)
	}
	config.TimeScale = cmp.Or(config.TimeScale, 1)
	return &Driver{config: config, logger: cmp.Or(config.Logger, slog.New(slog.DiscardHandler))}, nil
}

// Kind implements driver.Driver.
func (d *Driver) Kind() cluster.Kind { return cluster.KindCNCI }

func (d *Driver) scaled(duration time.Duration) time.Duration {
	return time.Duration(d.config.TimeScale * float64(duration))
}

// carrier is where one concentrator's files are.
func (d *Driver) carrier(id string) carrier {
	return carrier{id: id, directory: filepath.Join(d.config.Instances, id, "concentrator"), edition: d.config.Edition}
}
