package controller

import (
	"context"
	"log/slog"
	"maps"
	"sync"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/store"
	"github.com/ciaocloud/ciao/ssntp"
)

// Counters are what a controller has counted since it began, for metrics.
type Counters struct {
	Leading    bool
	Frames     map[string]uint64 // received, by operand
	Sent       map[string]uint64 // by operand
	SendErrors uint64
	Commits    uint64            // of the reconciler
	CommitBusy float64           // seconds spent in them
	Reports    uint64            // node reports that changed an instance
	Retries    uint64            // commands sent again
	Repeated   map[string]uint64 // of them, by what they command
	Questions  uint64            // questions to nodes about what became of commands
	Orphans    uint64            // instances that nodes had and should not have
	Waiting    int               // instances that are not settled
}

type counters struct {
	mu sync.Mutex
	n  Counters
}

func (c *counters) count(add func(*Counters)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	add(&c.n)
}

func (c *counters) received(o ssntp.Operand) {
	c.count(func(n *Counters) {
		if n.Frames == nil {
			n.Frames = map[string]uint64{}
		}
		n.Frames[o.String()]++
	})
}

func (c *counters) sent(o ssntp.Operand, err error) {
	c.count(func(n *Counters) {
		if err != nil {
			n.SendErrors++
			return
		}
		if n.Sent == nil {
			n.Sent = map[string]uint64{}
		}
		n.Sent[o.String()]++
	})
}

func (c *counters) repeated(a action) {
	c.count(func(n *Counters) {
		n.Retries++
		if n.Repeated == nil {
			n.Repeated = map[string]uint64{}
		}
		n.Repeated[a.String()]++
	})
}

// Counters returns a copy of the present values.
func (c *Controller) Counters() Counters {
	c.counters.mu.Lock()
	defer c.counters.mu.Unlock()
	n := c.counters.n
	n.Frames, n.Sent, n.Repeated = maps.Clone(n.Frames), maps.Clone(n.Sent), maps.Clone(n.Repeated)
	n.Leading = c.leader.Load() != nil
	if err := c.store.View(context.Background(), func(r store.Reader) error { n.Waiting = unsettled(r); return nil }); err != nil {
		c.logger.Debug("cannot count instances", slog.Any("error", err))
	}
	return n
}

func unsettled(r store.Reader) int {
	n := 0
	for _, state := range cluster.States() {
		if state.Settled() {
			continue
		}
		for range instances.By(r, byState, string(state)) {
			n++
		}
	}
	for batch := range batches.All(r) {
		n += batch.Count - batch.Unfolded
	}
	return n
}
