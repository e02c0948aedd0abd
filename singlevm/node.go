package singlevm

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/api"
	"github.com/ciaocloud/ciao/cluster/config"
	"github.com/ciaocloud/ciao/singlevm/supervise"
	"github.com/ciaocloud/ciao/ssntp"
	"github.com/ciaocloud/ciao/ssntp/certs"
)

// maxNodes is how many launchers a machine is asked to carry.
const maxNodes = 16

// node is one of the cluster's nodes: a launcher with an identity, a directory and a network namespace of its own. Nodes share the
// machine's processors, memory and Docker Engine, and meet on the underlay only.
type node struct {
	layout layout
	number int
}

// The first node's files are where those of a cluster of one have always been.
func (n node) home() string { return filepath.Join(n.layout.nodes(), strconv.Itoa(n.number)) }

func (n node) pki() config.PKI {
	if n.number == 1 {
		return config.PKI{Directory: n.layout.pki()}
	}
	return config.PKI{Directory: filepath.Join(n.home(), "pki")}
}

func (n node) directory() string {
	if n.number == 1 {
		return n.layout.launcher()
	}
	return filepath.Join(n.home(), "launcher")
}

func (n node) clusterFile() string {
	if n.number == 1 {
		return n.layout.clusterFile()
	}
	return filepath.Join(n.home(), "cluster.yaml")
}

// daemon is the name of the node's launcher among the daemons.
func (n node) daemon() string {
	if n.number == 1 {
		return "launcher"
	}
	return "launcher-" + strconv.Itoa(n.number)
}

// hostname is what the node calls itself: the first as the machine does.
func (n node) hostname() (string, error) {
	name, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("the machine's host name: %w", err)
	}
	if n.number > 1 {
		name += "-" + strconv.Itoa(n.number)
	}
	return name, nil
}

// id is the node's id, empty if it never had a certificate.
func (n node) id() (string, error) {
	certificate, err := certs.LoadCertificate(n.pki().CertificateFile(config.LauncherCertificate))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	identity, err := ssntp.IdentityOf(certificate)
	return identity.ID.String(), err
}

// nodes are those that there are, in the order of their numbers.
func (s *Setup) nodes() ([]node, error) {
	entries, err := os.ReadDir(s.layout.nodes())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list the nodes: %w", err)
	}
	var found []node
	for _, entry := range entries {
		if number, err := strconv.Atoi(entry.Name()); err == nil && number > 0 {
			found = append(found, node{s.layout, number})
		}
	}
	slices.SortFunc(found, func(a, b node) int { return a.number - b.number })
	return found, nil
}

// lockNode finds a node, and its id, and lets nobody else work on the cluster until unlock.
func (s *Setup) lockNode(ctx context.Context, number int) (n node, id string, unlock func(), err error) {
	if unlock, err = s.lock(ctx); err != nil {
		return n, id, nil, err
	}
	if n, err = s.node(number); err == nil {
		id, err = n.id()
	}
	if err != nil {
		unlock()
	}
	return n, id, unlock, err
}

// node finds a node by its number.
func (s *Setup) node(number int) (node, error) {
	all, err := s.nodes()
	if err != nil {
		return node{}, err
	}
	if len(all) == 0 {
		return node{}, errNoCluster
	}
	for _, n := range all {
		if n.number == number {
			return n, nil
		}
	}
	return node{}, fmt.Errorf("%w: there is no node %d; `singlevm node list` shows them", cluster.ErrNotFound, number)
}

// wantNodes makes the directories of nodes until there are as many as wanted; those that are there stay.
func (s *Setup) wantNodes() ([]node, error) {
	have, err := s.nodes()
	if err != nil {
		return nil, err
	}
	wanted := max(s.config.Nodes, 1)
	if s.config.Nodes > 0 && s.config.Nodes < len(have) {
		return nil, fmt.Errorf("%w: there are %d nodes already; `singlevm node remove %d` takes one away", cluster.ErrConflict, len(have), have[len(have)-1].number)
	}
	for len(have) < wanted {
		have = append(have, node{s.layout, freeNumber(have)})
	}
	for _, n := range have {
		for _, directory := range []string{n.home(), n.directory(), n.pki().Directory} {
			if err := os.MkdirAll(directory, 0o700); err != nil {
				return nil, fmt.Errorf("make the directory of node %d: %w", n.number, err)
			}
		}
	}
	slices.SortFunc(have, func(a, b node) int { return a.number - b.number })
	return have, nil
}

// freeNumber is the lowest number that no node has.
func freeNumber(have []node) int {
	for number := 1; ; number++ {
		if !slices.ContainsFunc(have, func(n node) bool { return n.number == number }) {
			return number
		}
	}
}

// makeNode makes what a node's launcher reads: the authority's certificate, its own, and its cluster file.
func (s *Setup) makeNode(n node, authority *certs.Authority, blocked []string) error {
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: authority.Certificate.Raw})
	if !exists(n.pki().CAFile()) {
		if err := replaceFile(n.pki().CAFile(), ca, 0o644); err != nil {
			return err
		}
	}
	subject := func() certs.Subject { return certs.Node(ssntp.NewID(), ssntp.RoleAgent|ssntp.RoleNetAgent) }
	if err := issue(authority, n.pki(), config.LauncherCertificate, subject); err != nil {
		return err
	}
	return s.writeClusterFile(n, blocked)
}

// launchers are the daemons of the nodes that are not stopped.
func (s *Setup) launchers() ([]supervise.Daemon, error) {
	nodes, err := s.nodes()
	if err != nil {
		return nil, err
	}
	var daemons []supervise.Daemon
	for _, n := range nodes {
		if n.fault() == stopped {
			continue
		}
		program := s.layout.program("ciao")
		identity, err := supervise.IdentityOf(program, n.clusterFile())
		if err != nil {
			return nil, err
		}
		daemons = append(daemons, supervise.Daemon{
			Name: n.daemon(), Summary: "node " + strconv.Itoa(n.number), Identity: identity,
			Command:  []string{program, "run", "launcher", "--config", n.clusterFile()},
			After:    []string{"scheduler", "dhcp"},
			Children: true, // CNCIs outlive the launcher
		})
	}
	return daemons, nil
}

// nodesReady says which node does not work; one that an operator has evacuated does.
func (s *Setup) nodesReady(ctx context.Context) error {
	all, err := s.nodes()
	if err != nil {
		return err
	}
	known, err := s.knownNodes(ctx)
	if err != nil {
		return err
	}
	for _, n := range all {
		id, err := n.id()
		if err != nil {
			return err
		}
		if one := known[id]; one.State != cluster.NodeReady && one.State != cluster.NodeMaintenance {
			return fmt.Errorf("node %d is %s, not ready%s", n.number, stateText(one.State), because(one.Reason))
		}
	}
	return nil
}

func because(reason string) string {
	if reason == "" {
		return ""
	}
	return ": " + reason
}

// knownNodes are what the cluster says of its nodes, by their ids; of one that has not said what it offers it says nothing.
func (s *Setup) knownNodes(ctx context.Context) (map[string]api.Node, error) {
	operator, err := newClient(s.layout.client(operatorName))
	if err != nil {
		return nil, err
	}
	defer operator.Close()
	known, err := operator.Nodes(ctx, "")
	if err != nil {
		return nil, err
	}
	byID := make(map[string]api.Node)
	for _, one := range known {
		if slices.Contains(one.Roles, cluster.Network) {
			byID[one.ID] = one
		}
	}
	return byID, nil
}

func stateText(state cluster.NodeState) string {
	if state == "" {
		return "not connected yet"
	}
	return string(state)
}
