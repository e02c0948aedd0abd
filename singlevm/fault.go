package singlevm

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/containerd/errdefs"
	engine "github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/driver/container"
	"github.com/ciaocloud/ciao/cluster/network"
	"github.com/ciaocloud/ciao/cluster/network/firewall"
	"github.com/ciaocloud/ciao/cluster/network/netns"
)

// fault is what an operator did to a node to see what the cluster does about it.
type fault string

// Faults of a node.
const (
	stopped     fault = "stopped"     // its plug is pulled: nothing of it runs
	frozen      fault = "frozen"      // nothing of it moves, as on a machine whose processors stand still
	partitioned fault = "partitioned" // it runs, and no packet leaves or enters it by the underlay
)

func (n node) faultFile() string { return filepath.Join(n.home(), "fault") }

// fault is what was done to the node, empty for a whole one. It is written before it is done, and forgotten after it is undone.
func (n node) fault() fault {
	text, err := os.ReadFile(n.faultFile())
	if err != nil {
		return ""
	}
	return fault(strings.TrimSpace(string(text)))
}

// Break does a fault to a node; doing the same again completes what was interrupted.
func (s *Setup) Break(ctx context.Context, number int, wanted fault) error {
	n, id, unlock, err := s.lockNode(ctx, number)
	if err != nil {
		return err
	}
	defer unlock()
	if have := n.fault(); have != "" && have != wanted {
		return fmt.Errorf("%w: node %d is %s; `singlevm node heal %d` makes it whole first", cluster.ErrConflict, number, have, number)
	}
	if err := replaceFile(n.faultFile(), []byte(wanted+"\n"), 0o644); err != nil {
		return err
	}
	switch wanted {
	case stopped:
		return s.stopNode(ctx, n, id)
	case frozen:
		return s.freezeNode(ctx, n, id)
	default:
		return partition(ctx, id)
	}
}

// Heal undoes whatever was done to a node.
func (s *Setup) Heal(ctx context.Context, number int) error {
	n, _, unlock, err := s.lockNode(ctx, number)
	if err != nil {
		return err
	}
	defer unlock()
	if n.fault() == "" {
		return fmt.Errorf("%w: node %d is whole", cluster.ErrConflict, number)
	}
	if err := s.healNode(ctx, n); err != nil {
		return err
	}
	return s.startDaemons(ctx)
}

// healAll is for a setup, which brings the whole cluster up.
func (s *Setup) healAll(ctx context.Context) error {
	all, err := s.nodes()
	if err != nil {
		return err
	}
	var problems []error
	for _, n := range all {
		if n.fault() != "" {
			problems = append(problems, s.healNode(ctx, n))
		}
	}
	return errors.Join(problems...)
}

// healNode undoes all faults, for a killed command may have left more than one; a stopped node's launcher starts with the daemons.
func (s *Setup) healNode(ctx context.Context, n node) error {
	id, err := n.id()
	if err != nil {
		return err
	}
	if err := errors.Join(join(ctx, id), s.thawNode(ctx, n, id)); err != nil {
		return fmt.Errorf("heal node %d: %w", n.number, err)
	}
	if err := os.Remove(n.faultFile()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("heal node %d: %w", n.number, err)
	}
	return nil
}

// stopNode takes the node off the network first: a machine that loses its power says no farewell. Its network goes with the memory of
// that machine, and so do processes, and containers that run: an engine that stays up cannot tell a power failure from a program's end.
func (s *Setup) stopNode(ctx context.Context, n node, id string) error {
	if err := partition(ctx, id); err != nil {
		return err
	}
	if err := s.startDaemons(ctx); err != nil { // all but this one
		return err
	}
	err := asPlugin(ctx, id, func() error {
		return s.containersOf(ctx, id, func(c engine.Summary) error {
			if c.State != engine.StateRunning && c.State != engine.StatePaused {
				return nil
			}
			return s.engine.ContainerRemove(ctx, c.ID, engine.RemoveOptions{Force: true})
		})
	})
	crash := func(c carriers) error { return c.Crash(ctx) }
	return errors.Join(err, n.withCarriers(id, crash), removeNode(ctx, id))
}

// freezeNode stops the launcher first, which would answer for the rest. The kernel, which goes on, must not answer for what stands still.
func (s *Setup) freezeNode(ctx context.Context, n node, id string) error {
	return errors.Join(
		partition(ctx, id),
		s.signalNode(ctx, n, id, unix.SIGSTOP),
		s.containersOf(ctx, id, func(c engine.Summary) error {
			if c.State != engine.StateRunning {
				return nil
			}
			return s.engine.ContainerPause(ctx, c.ID)
		}))
}

