// Package simulation measures the cluster itself: the real controller, store, scheduler, SSNTP over TLS, launchers and HTTP API in one
// process, and nothing simulated but what instances and networks cost on a machine.
//
// Run builds a cluster, has tenants create instances through the API, waits until all are active, and reports how long each phase
// took, what was sent and what it cost. Beside the nodes that run instances there is one network node for ten tenants. The
// launchers' records lie in memory where the machine has a directory for that: a node has a disk of its own, which a process that plays a
// thousand of them lacks. The store's lie on disk.
package simulation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ciaocloud/ciao/cluster/controller"
	"github.com/ciaocloud/ciao/cluster/scheduler"
	"github.com/ciaocloud/ciao/cluster/store"
	"github.com/ciaocloud/ciao/ssntp/certs"
)

// simulation is a cluster being built and measured.
type simulation struct {
	config      Config
	logger      *slog.Logger
	authority   *certs.Authority
	directory   string // of the store and of the API's client
	volatile    string // of the nodes
	parts       *errgroup.Group
	scheduler   string // address
	hub         *scheduler.Scheduler
	connections *connections // to it
	api         string       // address
	store       *store.DB
	controller  *controller.Controller
	underlay    *addresses
	connected   Seconds // how long the nodes took to connect
}

// Run measures until ctx ends, or all instances are settled. It leaves nothing behind. Errors are of class cluster.ErrInvalid for a
// configuration that cannot be, and cluster.ErrTimeout when instances did not settle in time.
func Run(ctx context.Context, config Config) (report Report, err error) {
	config = config.withDefaults()
	if err := config.validate(); err != nil {
		return report, err
	}
	s := &simulation{config: config, logger: config.Logger, underlay: &addresses{}, connections: newConnections()}
	if s.authority, err = newAuthority(); err != nil {
		return report, err
	}
	remove, err := s.makeDirectories()
	if err != nil {
		return report, err
	}
	defer func() { err = errors.Join(err, remove()) }()
	return s.run(ctx)
}

func newAuthority() (*certs.Authority, error) { return certs.NewAuthority("simulation", 24*time.Hour) }

func (s *simulation) run(ctx context.Context) (report Report, err error) {
	ctx, end := context.WithCancel(ctx)
	defer end()
	s.parts, ctx = errgroup.WithContext(ctx)
	if err = s.build(ctx); err == nil {
		report, err = s.measure(ctx)
	}
	end()
	if failed := s.parts.Wait(); failed != nil {
		err = failed // the rest follows from it
	}
	if s.store != nil {
		err = errors.Join(err, s.store.Close())
	}
	return report, err
}

// memoryDirectory is where Linux has a file system in memory.
const memoryDirectory = "/dev/shm"

// makeDirectories makes what remove removes.
func (s *simulation) makeDirectories() (remove func() error, err error) {
	if s.directory, err = os.MkdirTemp(s.config.Directory, "ciao-simulate-"); err != nil {
		return nil, fmt.Errorf("make a directory for the simulation: %w", err)
	}
	s.volatile, err = os.MkdirTemp(memoryDirectory, "ciao-simulate-")
	if err != nil {
		s.volatile = filepath.Join(s.directory, "nodes")
		s.logger.Warn("the nodes' records lie on disk and may slow the cluster down", "why", err)
	}
	return func() error { return errors.Join(os.RemoveAll(s.volatile), os.RemoveAll(s.directory)) }, nil
}

// build starts everything up to nodes that can take instances.
func (s *simulation) build(ctx context.Context) error {
	if err := s.startScheduler(ctx); err != nil {
		return err
	}
	if err := s.startController(ctx); err != nil {
		return err
	}
	return s.startNodes(ctx)
}
