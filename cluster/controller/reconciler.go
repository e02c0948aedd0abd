package controller

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/store"
	"github.com/ciaocloud/ciao/ssntp"
)

// reconciler is what the leading controller remembers beside the store. One goroutine owns it.
type reconciler struct {
	c      *Controller
	store  store.Store
	link   Link
	box    *mailbox
	timing Timing
	log    *slog.Logger
	tasks  sync.WaitGroup // signing of certificates

	linked   bool
	since    time.Time // when it began to lead
	revision store.Revision
	begun    bool // the first resync has been read
	restored bool // the store is a restored one that is not settled

	memories  map[string]*memory // by instance
	peers     map[string]*peer   // by node
	networks  map[string]*network
	lent      []netip.Prefix       // ranges of all pools
	cncis     map[string]string    // instance id of a CNCI → subnet
	version   uint64               // of paths, the last that was given away; no other controller gives the same
	revoked   []byte               // the list of revoked certificates that all were told
	doubted   map[string]bool      // nodes that may not have got the paths that they were told
	folded    map[string]bool      // batches to unfold
	dirty     map[string]bool      // instances to decide
	chores    map[string]bool      // volumes that may need something of their node
	ordered   map[string]time.Time // volumes → when their node was last told what is wanted of it
	aftermath                      // of a restore
	deadlines *deadlines
	behind    time.Duration  // by which messages wait: an answer that is overdue may be among them
	roomier   bool           // a node may have more room than before
	edits     []edit         // to be committed next
	orders    []order        // to be sent next
	asked     map[order]bool // those of them without a body
}

func newReconciler(c *Controller, link Link, box *mailbox) *reconciler {
	return &reconciler{
		c: c, store: c.store, link: link, box: box, timing: c.timing, log: c.logger,
		linked: c.linked.Load(), since: time.Now(),
		memories: map[string]*memory{}, peers: map[string]*peer{}, networks: map[string]*network{}, cncis: map[string]string{},
		version: rand.Uint64() >> 1, doubted: map[string]bool{}, folded: map[string]bool{}, dirty: map[string]bool{}, chores: map[string]bool{}, ordered: map[string]time.Time{}, aftermath: newAftermath(), deadlines: newDeadlines(), asked: map[order]bool{},
	}
}

// watched are the tables that the reconciler follows.
func watched() []string {
	return []string{instances.Name(), batches.Name(), subnets.Name(), nodes.Name(), tenants.Name(), restorations.Name(), pools.Name(), externalIPs.Name(), volumes.Name()}
}

// run is the loop: take what has come, record it in as few transactions as possible, decide, act.
func (r *reconciler) run(ctx context.Context) error {
	commits := r.store.Watch(ctx, store.WatchOptions{Tables: watched()})
	timer := time.NewTimer(0)
	defer timer.Stop()
	r.deadlines.set(subject{kind: ofCluster}, r.since.Add(r.timing.Refresh))
	r.watchRevocations(r.since)
	for {
		select {
		case <-ctx.Done():
			return nil
		case batch, ok := <-commits:
			if !ok {
				return closing(ctx)
			}
			r.observe(ctx, batch)
		case <-r.box.wake:
		case <-timer.C:
		}
		r.takeMore(ctx, commits)
		if !r.begun {
			continue
		}
		if err := r.act(ctx); err != nil {
			return err
		}
		timer.Reset(r.untilNext())
	}
}

// closing tells a store that closed from a controller that should end.
func closing(ctx context.Context) error {
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("controller: %w: the store has closed", cluster.ErrUnavailable)
}

// maxTaken bounds what goes into one round.
const maxTaken = 512

// takeMore takes what else has arrived, so that what came together is recorded together; it waits for nothing.
func (r *reconciler) takeMore(ctx context.Context, commits <-chan store.Batch) {
	for range maxTaken {
		select {
		case batch, ok := <-commits:
			if !ok {
				return // the loop finds out
			}
			r.observe(ctx, batch)
		default:
			m, ok := r.box.take()
			if !ok {
				return
			}
			r.receive(ctx, m)
		}
	}
}

// act records what was reported, does what is due, and sends.
func (r *reconciler) act(ctx context.Context) error {
	now := time.Now()
	if err := r.commit(ctx); err != nil {
		return err
	}
	r.behind = r.box.behind(now)
	for _, s := range r.deadlines.due(now.Add(-r.behind)) {
		r.expire(s, now)
	}
	if err := r.unfoldOnce(ctx); err != nil {
		return err
	}
	if r.roomier {
		r.roomier = false
		r.retryRefused()
	}
	if err := r.look(ctx, func(view store.Reader) {
		r.tendNetworks(view, now)
		r.decideDirty(view, now)
		r.tendVolumes(view, now)
	}); err != nil {
		return err
	}
	r.send(ctx)
	if err := r.commit(ctx); err != nil {
		return err
	}
	return r.trim(ctx)
}

// look reads the store; only its end is an error.
func (r *reconciler) look(ctx context.Context, read func(store.Reader)) error {
	err := r.store.View(ctx, func(view store.Reader) error { read(view); return nil })
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("controller: %w", classify(err))
	}
	return nil
}

func (r *reconciler) expire(s subject, now time.Time) {
	switch s.kind {
	case ofInstance:
		r.dirty[s.id] = true
	case ofVolume:
		r.chores[s.id] = true
	case ofNode:
		r.expireNode(s.id)
	case ofSubnet:
		if n := r.networks[s.id]; n != nil {
			n.due = true
		}
	case ofStrays:
		r.order(ssntp.RequestInventory, s.id, nil)
	case ofCluster:
		r.refresh()
		r.deadlines.set(s, now.Add(r.timing.Refresh))
	case ofRevocations:
		r.tellRevocations()
		r.watchRevocations(now)
	}
}

func (r *reconciler) untilNext() time.Duration {
	if len(r.folded) > 0 {
		return 0
	}
	next, ok := r.deadlines.next()
	if !ok {
		return time.Hour
	}
	return max(0, time.Until(next))
}

// unfoldOnce takes one step with each batch; other things get their turn between the steps.
func (r *reconciler) unfoldOnce(ctx context.Context) error {
	for id := range r.folded {
		more, err := r.c.unfold(ctx, id)
		if err != nil {
			if done := r.pause(ctx, "unfold a batch", err); done != nil {
				return done
			}
			continue
		}
		if !more {
			delete(r.folded, id)
		}
	}
	return nil
}

// trim keeps the events within their bound.
func (r *reconciler) trim(ctx context.Context) error {
	excess := false
	keep := r.c.maxEvents
	if err := r.look(ctx, func(view store.Reader) { excess = events.Len(view) > keep+min(keep/10+1, 1000) }); err != nil || !excess {
		return err
	}
	for {
		n, err := r.c.dropEvents(ctx, keep)
		if err != nil {
			r.log.Warn("cannot remove old events", slog.Any("error", err))
			return nil
		}
		if n < eventsPerTransaction {
			return nil
		}
	}
}

// peek reads the store's memory, which waits for nothing and so needs no deadline. A store that has closed shows nothing; the loop
// finds out.
func (r *reconciler) peek(read func(store.Reader)) {
	if err := r.store.View(context.Background(), func(view store.Reader) error { read(view); return nil }); err != nil {
		r.log.Debug("cannot read the store", slog.Any("error", err))
	}
}

// memory of an instance, made when needed.
func (r *reconciler) memory(id string) *memory {
	m := r.memories[id]
	if m == nil {
		m = &memory{}
		r.memories[id] = m
	}
	return m
}
