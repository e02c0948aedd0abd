package container

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/docker/docker/client"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/driver"
	"github.com/ciaocloud/ciao/cluster/driver/cgroup"
)

var (
	_ driver.Driver   = (*Driver)(nil)
	_ driver.Sampler  = (*Driver)(nil)
	_ driver.Housed   = (*Driver)(nil)
	_ driver.Logger   = (*Driver)(nil)
	_ driver.Executor = (*Driver)(nil)
)

// Bounds of one call of the engine, for callers whose context has no nearer deadline.
const (
	quickCall = time.Minute      // look-ups, and what only changes records
	slowCall  = 5 * time.Minute  // create, start and remove, on a machine that is busy with many
	loadCall  = 15 * time.Minute // to give a large image to the engine
)

// Driver runs the containers of one node.
type Driver struct {
	config Config
	log    *slog.Logger
	engine *client.Client
	agree  sync.Once
	agreed atomic.Bool
	gate   chan struct{} // bounds the calls that make or start a container

	life  context.Context // ends at Close; bounds what outlives a caller's context
	end   context.CancelFunc
	owned sync.WaitGroup

	creating creations
	pulls    pulls
	networks networks
	meter    cgroup.Meter
	seen     sightings
	room     room
}

// New makes the driver of a node. It does not speak to the engine yet.
func New(config Config) (*Driver, error) {
	if err := config.validate(); err != nil {
		return nil, err
	}
	engine, err := dial(config.Host)
	if err != nil {
		return nil, fmt.Errorf("container driver: %w: %w", cluster.ErrInvalid, err)
	}
	d := &Driver{config: config, log: config.Log, engine: engine, networks: newNetworks()}
	if d.log == nil {
		d.log = slog.New(slog.DiscardHandler)
	}
	if d.config.Parallel == 0 {
		d.config.Parallel = DefaultParallel
	}
	d.gate = make(chan struct{}, d.config.Parallel)
	d.life, d.end = context.WithCancel(context.Background())
	return d, nil
}

// dial makes a client that keeps as many idle connections as calls are made at one time: the client's own keeps two.
func dial(host string) (*client.Client, error) {
	if host == "" {
		host = os.Getenv(client.EnvOverrideHost)
	}
	if host == "" {
		host = client.DefaultDockerHost
	}
	transport := &http.Transport{MaxIdleConnsPerHost: 2 * DefaultParallel, IdleConnTimeout: time.Minute}
	return client.NewClientWithOpts(
		client.WithHTTPClient(&http.Client{Transport: transport, CheckRedirect: client.CheckRedirect}),
		client.WithTLSClientConfigFromEnv(),
		client.WithHost(host))
}

// ready agrees with the engine on a version of its interface, once, before the first call. (The client's own way of doing it with the
// first call writes what concurrent calls read.)
func (d *Driver) ready(ctx context.Context) error {
	if d.agreed.Load() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, quickCall)
	defer cancel()
	ping, err := d.engine.Ping(ctx)
	if err != nil {
		return classify("speak to the Docker Engine", err)
	}
	d.agree.Do(func() {
		d.engine.NegotiateAPIVersionPing(ping)
		d.agreed.Store(true)
	})
	return nil
}

// Close lets go of the engine and waits for calls that their callers gave up; the containers stay.
func (d *Driver) Close() error {
	d.end()
	d.owned.Wait()
	return d.engine.Close()
}

// enter waits for one of the places for calls that make or start containers.
func (d *Driver) enter(ctx context.Context) (leave func(), err error) {
	select {
	case d.gate <- struct{}{}:
		return func() { <-d.gate }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
