package scheduler

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/scheduler/placement"
	"github.com/ciaocloud/ciao/ssntp"
)

// Config says how a scheduler works. Server is required, without its Owner; every zero field has a default.
type Config struct {
	Server     ssntp.ServerConfig
	Overcommit cluster.Overcommit // default cluster.DefaultOvercommit
	Policy     placement.Policy   // default placement.FirstFit
	// Reservation is how long a decision counts before its node has reported the instance; default 90 s, which is longer than
	// a controller waits between the decision and the start, for the network.
	Reservation time.Duration
	// Settle is how long after the start nodes may still be on their way, so that no refusal is called permanent; default 10 s.
	Settle    time.Duration
	TimeScale float64 // multiplies every duration; default 1
	Logger    *slog.Logger
	// Revocations takes lists of revoked certificates; Server.Admit goes by it. Nil takes none.
	Revocations Revocations
}

// Revocations is what the scheduler needs of the list of revoked certificates.
type Revocations interface {
	// Take brings a newer list, DER, in force.
	Take(list []byte) error
}

// Scheduler is the hub. Make it with New.
type Scheduler struct {
	server  hub
	logger  *slog.Logger
	listen  func(ctx context.Context, listener net.Listener) error
	tap     func(visit func(ssntp.Tapped))
	counts  func() ssntp.Handshakes
	present func() []ssntp.Identity
	revoked Revocations

	mu          sync.Mutex
	cluster     *placement.Cluster
	inventories map[ssntp.ID]*inventory // that come in parts
}

// hub is what the scheduler needs of *ssntp.Server.
type hub interface {
	Send(f ssntp.Frame) error
	Peers() []ssntp.Identity
	Disconnect(peer ssntp.ID, reason string) bool
	Reconsider()
}

// New checks the configuration and makes the scheduler and its server.
func New(config Config) (*Scheduler, error) {
	s := &Scheduler{
		logger:      cmp.Or(config.Logger, slog.New(slog.DiscardHandler)),
		cluster:     placement.New(config.placement(time.Now())),
		inventories: map[ssntp.ID]*inventory{},
		revoked:     config.Revocations,
	}
	config.Server.Owner = s
	server, err := ssntp.NewServer(config.Server)
	if err != nil {
		return nil, fmt.Errorf("make the scheduler's server: %w", err)
	}
	s.server, s.listen, s.tap, s.counts, s.present = server, server.Run, server.SetTap, server.Handshakes, server.Connected
	return s, nil
}

// Run serves the listener until ctx ends, and waits for everything that it started.
func (s *Scheduler) Run(ctx context.Context, listener net.Listener) error {
	s.logger.Info("scheduler listens", "address", listener.Addr().String())
	return s.listen(ctx, listener)
}

// Disconnect ends a peer's session, as after revocation of its certificate, and says whether there was one.
func (s *Scheduler) Disconnect(peer ssntp.ID, reason string) bool {
	return s.server.Disconnect(peer, reason)
}

// SetTap has visit called for every frame that passes, until it is called with nil; see ssntp.Server.
func (s *Scheduler) SetTap(visit func(ssntp.Tapped)) { s.tap(visit) }

// Handshakes is what was counted of connections that came.
func (s *Scheduler) Handshakes() ssntp.Handshakes { return s.counts() }

// Present are the peers that have a connection now, in no order.
func (s *Scheduler) Present() []ssntp.Identity { return s.present() }

func (c Config) placement(now time.Time) placement.Config {
	scale := cmp.Or(c.TimeScale, 1)
	return placement.Config{
		Overcommit:  cmp.Or(c.Overcommit, cluster.DefaultOvercommit()),
		Policy:      c.Policy,
		Reservation: time.Duration(scale * float64(cmp.Or(c.Reservation, 90*time.Second))),
		Settled:     now.Add(time.Duration(scale * float64(cmp.Or(c.Settle, 10*time.Second)))),
	}
}
