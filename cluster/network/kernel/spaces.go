package kernel

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ciaocloud/ciao/cluster/network"
	"github.com/ciaocloud/ciao/cluster/network/netns"
)

// SpacesConfig is what the namespaces of CNCIs on a network node are made from.
type SpacesConfig struct {
	Cluster string
	Node    string // id of the network node, which owns them
	Parent  string // link to the underlay in the host's namespace
	Host    string // path of the namespace that has Parent; empty is the process's own
	Final   bool   // Remove does not give the address back: the underlay goes with it, and its DHCP server may have gone before
	Log     *slog.Logger
}

// Spaces makes and removes the namespaces of CNCIs on one network node. Its methods may be called from many goroutines, one at a time
// for one CNCI.
type Spaces struct{ config SpacesConfig }

// NewSpaces does not touch the kernel yet.
func NewSpaces(config SpacesConfig) *Spaces {
	if config.Log == nil {
		config.Log = slog.New(slog.DiscardHandler)
	}
	return &Spaces{config}
}

// Create makes the namespace of a CNCI with a link to the underlay in it, or completes the one that is there, and returns its path.
func (s *Spaces) Create(ctx context.Context, instance string) (path string, err error) {
	fail := func(err error) (string, error) {
		return "", fmt.Errorf("make the namespace of CNCI %s: %w", instance, err)
	}
	host, err := netns.Open(s.config.Host)
	if err != nil {
		return fail(err)
	}
	defer host.Close()
	name := network.ConcentratorNamespace(s.config.Cluster, instance)
	namespace, err := markedNamespace(name, s.marks(instance)...)
	if err != nil {
		return fail(err)
	}
	defer namespace.Close()
	mac := network.UnderlayMAC(s.config.Cluster, instance)
	if err := addUnderlay(host, namespace, s.config.Parent, mac, s.marks(instance)[1]); err != nil {
		return fail(err)
	}
	return s.Path(instance), nil
}

// Remove ends every process in the CNCI's namespace, gives its underlay address back, and removes it with all its links. What is
// not there, or not of this node, is removed already.
func (s *Spaces) Remove(ctx context.Context, instance string) error {
	name := network.ConcentratorNamespace(s.config.Cluster, instance)
	err := endNamespace(name, s.marks(instance), func(namespace *os.File) error {
		if err := endProcesses(ctx, namespace); err != nil {
			return err
		}
		if err := removeRunDirectory(s.config.Cluster, instance); err != nil {
			return err
		}
		if s.config.Final {
			return nil
		}
		return releaseUnderlay(ctx, namespace, netip.Prefix{}, s.config.Log)
	})
	if err != nil {
		return fmt.Errorf("remove the namespace of CNCI %s: %w", instance, err)
	}
	return nil
}

// Signal sends a signal to every process in the CNCI's namespace.
func (s *Spaces) Signal(instance string, number unix.Signal) error {
	namespace, err := netns.Open(s.Path(instance))
	if err != nil {
		return err
	}
	defer namespace.Close()
	if err := signal(namespace, number); err != nil {
		return fmt.Errorf("in the namespace of CNCI %s: %w", instance, err)
	}
	return nil
}

// Path is where the CNCI's namespace is found, if it is there.
func (s *Spaces) Path(instance string) string {
	return netns.Path(network.ConcentratorNamespace(s.config.Cluster, instance))
}

// List finds the ids of the CNCIs of this node that have a namespace, whoever made it.
func (s *Spaces) List(ctx context.Context) ([]string, error) {
	entries, err := os.ReadDir(netns.Directory)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list network namespaces: %w", err)
	}
	var found []string
	for _, entry := range entries {
		if !strings.HasPrefix(entry.Name(), "ciao-"+s.config.Cluster+"-cnci-") {
			continue
		}
		namespace, err := netns.Open(netns.Path(entry.Name()))
		if err != nil {
			continue // it goes, or its maker died before it was one
		}
		marks, err := readMarks(namespace)
		namespace.Close()
		if err != nil || len(marks) != 2 {
			continue
		}
		instance, ok := strings.CutPrefix(marks[1], network.Mark(s.config.Cluster, "cnci", ""))
		if ok && slices.Equal(marks, s.marks(instance)) {
			found = append(found, instance)
		}
	}
	return found, nil
}

// marks say whose the namespace is and for what.
func (s *Spaces) marks(instance string) []string {
	return []string{network.Mark(s.config.Cluster, "node", s.config.Node), network.Mark(s.config.Cluster, "cnci", instance)}
}