func (s *Setup) thawNode(ctx context.Context, n node, id string) error {
	return errors.Join(
		s.containersOf(ctx, id, func(c engine.Summary) error {
			if c.State != engine.StatePaused {
				return nil
			}
			return s.engine.ContainerUnpause(ctx, c.ID)
		}),
		s.signalNode(ctx, n, id, unix.SIGCONT))
}

// signalNode signals the node's launcher, its processes and everything in its CNCIs.
func (s *Setup) signalNode(ctx context.Context, n node, id string, number unix.Signal) error {
	daemons, err := s.supervisor.Status(ctx)
	problems := []error{err}
	for _, daemon := range daemons {
		if daemon.Name != n.daemon() || daemon.PID == 0 {
			continue
		}
		if err := syscall.Kill(daemon.PID, number); err != nil && !errors.Is(err, syscall.ESRCH) {
			problems = append(problems, fmt.Errorf("signal %s: %w", daemon.Name, err))
		}
	}
	problems = append(problems, n.withCarriers(id, func(c carriers) error { return c.Signal(number) }))
	spaces := spacesOf(id)
	instances, err := spaces.List(ctx)
	problems = append(problems, err)
	for _, instance := range instances {
		problems = append(problems, spaces.Signal(instance, number))
	}
	return errors.Join(problems...)
}

// containersOf does something with each container of a node. One that goes meanwhile, or is already as wanted, is no problem.
func (s *Setup) containersOf(ctx context.Context, id string, do func(engine.Summary) error) error {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	found, err := s.engine.ContainerList(ctx, engine.ListOptions{All: true, Filters: filters.NewArgs(
		filters.Arg("label", container.LabelCluster+"="+ClusterName), filters.Arg("label", container.LabelNode+"="+id))})
	if err != nil {
		return fmt.Errorf("list the containers of node %s: %w", id, err)
	}
	var group errgroup.Group
	for _, one := range found {
		group.Go(func() error {
			if err := do(one); err != nil && !errdefs.IsNotFound(err) && !errdefs.IsConflict(err) {
				return fmt.Errorf("container %s of node %s: %w", one.ID, id, err)
			}
			return nil
		})
	}
	return group.Wait()
}

// partitionTable is the node's own filter's neighbour: repairs of the node's network know nothing of it.
var partitionTable = network.Table{
	ID: network.TableID{Family: "ip", Name: "ciao_partition"},
	Chains: []network.Chain{
		{Name: "prerouting", Type: "filter", Hook: "prerouting", Priority: -400, Policy: "accept", Rules: []network.Rule{
			{Name: "in", Text: fmt.Sprintf(`iifname "%s" counter drop`, network.Underlay)},
		}},
		{Name: "postrouting", Type: "filter", Hook: "postrouting", Priority: -400, Policy: "accept", Rules: []network.Rule{
			{Name: "out", Text: fmt.Sprintf(`oifname "%s" counter drop`, network.Underlay)},
		}},
	},
}

// partition lets no packet of the node and of its CNCIs through.
func partition(ctx context.Context, id string) error {
	return changeTables(ctx, id, network.TableChange{Table: partitionTable, Replace: true})
}

// join undoes partition.
func join(ctx context.Context, id string) error {
	return changeTables(ctx, id, network.TableChange{Table: partitionTable, Remove: true})
}

// changeTables changes a table in the namespaces of a node and its CNCIs.
func changeTables(ctx context.Context, id string, change network.TableChange) error {
	spaces := spacesOf(id)
	instances, err := spaces.List(ctx)
	problems := []error{err}
	paths := []string{netns.Path(network.NodeNamespace(ClusterName, id))}
	for _, instance := range instances {
		paths = append(paths, spaces.Path(instance))
	}
	for _, path := range paths {
		problems = append(problems, changeTable(path, change))
	}
	return errors.Join(problems...)
}

func changeTable(path string, change network.TableChange) error {
	namespace, err := netns.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer namespace.Close()
	tables, err := firewall.OpenTables(int(namespace.Fd()))
	if err != nil {
		return err
	}
	defer tables.Close()
	if change.Remove {
		have, err := tables.Read(change.Table.ID.Name)
		if err != nil || len(have) == 0 {
			return err
		}
	}
	return tables.Change([]network.TableChange{change})
}
