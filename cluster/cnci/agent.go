// Package cnci is the concentrator agent: it keeps one tenant subnet's gateway, DHCP, DNS and NAT as the controller wants them.
package cnci

import (
	"context"
	"log/slog"
	"net/netip"
	"time"

	"github.com/ciaocloud/ciao/cluster/network"
	"github.com/ciaocloud/ciao/ssntp"
)

// Link sends frames to the cluster; *ssntp.Client is one.
type Link interface {
	Send(ctx context.Context, frame ssntp.Frame) error
}

// Config is what an agent is made from.
type Config struct {
	Instance  string // id of the CNCI
	Directory string // the newest wanted state is kept here; made if absent
	Network   network.ConcentratorNetwork
	Link      Link
	Blocked   []netip.Prefix // destinations that tenants must not reach, beside the underlay
	Repair    time.Duration  // how often the network is compared with what is wanted; zero is a minute
	Log       *slog.Logger
}

// Agent is the concentrator agent.
type Agent struct{ config Config }

// New makes an agent; Run starts it.
func New(config Config) *Agent { return &Agent{config} }

// Run applies the stored state, then each newer one that is received, until ctx ends.
func (a *Agent) Run(ctx context.Context) error { <-ctx.Done(); return nil }

// Connected tells the agent that its link is up, for the first time or again: it reports its state. It never blocks.
func (a *Agent) Connected() {}

// Receive takes a frame from the link. It never blocks.
func (a *Agent) Receive(frame ssntp.Frame) {}
