package cnci

import (
	"context"
	"errors"
	"time"

	"github.com/ciaocloud/ciao/cluster/network"
	"github.com/ciaocloud/ciao/cluster/payload"
	"github.com/ciaocloud/ciao/ssntp"
)

// Run applies the stored state, then each newer one that is received, until ctx ends. It returns no error.
func (a *Agent) Run(ctx context.Context) error {
	stored, err := load(a.config.Directory)
	if err != nil {
		a.config.Log.Warn("starting without the stored state: the controller sends it again", "err", err)
	}
	if stored != nil {
		a.wanted = stored
		a.apply(ctx)
	}
	for {
		timer := time.NewTimer(a.pause())
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-a.wake:
			a.serve(ctx)
		case <-timer.C:
			a.renew(ctx)
		}
		timer.Stop()
	}
}

// pause is how long to wait for word before the network is compared with what is wanted.
func (a *Agent) pause() time.Duration {
	if a.retry > 0 {
		return a.retry
	}
	return a.config.Repair
}

// serve does what was posted: stores and applies a newer state, and reports.
func (a *Agent) serve(ctx context.Context) {
	state, report := a.take()
	if state != nil && (a.wanted == nil || state.Revision > a.wanted.Revision) {
		a.next, a.retry = state, 0
		a.advance(ctx)
	}
	if report {
		a.send(ctx)
	}
}

// advance makes the next state the wanted one: on disk first, or an agent that dies would go back. While it cannot be kept, what is applied stays.
func (a *Agent) advance(ctx context.Context) {
	if err := store(a.config.Directory, a.next); err != nil {
		a.fails("the wanted state is not kept; trying again", a.next, err)
		return
	}
	a.wanted, a.next, a.retry = a.next, nil, 0
	a.apply(ctx)
}

// renew takes the next state, or applies the wanted one again, and reports if that changed anything that the controller was told.
func (a *Agent) renew(ctx context.Context) {
	applied, facts, problem := a.applied, a.facts, a.problem
	switch {
	case a.next != nil:
		a.advance(ctx)
	case a.wanted != nil:
		a.apply(ctx)
	}
	if applied != a.applied || !facts.Equal(a.facts) || problem != a.problem {
		a.send(ctx)
	}
}

func (a *Agent) apply(ctx context.Context) {
	limited, cancel := context.WithTimeout(ctx, applyLimit)
	defer cancel()
	facts, err := a.config.Network.Apply(limited, a.network())
	if err == nil {
		a.applied, a.facts, a.problem = a.wanted.Revision, facts, ""
		a.againLater(len(facts.Unclaimed) > 0)
		return
	}
	if ctx.Err() != nil {
		return
	}
	a.fails("the wanted state is not applied; trying again", a.wanted, err)
}

func (a *Agent) fails(what string, state *payload.Concentrator, err error) {
	a.config.Log.Warn(what, "revision", state.Revision, "err", err)
	a.problem = bounded(err.Error())
	a.againLater(true)
}

// againLater waits longer before each attempt that follows one in vain.
func (a *Agent) againLater(wanting bool) {
	if !wanting {
		a.retry = 0
		return
	}
	a.retry = min(max(2*a.retry, firstRetry), lastRetry)
}

// network is the wanted state in the words of the network's contract.
func (a *Agent) network() network.Concentrator {
	w := a.wanted
	wanted := network.Concentrator{
		Subnet: network.Subnet{ID: w.Subnet, Tenant: w.Tenant, Key: w.Key, Prefix: w.Prefix, Gateway: w.Gateway, Prefix6: w.Prefix6, Gateway6: w.Gateway6, Peers: w.Nodes},
		Domain: w.Domain, Blocked: a.config.Blocked, Lent: w.Lent,
	}
	for _, m := range w.Mappings {
		wanted.Mappings = append(wanted.Mappings, network.Mapping(m))
	}
	for _, host := range w.Hosts {
		wanted.Hosts = append(wanted.Hosts, network.Host{Name: host.Name, MAC: host.MAC, Addresses: host.Addresses, LoginPort: host.LoginPort, Ports: portsOf(host)})
		if host.Node.IsValid() {
			wanted.Subnet.Neighbours = append(wanted.Subnet.Neighbours, network.Neighbour{MAC: host.MAC, Node: host.Node})
		}
	}
	return wanted
}

func portsOf(host payload.Host) (ports []network.HostPort) {
	for _, port := range host.Ports {
		ports = append(ports, network.HostPort(port))
	}
	return ports
}

// send reports. A report that is lost is not repeated: the controller sends the state again when it misses one.
func (a *Agent) send(ctx context.Context) {
	state := payload.ConcentratorState{Concentrator: a.config.Instance, Revision: a.applied, Underlay: a.facts.Underlay, Problem: a.problem}
	for _, u := range a.facts.Unclaimed {
		state.Unclaimed = append(state.Unclaimed, payload.Unclaimed{External: u.External, Problem: bounded(u.Problem)})
	}
	body, err := payload.Encode(state)
	if err == nil {
		limited, cancel := context.WithTimeout(ctx, reportLimit)
		defer cancel()
		err = a.config.Link.Send(limited, ssntp.Frame{Operand: ssntp.ConcentratorState, Payload: body})
	}
	if err != nil && !errors.Is(err, context.Canceled) {
		a.config.Log.Warn("the state is not reported", "err", err)
	}
}

// bounded keeps a problem short enough to be shown.
func bounded(text string) string {
	const most = 500
	if len(text) <= most {
		return text
	}
	return text[:most] + "…"
}
