package network

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/ciaocloud/ciao/cluster"
)

// Kernel is what a Converger works on: one namespace. Its methods are called one at a time.
type Kernel interface {
	// Read reads the whole image.
	Read(ctx context.Context) (Image, error)
	// ReadLinks reads the links alone: they may vanish at any time, with the other ends of veths.
	ReadLinks(ctx context.Context) (map[string]Link, error)
	// Execute takes the steps in order and stops at the first that fails. A step that makes what is there already, or removes what is
	// not, succeeds.
	Execute(ctx context.Context, steps []Step) error
}

// passLimit is the longest that one pass may take. It does not depend on any caller's deadline, for a pass is made for many.
const passLimit = 30 * time.Second

// Converger brings a namespace to what is wanted, in passes. Calls that come while a pass runs share the next one, so that fifty
// ports that are wanted at once cost a few passes and not fifty. It keeps the image of the last pass and reads the kernel again at
// the start, after an error, after Forget, and when the links are not as it left them. The zero value is not ready: use NewConverger.
type Converger struct {
	kernel Kernel

	mu      sync.Mutex
	running bool
	next    *round // waits for the running pass to end; nil when nobody does

	image *Image // of the kernel, by the one that runs a pass; nil when it must be read

	stale bool // guarded by mu: read the kernel again in the next pass
	idle  sync.WaitGroup
}

// round is a pass and those who wait for it.
type round struct {
	wanted Image
	done   chan struct{}
	err    error
}

// NewConverger does not touch the kernel yet.
func NewConverger(kernel Kernel) *Converger { return &Converger{kernel: kernel, stale: true} }

// Apply converges on wanted, or on what a later call wants, and returns when a pass with it has ended or ctx has.
func (c *Converger) Apply(ctx context.Context, wanted Image) error { return c.Start(wanted)(ctx) }

// Start takes wanted as Apply does and returns at once; the function that it returns waits for the pass. Calls that a lock puts in
// order can so be made under the lock and waited for outside it.
func (c *Converger) Start(wanted Image) (wait func(context.Context) error) {
	r := c.join(wanted)
	return func(ctx context.Context) error {
		select {
		case <-r.done:
			return r.err
		case <-ctx.Done():
			return fmt.Errorf("wait for the network: %w: %w", cluster.ErrTimeout, context.Cause(ctx))
		}
	}
}

// Forget makes the next pass read the kernel.
func (c *Converger) Forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stale = true
}

// Wait returns when no pass runs.
func (c *Converger) Wait() { c.idle.Wait() }

func (c *Converger) join(wanted Image) *round {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.next == nil {
		c.next = &round{done: make(chan struct{})}
	}
	c.next.wanted = wanted
	r := c.next
	if !c.running {
		c.running = true
		c.idle.Go(c.run)
	}
	return r
}

// run makes passes until nobody waits for one.
func (c *Converger) run() {
	for {
		c.mu.Lock()
		r, stale := c.next, c.stale
		c.next, c.stale = nil, false
		c.running = r != nil
		c.mu.Unlock()
		if r == nil {
			return
		}
		if stale {
			c.image = nil
		}
		r.err = c.pass(r.wanted)
		close(r.done)
	}
}

func (c *Converger) pass(wanted Image) error {
	ctx, cancel := context.WithTimeoutCause(context.Background(), passLimit, fmt.Errorf("the kernel took more than %v: %w", passLimit, cluster.ErrTimeout))
	defer cancel()
	current, err := c.current(ctx, wanted)
	if err != nil {
		return err
	}
	c.image = nil // unknown until every step is taken
	steps := Plan(current, wanted)
	if err := c.kernel.Execute(ctx, steps); err != nil {
		return err
	}
	current.Do(steps...)
	c.image = &current
	return nil
}

// current is what the kernel has.
func (c *Converger) current(ctx context.Context, wanted Image) (Image, error) {
	if c.image != nil {
		links, err := c.kernel.ReadLinks(ctx)
		if err != nil {
			return Image{}, err
		}
		if sameLinks(links, c.image.Links, wanted) {
			return *c.image, nil
		}
	}
	return c.kernel.Read(ctx)
}

// sameLinks compares all but the MACs that nobody chose: the kernel gives a bridge another one as ports come and go.
func sameLinks(a, b map[string]Link, wanted Image) bool {
	return maps.EqualFunc(a, b, func(a, b Link) bool {
		if wanted.Links[a.Name].MAC == "" {
			a.MAC, b.MAC = "", ""
		}
		return a == b
	})
}
