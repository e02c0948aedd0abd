package simulation

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/driver"
	"github.com/ciaocloud/ciao/cluster/driver/simulate"
	"github.com/ciaocloud/ciao/cluster/launcher"
	"github.com/ciaocloud/ciao/ssntp"
)

// size is what an instance takes of its node; a CNCI takes less.
var size = cluster.Resources{CPU: cluster.VCPU / 4, MemoryMiB: cluster.DefaultMemoryMiB}

// atOnce bounds how many nodes connect at the same time: what a node says first is more work than its handshake, and the process is all nodes.
const atOnce = 128

// startNodes starts all launchers and returns when the controller knows that they are ready.
func (s *simulation) startNodes(ctx context.Context) error {
	begun, started := time.Now(), 0
	start := func(count, slots int, roles ssntp.Role) error {
		for range count {
			if err := s.startNode(ctx, started, slots, roles); err != nil {
				return err
			}
			if started++; started%atOnce == 0 {
				if err := s.awaitNodes(ctx, started); err != nil {
					return err
				}
			}
		}
		return nil
	}
	network := s.config.networkNodes()
	if err := start(network, (s.config.subnets()+network-1)/network, ssntp.RoleNetAgent); err != nil {
		return err
	}
	if err := start(s.config.Nodes, s.config.slots(), ssntp.RoleAgent); err != nil {
		return err
	}
	err := s.awaitNodes(ctx, started)
	s.connected = seconds(time.Since(begun))
	return err
}

// slots is the room of a node in instances: an even share, for nodes are filled one after the other, and one more where failures send
// instances elsewhere.
func (c Config) slots() int {
	slots := (c.Instances + c.Nodes - 1) / c.Nodes
	if c.Failures > 0 {
		slots++
	}
	return slots
}

func (s *simulation) awaitNodes(ctx context.Context, count int) error {
	ctx, cancel := context.WithTimeoutCause(ctx, s.config.Patience, fmt.Errorf("%w: %d nodes did not connect", cluster.ErrTimeout, count))
	defer cancel()
	return await(ctx, func() (bool, error) {
		nodes, err := s.controller.Nodes(ctx)
		ready := 0
		for _, node := range nodes {
			if node.State == cluster.NodeReady && node.Hostname != "" { // it has said what it is
				ready++
			}
		}
		return ready >= count, err
	})
}

func (s *simulation) startNode(ctx context.Context, number, slots int, roles ssntp.Role) error {
	settings, err := s.link(ssntp.NewID(), roles, nil)
	if err != nil {
		return err
	}
	settings.Dial = s.connections.dial
	made, err := s.newLauncher(settings, number, slots, s.underlay.next(), s.driver(ctx, roles))
	if err != nil {
		return err
	}
	s.parts.Go(func() error { return made.Run(ctx) })
	return nil
}

// newLauncher makes the launcher of a node, which may have had one before.
func (s *simulation) newLauncher(settings ssntp.ClientConfig, number, slots int, underlay netip.Addr, d driver.Driver) (*launcher.Launcher, error) {
	link, err := launcher.NewLink(settings)
	if err != nil {
		return nil, err
	}
	return launcher.New(launcher.Config{
		Link: link, Directory: filepath.Join(s.volatile, fmt.Sprint(number)), Network: &nodeNetwork{underlay},
		Drivers: []driver.Driver{d}, Hostname: fmt.Sprintf("node-%d", number),
		Capacity:  cluster.Resources{CPU: size.CPU * cluster.CPU(slots), MemoryMiB: size.MemoryMiB * int64(slots), DiskMiB: 1 << 20},
		TimeScale: s.config.TimeScale, Logger: s.logger,
	})
}

// driver runs what a node of the role runs.
func (s *simulation) driver(ctx context.Context, roles ssntp.Role) driver.Driver {
	settings := simulate.Config{Seed: s.config.Seed}
	if roles == ssntp.RoleNetAgent {
		settings.Kind = cluster.KindCNCI
		directory := filepath.Join(s.volatile, "cnci")
		return &concentrators{Driver: simulate.New(simulate.NewEngine(settings)), run: func(id string) (func(), error) { return s.startAgent(ctx, directory, id, s.connections.dial) },
			agents: map[string]func(){}}
	}
	settings.Takes = map[simulate.Step]simulate.Range{simulate.Start: {Min: s.config.StartDelay.Min, Max: s.config.StartDelay.Max}}
	if s.config.Failures > 0 {
		settings.Failures = []simulate.Failure{{Step: simulate.Start, Err: cluster.ErrNoCapacity, Share: s.config.Failures}}
	}
	return simulate.New(simulate.NewEngine(settings))
}
