package singlevm

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sync/errgroup"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/driver/container"
	"github.com/ciaocloud/ciao/cluster/driver/container/netplugin"
	"github.com/ciaocloud/ciao/cluster/driver/process"
	"github.com/ciaocloud/ciao/cluster/driver/vm"
	"github.com/ciaocloud/ciao/cluster/launcher"
	"github.com/ciaocloud/ciao/cluster/network"
	"github.com/ciaocloud/ciao/cluster/network/kernel"
	"github.com/ciaocloud/ciao/cluster/network/netns"
)

// engineTimeout is how long cleanup asks an engine that may be dead.
const engineTimeout = 5 * time.Second

// callLimit bounds what is done to all containers of a node.
const callLimit = 30 * time.Second

// Cleanup removes everything that a setup made, whole or half, whatever of it is alive. Steps that fail do not stop the others; the
// directory, which says what there is, goes last and only after success.
func (s *Setup) Cleanup(ctx context.Context) error {
	unlock, err := s.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	var problems []error
	for _, one := range []step{
		{"daemons and everything that they started", s.supervisor.Remove},
		{"containers, engine networks and the image", s.removeContainers},
		{"processes of instances", s.removeProcesses},
		{"sockets of network plugins", removeSockets},
		{"network namespaces", s.removeNamespaces},
		{"the way out: firewall and routing settings", s.firewall.Remove},
		{"underlay", s.removeUnderlay},
	} {
		problems = append(problems, s.steps(ctx, []step{one}))
	}
	if err := errors.Join(problems...); err != nil {
		return err
	}
	return s.steps(ctx, []step{{"files in " + s.layout.root, s.removeFiles}})
}

// identified are the nodes that ever had a certificate, by their ids.
func (s *Setup) identified() (map[string]node, error) {
	all, err := s.nodes()
	if err != nil {
		return nil, err
	}
	nodes := make(map[string]node)
	for _, n := range all {
		id, err := n.id()
		if err != nil {
			return nil, err
		}
		if id != "" {
			nodes[id] = n
		}
	}
	return nodes, nil
}

