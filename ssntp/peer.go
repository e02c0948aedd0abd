package ssntp

import (
	"context"
	"sync"
	"time"
)

// peer is the hub's side of a session with one process.
type peer struct {
	identity Identity
	session  ID // drawn by the peer's process
	endpoint *endpoint

	// Guarded by the lock of the endpoint.
	incarnation ID
	returned    chan struct{} // closed by the next connection
	passed      bool          // something was exchanged under the incarnation
	epoch       uint64

	// former are the sessions that this one or its predecessors superseded, so
	// that a process that was replaced cannot come back and start a quarrel.
	former []ID

	ready  chan struct{} // closed after Owner.Connected
	ended  chan struct{} // closed when the session has ended
	ctx    context.Context
	cancel context.CancelCauseFunc
	once   sync.Once

	violations int // only for the one who handles
}

const maxFormer = 16

func newPeer(ctx context.Context, identity Identity, session, self ID, limits *Limits) *peer {
	p := &peer{
		identity: identity, session: session,
		endpoint:    newEndpoint(self, limits),
		incarnation: NewID(),
		returned:    make(chan struct{}),
		ready:       make(chan struct{}),
		ended:       make(chan struct{}),
	}
	p.ctx, p.cancel = context.WithCancelCause(ctx)
	return p
}

// supersedes takes over the memory of the sessions that came before.
func (p *peer) supersedes(old *peer) {
	p.former = append(p.former, old.former...)
	p.former = append(p.former, old.session)
	if extra := len(p.former) - maxFormer; extra > 0 {
		p.former = p.former[extra:]
	}
}

// attach gives the session a new connection and returns the welcome. Hello has
// been checked and is of this session. It is errOtherRun when the process must
// be treated like a new one.
func (p *peer) attach(l *link, hello greeting) (greeting, error) {
	e := p.endpoint
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed != nil {
		return greeting{}, errOtherRun
	}
	if hello.epoch <= p.epoch {
		return greeting{}, errStale
	}
	resumed := hello.incarnation == p.incarnation
	p.passed = p.passed || resumed || e.session.received > 0 || e.session.base > 1
	switch {
	case resumed:
		if err := e.session.resume(hello.received); err != nil {
			return greeting{}, err
		}
		if _, err := e.session.acknowledge(hello.consumed); err != nil {
			return greeting{}, err
		}
	case p.passed:
		// It has talked to another server since: its numbers are lost.
		return greeting{}, errOtherRun
	case p.epoch > 0:
		// It never got our welcome: nothing has passed yet, begin again.
		e.session.restart()
		p.incarnation = NewID()
	}
	p.epoch = hello.epoch
	close(p.returned)
	p.returned = make(chan struct{})
	e.attach(l, hello)
	return p.welcome(hello, resumed), nil
}

// welcome is called with the lock of the endpoint held.
func (p *peer) welcome(hello greeting, resumed bool) greeting {
	limits := p.endpoint.session.limits
	return greeting{
		identity:    Identity{ID: p.endpoint.session.self},
		session:     p.session,
		incarnation: p.incarnation,
		epoch:       hello.epoch,
		received:    p.endpoint.session.received,
		consumed:    p.endpoint.session.consumed,
		frames:      limits.WindowFrames,
		bytes:       limits.WindowBytes,
		payload:     limits.Payload,
		heartbeat:   limits.Heartbeat,
		resumed:     resumed,
	}
}

// detach forgets a connection that has ended, and returns what is closed by the
// next one; nil when there is one already.
func (p *peer) detach(l *link) (returned <-chan struct{}) {
	p.endpoint.mu.Lock()
	defer p.endpoint.mu.Unlock()
	if p.endpoint.link != l {
		return nil
	}
	p.endpoint.link = nil
	return p.returned
}

// awaitReturn waits for a lost connection to come back. It is false when the
// time has passed.
func (p *peer) awaitReturn(returned <-chan struct{}, limit time.Duration) bool {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-returned:
		return true
	case <-p.ended:
		return true
	}
	select { // this process may have been late
	case <-returned:
		return true
	default:
		return false
	}
}
