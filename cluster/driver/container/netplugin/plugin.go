// Package netplugin is the Docker Engine's network driver of one ciao node: it hands the node's prepared ports to containers.
//
// The engine finds the plugin by its socket, /run/docker/plugins/<name>.sock, with one name per node, and speaks the remote driver
// protocol to it: JSON over HTTP POST (libnetwork, docs/remote.md; docker docs, "Engine plugin API"). The protocol is served by
// net/http and nothing else: of go-plugins-helpers only the ten small types would have been used, and it cannot be stopped and
// waited for, which an owner of goroutines must be able to do.
//
// The plugin decides nothing and makes nothing. All it tells the engine travels with the container itself, as driver options of its
// endpoint (Endpoint.Options): the link to take, the addresses, the MAC and the gateway. So any process may serve the socket at any
// time – the launcher, its successor, or the clean-up after both – and a restart of either side loses nothing. Address management
// is the engine's null driver: two tenants may have the same range, and no start pays for a call to an address manager.
//
// What is guaranteed: the link is in the container's namespace, with its addresses and the default route, before the container's
// first instruction; no link is made, removed or configured on the host.
package netplugin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/ciaocloud/ciao/cluster"
)

// DefaultDirectory is where the engine looks for the sockets of plugins.
const DefaultDirectory = "/run/docker/plugins"

// Name is the plugin's, and the network driver's, name of a node: ciao-<cluster>-<first 8 of the node id>.
func Name(clusterName, node string) string {
	return "ciao-" + clusterName + "-" + node[:min(8, len(node))]
}

// Config says whose plugin it is.
type Config struct {
	Cluster   string       // name of the cluster
	Node      string       // id of the node
	Directory string       // of the socket; empty is DefaultDirectory
	Log       *slog.Logger // nil discards
}

// Plugin answers the engine for one node.
type Plugin struct {
	log      *slog.Logger
	listener net.Listener

	mu        sync.Mutex
	endpoints map[string]Endpoint // between the engine's CreateEndpoint and DeleteEndpoint
}

// Listen binds the node's socket; calls that arrive before Run wait for it. A socket that a killed process left behind is
// replaced; one that a living process serves is refused with cluster.ErrConflict.
func Listen(config Config) (*Plugin, error) {
	if config.Cluster == "" || config.Node == "" {
		return nil, fmt.Errorf("network plugin: the names of the cluster and the node are needed: %w", cluster.ErrInvalid)
	}
	directory := config.Directory
	if directory == "" {
		directory = DefaultDirectory
	}
	log := config.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if err := os.MkdirAll(directory, 0o755); err != nil {
		return nil, fmt.Errorf("network plugin: make the directory of plugin sockets: %w", err)
	}
	listener, err := bind(filepath.Join(directory, Name(config.Cluster, config.Node)+".sock"))
	if err != nil {
		return nil, err
	}
	return &Plugin{log: log, listener: listener, endpoints: map[string]Endpoint{}}, nil
}

// bind takes a socket over from a process that died; a process that lives keeps it.
func bind(path string) (net.Listener, error) {
	if conn, err := net.DialTimeout("unix", path, time.Second); err == nil {
		conn.Close()
		return nil, fmt.Errorf("network plugin: another process serves %s; stop it first: %w", path, cluster.ErrConflict)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("network plugin: remove the socket of a process that died: %w", err)
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("network plugin: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("network plugin: %w", err), listener.Close())
	}
	return listener, nil
}

// Run answers until ctx ends, then removes the socket. It is called once.
func (p *Plugin) Run(ctx context.Context) error {
	server := &http.Server{
		Handler:           p.handler(),
		ReadHeaderTimeout: time.Minute,
		ErrorLog:          slog.NewLogLogger(p.log.Handler(), slog.LevelWarn),
	}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	if err := server.Serve(p.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("network plugin: %w", err)
	}
	return nil
}
