package daemon

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/cnci"
	"github.com/ciaocloud/ciao/cluster/network/kernel"
	"github.com/ciaocloud/ciao/ssntp"
)

func runCNCI(ctx context.Context, e Environment) error {
	logger := e.logger()
	own := e.Config.CNCI
	if own.Instance == "" {
		return fmt.Errorf("%w: the cluster file has no part cnci: launchers start the agents of CNCIs", cluster.ErrInvalid)
	}
	if _, err := e.identity(own.Certificate, own.Key, ssntp.RoleCNCIAgent); err != nil {
		return err
	}
	blocked, err := e.blocked()
	if err != nil {
		return err
	}
	network := kernel.NewConcentrator(kernel.ConcentratorConfig{Cluster: e.Config.Name, Instance: own.Instance, Log: logger})
	facts, err := network.Connect(ctx) // before the link, which goes over the underlay
	if err != nil {
		return err
	}
	logger.Info("CNCI agent runs", "instance", own.Instance, "underlay", facts.Underlay, "version", e.Version)
	late := &lateHandler{}
	settings, err := e.client(own.Certificate, own.Key, late, logger)
	if err != nil {
		return err
	}
	link, err := ssntp.NewClient(settings)
	if err != nil {
		return fmt.Errorf("make the CNCI's link: %w", err)
	}
	agent := cnci.New(cnci.Config{Instance: own.Instance, Directory: own.Directory, Network: network, Facts: facts, Link: link, Blocked: blocked, Log: logger})
	late.agent = agent
	return together(ctx, network.Run, agent.Run, link.Run)
}

// blocked are destinations that tenants must not reach, beside the underlay itself.
func (e Environment) blocked() ([]netip.Prefix, error) {
	prefixes := make([]netip.Prefix, len(e.Config.Network.Blocked))
	for i, text := range e.Config.Network.Blocked {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("network.blocked: %w", err)
		}
		prefixes[i] = prefix
	}
	return prefixes, nil
}

// lateHandler is the link's handler: the agent needs the link and the link its handler, so one of them comes late. It is complete
// before the link runs.
type lateHandler struct{ agent *cnci.Agent }

// Connected implements ssntp.Handler.
func (h *lateHandler) Connected(context.Context, ssntp.Identity, bool) { h.agent.Connected() }

// Disconnected implements ssntp.Handler.
func (h *lateHandler) Disconnected(context.Context, error) {}

// Receive implements ssntp.Handler.
func (h *lateHandler) Receive(_ context.Context, f ssntp.Frame) { h.agent.Receive(f) }
