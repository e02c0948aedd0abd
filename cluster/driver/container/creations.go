package container

import (
	"context"
	"sync"
)

// creations knows the creates that the engine has not answered yet. The zero value is ready.
type creations struct {
	mu   sync.Mutex
	open map[string]chan struct{}
}

// begin notes a create; the launcher makes one at a time per instance.
func (c *creations) begin(id string) (done func()) {
	answered := make(chan struct{})
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open == nil {
		c.open = map[string]chan struct{}{}
	}
	c.open[id] = answered
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.open[id] == answered {
			delete(c.open, id)
		}
		close(answered)
	}
}

// wait returns when the engine has answered the create of id, if there is one.
func (c *creations) wait(ctx context.Context, id string) error {
	c.mu.Lock()
	answered, open := c.open[id]
	c.mu.Unlock()
	if !open {
		return nil
	}
	select {
	case <-answered:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
