package container

import (
	"fmt"
	"log/slog"

	"github.com/docker/docker/client"

	"github.com/ciaocloud/ciao/cluster"
)

// Driver runs the containers of one node.
type Driver struct {
	config Config
	log    *slog.Logger
	engine *client.Client
}

// New makes the driver of a node. It does not speak to the engine yet.
func New(config Config) (*Driver, error) {
	if err := config.validate(); err != nil {
		return nil, err
	}
	options := []client.Opt{client.FromEnv, client.WithAPIVersionNegotiation()}
	if config.Host != "" {
		options = append(options, client.WithHost(config.Host))
	}
	engine, err := client.NewClientWithOpts(options...)
	if err != nil {
		return nil, fmt.Errorf("container driver: %w: %w", cluster.ErrInvalid, err)
	}
	log := config.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Driver{config: config, log: log, engine: engine}, nil
}

// Close lets go of the connections to the engine; the containers stay.
func (d *Driver) Close() error { return d.engine.Close() }
