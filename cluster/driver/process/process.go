package process

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/driver"
	"github.com/ciaocloud/ciao/cluster/driver/cgroup"
	"github.com/ciaocloud/ciao/cluster/driver/shim"
)

// Config says how the driver works; Instances and Mark are required.
type Config struct {
	// Instances is the directory that holds a directory for each instance, named by its id.
	Instances string
	// Mark begins the names of the control groups and network namespaces of the node's processes; it is this node's own.
	Mark string
	// Paths are directories of the node, besides /usr and what belongs to it, that processes without an image may read.
	Paths     []string
	TimeScale float64 // multiplies every deadline; default 1
	Logger    *slog.Logger
}

// Driver runs processes. Make it with New.
type Driver struct {
	config        Config
	logger        *slog.Logger
	runtime, init string // programs
	watchers      shim.Watchers
	meter         cgroup.Meter
}

var (
	_ driver.Driver   = (*Driver)(nil)
	_ driver.Logger   = (*Driver)(nil)
	_ driver.Executor = (*Driver)(nil)
	_ driver.Sampler  = (*Driver)(nil)
	_ driver.Storer   = (*Driver)(nil)
)

// New checks the configuration and looks for the programs that it needs; a machine without them is cluster.ErrNotFound.
func New(config Config) (*Driver, error) {
	var problems cluster.Problems
	if !filepath.IsAbs(config.Instances) {
		problems.Add("Instances", "%q must be an absolute path", config.Instances)
	}
	if config.Mark == "" {
		problems.Add("Mark", "is missing")
	}
	if err := problems.Err(); err != nil {
		return nil, fmt.Errorf("process driver: %w", err)
	}
	config.TimeScale = cmp.Or(config.TimeScale, 1)
	d := &Driver{config: config, logger: cmp.Or(config.Logger, slog.New(slog.DiscardHandler))}
	var err error
	d.runtime, d.init, err = Programs()
	return d, err
}

// Programs finds what a machine must have for processes: an OCI runtime, and an init that needs no library. The error, of class
// cluster.ErrNotFound, says what to install.
func Programs() (runtime, init string, err error) {
	if runtime = find("runc"); runtime == "" {
		return "", "", fmt.Errorf("%w: processes need the program runc: run `make deps`, or install the package runc", cluster.ErrNotFound)
	}
	if init = find("tini-static", "docker-init"); init == "" {
		return "", "", fmt.Errorf("%w: processes need the program tini-static or docker-init: run `make deps`, or install the package tini", cluster.ErrNotFound)
	}
	return runtime, init, nil
}

// find looks for a program, also where only root's PATH leads.
func find(names ...string) string {
	for _, name := range names {
		for _, candidate := range []string{name, "/usr/sbin/" + name, "/usr/libexec/docker/" + name} {
			if found, err := exec.LookPath(candidate); err == nil {
				return found
			}
		}
	}
	return ""
}

// Kind implements driver.Driver.
func (d *Driver) Kind() cluster.Kind { return cluster.KindProcess }

func (d *Driver) scaled(duration time.Duration) time.Duration {
	return time.Duration(d.config.TimeScale * float64(duration))
}

// Watch implements driver.Driver.
func (d *Driver) Watch(ctx context.Context) <-chan string {
	return d.watchers.Watch(ctx, shim.Source{
		Running: d.running,
		Shim:    func(id string) shim.Shim { return d.carrier(id).shim() },
		Upkeep:  func(context.Context) {}, // the shim bounds the output
		Logger:  d.logger,
	})
}

func (d *Driver) running(ctx context.Context) ([]string, error) {
	all, err := d.List(ctx)
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, status := range all {
		if status.Condition == driver.Running {
			ids = append(ids, status.ID)
		}
	}
	return ids, nil
}

// Statistics samples the control groups of running processes.
func (d *Driver) Statistics(_ context.Context, ids []string) ([]cluster.InstanceStatistics, error) {
	samples := map[string]cgroup.Sample{}
	for _, id := range ids {
		if running, err := d.carrier(id).shim().Running(); err != nil || !running {
			continue
		}
		if used, ok := cgroup.Read(cgroup.Root, d.mark(id)); ok {
			samples[id] = cgroup.Sample{At: time.Now(), Used: used}
		}
	}
	return d.meter.Compare(samples), nil
}
