package simulation

import (
	"context"
	"net"
	"path/filepath"
	"sync"
	"time"

	"github.com/ciaocloud/ciao/cluster/cnci"
	"github.com/ciaocloud/ciao/cluster/driver/simulate"
	"github.com/ciaocloud/ciao/cluster/network"
	"github.com/ciaocloud/ciao/ssntp"
)

// concentrators is the driver of CNCIs: simulated ones, whose agents are real and connect to the scheduler.
type concentrators struct {
	*simulate.Driver
	run func(id string) (stop func(), err error)

	mu     sync.Mutex
	agents map[string]func() // by CNCI, each ends its agent
}

// Start implements driver.Driver.
func (c *concentrators) Start(ctx context.Context, id string) error {
	if err := c.Driver.Start(ctx, id); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.agents[id] != nil {
		return nil
	}
	stop, err := c.run(id)
	if err == nil {
		c.agents[id] = stop
	}
	return err
}

// Stop implements driver.Driver.
func (c *concentrators) Stop(ctx context.Context, id string, grace time.Duration) error {
	c.end(id)
	return c.Driver.Stop(ctx, id, grace)
}

// Delete implements driver.Driver.
func (c *concentrators) Delete(ctx context.Context, id string) error {
	c.end(id)
	return c.Driver.Delete(ctx, id)
}

func (c *concentrators) end(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if stop := c.agents[id]; stop != nil {
		stop()
		delete(c.agents, id)
	}
}

// startAgent lets the agent of a CNCI, with its state below a directory, work until stop, which waits for its end, or the end of ctx.
func (s *simulation) startAgent(ctx context.Context, directory, instance string, dial dialer) (stop func(), err error) {
	id, err := ssntp.ParseID(instance)
	if err != nil {
		return nil, err
	}
	a := &agent{}
	settings, err := s.link(id, ssntp.RoleCNCIAgent, a)
	if err != nil {
		return nil, err
	}
	settings.Dial = dial
	if a.client, err = ssntp.NewClient(settings); err != nil {
		return nil, err
	}
	facts := network.ConcentratorFacts{Underlay: s.underlay.next()}
	a.agent = cnci.New(cnci.Config{
		Instance: instance, Directory: filepath.Join(directory, instance), Network: concentratorNetwork{facts}, Facts: facts,
		Link: a.client, Log: s.logger,
	})
	ctx, end := context.WithCancel(ctx)
	var running sync.WaitGroup
	for _, run := range []func(context.Context) error{a.agent.Run, a.client.Run} {
		running.Add(1)
		s.parts.Go(func() error {
			defer running.Done()
			return run(ctx)
		})
	}
	return func() { end(); running.Wait() }, nil
}

// dialer opens a daemon's transport to the scheduler.
type dialer = func(ctx context.Context, address string) (net.Conn, error)

// agent brings an agent and its connection, which need each other, together.
type agent struct {
	client *ssntp.Client
	agent  *cnci.Agent
}

// Connected implements ssntp.Handler.
func (a *agent) Connected(context.Context, ssntp.Identity, bool) { a.agent.Connected() }

// Disconnected implements ssntp.Handler.
func (a *agent) Disconnected(context.Context, error) {}

// Receive implements ssntp.Handler.
func (a *agent) Receive(_ context.Context, f ssntp.Frame) { a.agent.Receive(f) }
