package kernel

import (
	"context"
	"fmt"

	"github.com/ciaocloud/ciao/cluster"
)

// SpacesConfig is what the namespaces of CNCIs on a network node are made from.
type SpacesConfig struct {
	Cluster string
	Node    string // id of the network node, which owns them
	Parent  string // link to the underlay in the host's namespace
	Host    string // path of the namespace that has Parent; empty is the process's own
}

// Spaces makes and removes the namespaces of CNCIs on one network node. Its methods may be called from many goroutines, one at a time
// for one CNCI.
type Spaces struct{ config SpacesConfig }

// NewSpaces does not touch the kernel yet.
func NewSpaces(config SpacesConfig) *Spaces { return &Spaces{config} }

// Create makes the namespace of a CNCI with a link to the underlay in it, or completes the one that is there, and returns its path.
func (s *Spaces) Create(ctx context.Context, instance string) (path string, err error) {
	return "", fmt.Errorf("not wired yet: %w", cluster.ErrUnavailable)
}

// Remove ends every process in the CNCI's namespace and removes it with all its links. What is not there is removed already.
func (s *Spaces) Remove(ctx context.Context, instance string) error { return nil }

// List finds the ids of the CNCIs of this node that have a namespace, whoever made it.
func (s *Spaces) List(ctx context.Context) ([]string, error) { return nil, nil }
