package apiserver

import (
	"fmt"
	"sync"

	"github.com/ciaocloud/ciao/cluster"
)

// carried counts requests that have become WebSockets. None begins once their end is waited for.
type carried struct {
	mu     sync.Mutex
	over   bool
	inside sync.WaitGroup
}

// begin is followed by done. Its error, of class cluster.ErrUnavailable, says that the server stops.
func (c *carried) begin() (done func(), err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return nil, fmt.Errorf("%w: the controller stops; try again when it is back", cluster.ErrUnavailable)
	}
	c.inside.Add(1)
	return c.inside.Done, nil
}

func (c *carried) wait() {
	c.mu.Lock()
	c.over = true
	c.mu.Unlock()
	c.inside.Wait()
}
