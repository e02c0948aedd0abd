package launcher

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/network"
)

// fabric composes the wanted state of the node's network out of the ports of its instances and the paths of their subnets. One
// goroutine applies it: whoever wants a change waits for the first Apply that began after it, so that any number of
// changes share one.
type fabric struct {
	network network.NodeNetwork // nil on a node that runs no instances of tenants
	file    string              // of the subnets' paths
	timeout time.Duration
	logger  *slog.Logger
	wake    chan struct{} // holds a token when there is something to apply
	changed chan struct{} // holds a token when there is something to save

	mu      sync.Mutex
	ports   map[string]network.Port
	subnets map[string]learnt // by id
	unsaved bool              // what is known is newer than what is on disk
	waiters []chan<- error
	facts   network.NodeFacts
	applied bool   // without an error, at least once
	problem string // of the first try, until one is applied
}

func newFabric(n network.NodeNetwork, file string, timeout time.Duration, logger *slog.Logger) (*fabric, error) {
	f := &fabric{
		network: n, file: file, timeout: timeout, logger: logger, wake: make(chan struct{}, 1), changed: make(chan struct{}, 1),
		ports: map[string]network.Port{},
	}
	var err error
	f.subnets, err = readLearnt(file, logger)
	return f, err
}

// run applies the wanted state whenever it changed, and again after a failure, until ctx ends. Each change of the facts is told to
// changed.
func (f *fabric) run(ctx context.Context, changed func()) {
	again := time.NewTimer(0)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.wake:
		case <-again.C:
		}
		if err := f.apply(ctx); err != nil && ctx.Err() == nil {
			f.logger.Warn("network not as wanted yet", "error", err)
			again.Reset(time.Second)
		}
		changed()
	}
}

func (f *fabric) apply(ctx context.Context) error {
	f.mu.Lock()
	waiters := f.waiters
	f.waiters = nil
	wanted := f.wanted()
	f.mu.Unlock()

	var facts network.NodeFacts
	var err error
	if f.network != nil {
		limited, cancel := context.WithTimeoutCause(ctx, f.timeout, fmt.Errorf("%w: the network was not ready after %s", cluster.ErrTimeout, f.timeout))
		facts, err = f.network.Apply(limited, wanted)
		cancel()
	}
	f.mu.Lock()
	if err == nil {
		f.facts, f.applied, f.problem = facts, true, ""
	} else if f.problem == "" { // the later words would be news each time
		f.problem = bounded(err.Error())
	}
	f.mu.Unlock()
	for _, waiter := range waiters {
		waiter <- err
	}
	return err
}

// wanted is the whole wanted state; subnets are those that have a port.
func (f *fabric) wanted() network.Node {
	var node network.Node
	subnets := map[string]bool{}
	for _, id := range slices.Sorted(maps.Keys(f.ports)) {
		port := f.ports[id]
		node.Ports = append(node.Ports, port)
		subnets[port.Subnet] = true
	}
	for _, id := range slices.Sorted(maps.Keys(subnets)) {
		node.Subnets = append(node.Subnets, f.subnets[id].wanted)
	}
	return node
}

// adopt notes a port without applying anything: of an instance that was there before the launcher.
func (f *fabric) adopt(port network.Port) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ports[port.Instance] = port
}

// connect makes an instance's port and returns what the node's network turned out to be.
func (f *fabric) connect(ctx context.Context, port network.Port) (network.NodeFacts, error) {
	f.mu.Lock()
	if _, known := f.subnets[port.Subnet]; !known {
		f.mu.Unlock()
		return network.NodeFacts{}, fmt.Errorf("%w: the node knows nothing of subnet %s", cluster.ErrInvalid, port.Subnet)
	}
	f.ports[port.Instance] = port
	f.mu.Unlock()
	err := f.converge(ctx)
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.facts, err
}

// disconnect removes an instance's port, and its subnet with the last port.
func (f *fabric) disconnect(ctx context.Context, instance string) error {
	f.mu.Lock()
	_, found := f.ports[instance]
	delete(f.ports, instance)
	f.mu.Unlock()
	if !found {
		return nil
	}
	return f.converge(ctx)
}

// converge waits for an Apply that begins after now.
func (f *fabric) converge(ctx context.Context) error {
	done := make(chan error, 1)
	f.mu.Lock()
	f.waiters = append(f.waiters, done)
	f.mu.Unlock()
	f.poke()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (f *fabric) poke() {
	token(f.wake)
}

// token leaves word, once.
func token(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