// removeContainers removes what the engine has of ours.
func (s *Setup) removeContainers(ctx context.Context) error {
	nodes, err := s.identified()
	if err != nil || len(nodes) == 0 {
		return err
	}
	asking, cancel := context.WithTimeout(ctx, engineTimeout)
	defer cancel()
	if _, err := s.engine.Ping(asking); err != nil {
		return fmt.Errorf("%w: the Docker Engine does not answer (%w), so its containers and networks stay: start it and run `singlevm cleanup` again", cluster.ErrUnavailable, err)
	}
	var group errgroup.Group
	for id, n := range nodes {
		group.Go(func() error { return s.cleanNode(ctx, id, n) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return s.removeImage(ctx)
}

// removeProcesses removes what nodes have of instances that are processes.
func (s *Setup) removeProcesses(ctx context.Context) error {
	nodes, err := s.identified()
	if err != nil {
		return err
	}
	var group errgroup.Group
	for id, n := range nodes {
		group.Go(func() error {
			return n.withCarriers(id, func(c carriers) error { return c.Clean(ctx) })
		})
	}
	return group.Wait()
}

// carriers are a node's instances of a kind that the engine knows nothing of.
type carriers interface {
	Clean(ctx context.Context) error
	Crash(ctx context.Context) error
	Signal(signal syscall.Signal) error
	Trace(id string) bool
}

// withCarriers does something with a node's processes, and with its virtual machines. A machine without the programs for a kind has none of it.
func (n node) withCarriers(id string, do func(carriers) error) error {
	directory, mark := launcher.InstancesDirectory(n.directory()), network.NodeNamespace(ClusterName, id)
	processes, noProcesses := process.New(process.Config{Instances: directory, Mark: mark})
	machines, noMachines := vm.New(vm.Config{Instances: directory, Mark: mark, Taps: noTaps{}})
	var problems []error
	for _, kind := range []struct {
		carriers
		missing error
	}{{processes, noProcesses}, {machines, noMachines}} {
		switch {
		case errors.Is(kind.missing, cluster.ErrNotFound):
		case kind.missing != nil:
			problems = append(problems, kind.missing)
		default:
			problems = append(problems, do(kind.carriers))
		}
	}
	return errors.Join(problems...)
}

// noTaps is for a driver that starts nothing.
type noTaps struct{}

func (noTaps) OpenTap(context.Context, string) (*os.File, error) { return nil, cluster.ErrUnavailable }

// asPlugin does something while it answers for the network plugin of a node without a launcher. The engine calls it for each container,
// and would wait until its patience runs out.
func asPlugin(ctx context.Context, id string, do func() error) error {
	plugin, err := netplugin.Listen(netplugin.Config{Cluster: ClusterName, Node: id})
	if err != nil {
		return err
	}
	serving, stop := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { _ = plugin.Run(serving) }) // it ends with serving, when there is nothing left to fail for
	defer running.Wait()
	defer stop()
	return do()
}

// cleanNode removes what the engine has of one node.
func (s *Setup) cleanNode(ctx context.Context, id string, n node) error {
	containers, err := container.New(container.Config{Cluster: ClusterName, Node: id, Host: s.engine.DaemonHost(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	defer containers.Close()
	return asPlugin(ctx, id, func() error { // also what the engine creates yet waits for the plugin
		if err := s.forestall(ctx, containers, launcher.InstancesDirectory(n.directory())); err != nil {
			return err
		}
		return containers.Clean(ctx)
	})
}

// forestall waits for containers that the engine still creates because a killed launcher asked for them.
func (s *Setup) forestall(ctx context.Context, containers *container.Driver, directory string) error {
	if _, err := s.engine.ImageInspect(ctx, busyboxImage); err != nil {
		if errdefs.IsNotFound(err) {
			return nil // setup did not come to the launcher
		}
		return fmt.Errorf("look for the image %s: %w", busyboxImage, err)
	}
	entries, err := os.ReadDir(directory)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("list the launcher's instances: %w", err)
	}
	var instances []string
	for _, entry := range entries {
		if cluster.ValidID(entry.Name()) && !exists(filepath.Join(directory, entry.Name(), "concentrator")) {
			instances = append(instances, entry.Name())
		}
	}
	return containers.Forestall(ctx, busyboxImage, instances)
}

// removeSockets removes the sockets by which the engine calls launchers, also of nodes whose certificate is gone: the engine would
// wait for their answer at every look for plugins.
func removeSockets(context.Context) error {
	names, err := filepath.Glob(filepath.Join(netplugin.DefaultDirectory, "ciao-"+ClusterName+"-*.sock"))
	problems := []error{err}
	for _, name := range names {
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			problems = append(problems, fmt.Errorf("remove the socket of a network plugin: %w", err))
		}
	}
	return errors.Join(problems...)
}

// removeNamespaces removes the networks of the nodes and of their CNCIs, all at once: the kernel takes its time for each.
func (s *Setup) removeNamespaces(ctx context.Context) error {
	nodes, err := s.identified()
	if err != nil {
		return err
	}
	var group errgroup.Group
	for id := range nodes {
		group.Go(func() error { return removeNode(ctx, id) })
	}
	problems := []error{group.Wait()}
	names, err := filepath.Glob(netns.Path("ciao-" + ClusterName + "-*"))
	problems = append(problems, err)
	for _, name := range names { // of a node whose certificate is gone
		problems = append(problems, netns.Remove(strings.TrimPrefix(name, netns.Directory+"/")))
	}
	return errors.Join(problems...)
}

func removeNode(ctx context.Context, node string) error {
	spaces := spacesOf(node)
	network := kernel.NewNode(kernel.NodeConfig{Cluster: ClusterName, Node: node, Parent: underlayBridge, Final: true})
	instances, err := spaces.List(ctx)
	var group errgroup.Group
	group.Go(func() error { return errors.Join(err, network.Remove(ctx)) })
	for _, instance := range instances {
		group.Go(func() error { return spaces.Remove(ctx, instance) })
	}
	return group.Wait()
}

// spacesOf are the namespaces of a node's CNCIs.
func spacesOf(node string) *kernel.Spaces {
	return kernel.NewSpaces(kernel.SpacesConfig{Cluster: ClusterName, Node: node, Parent: underlayBridge, Final: true})
}

// removeFiles removes the directory, and its parent when nothing else is in it.
func (s *Setup) removeFiles(context.Context) error {
	if err := os.RemoveAll(s.layout.root); err != nil {
		return fmt.Errorf("remove %s: %w", s.layout.root, err)
	}
	if s.layout.root == DefaultDirectory {
		_ = os.Remove(filepath.Dir(DefaultDirectory)) // it fails when something else lives there
	}
	return nil
}
