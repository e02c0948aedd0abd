package ssntp

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// endpoint joins a session with the connection it has at the moment, and with
// those who handle what arrives, one at a time: a goroutine that lives as long as
// there is something, so that idle sessions have none, and the connection's
// reader when a frame comes alone (see handleNow).
type endpoint struct {
	mu      sync.Mutex
	session session
	link    *link // nil without a connection
	closed  error // set once: nothing is queued any more

	inbox  inbox
	handle func(*arrival) // set once, when handling may begin
	ending atomic.Bool    // nothing new is handled; set under the lock
	busy   bool           // somebody handles
	rested chan struct{}  // closed when nobody ever will any more; nil when nobody waits for that

	space    chan struct{} // closed when there is room again; nil when nobody waits
	ackTimer *time.Timer
	ackArmed bool
}

func newEndpoint(self ID, limits *Limits) *endpoint {
	return &endpoint{session: newSession(self, limits)}
}

// push queues a frame without waiting.
func (e *endpoint) push(f Frame, droppable bool) error {
	e.mu.Lock()
	return e.pushUnlock(f, droppable)
}

// pushUnlock is called with the lock held and gives it up.
func (e *endpoint) pushUnlock(f Frame, droppable bool) error {
	err := e.closed
	if err == nil {
		err = e.session.push(f, droppable)
	}
	l, alone := e.link, e.session.alone()
	e.mu.Unlock()
	switch {
	case err != nil || l == nil:
	case alone:
		e.writeNow(l)
	default:
		l.signal()
	}
	return err
}

// pushWait queues a frame and waits for room.
func (e *endpoint) pushWait(ctx context.Context, f Frame) error {
	for {
		e.mu.Lock()
		if e.closed != nil || !e.session.full(&f) {
			return e.pushUnlock(f, false)
		}
		if e.space == nil {
			e.space = make(chan struct{})
		}
		space := e.space
		e.mu.Unlock()
		select {
		case <-space:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (e *endpoint) wakeSenders() {
	if e.space != nil {
		close(e.space)
		e.space = nil
	}
}

// attach makes l the connection of the session and ends the one before it. The
// caller holds the lock and has resumed or restarted the session.
func (e *endpoint) attach(l *link, other greeting) {
	if e.link != nil {
		e.link.close(errReplaced)
	}
	e.link = l
	e.session.windowFrames, e.session.windowBytes = other.frames, other.bytes
	l.signal()
}

// finish ends the endpoint: senders fail, nothing new is handled, the connection
// ends, with a goodbye when there is a code for it. It returns the frames that
// were not acknowledged.
func (e *endpoint) finish(cause error, code reason) []Frame {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed != nil {
		return nil
	}
	e.closed = cause
	e.ending.Store(true)
	e.tellRest()
	if e.link != nil && code != 0 {
		e.link.part(code, cause.Error())
	} else if e.link != nil {
		e.link.close(cause)
	}
	if e.ackTimer != nil {
		e.ackTimer.Stop()
	}
	e.wakeSenders()
	return e.session.clear()
}

// unacknowledged is how many frames the other side is not done with.
func (e *endpoint) unacknowledged() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.session.queue.count
}

// ackEvery is how many frames are handled between two looks at the session.
const ackEvery = 32

// begin lets arrivals be handled, in order, until finish. Only the first call
// counts.
func (e *endpoint) begin(handle func(*arrival)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.handle == nil {
		e.handle = handle
		e.handleMore()
	}
}

// awaitRest waits for finish, and until nothing is being handled. One goroutine
// may.
func (e *endpoint) awaitRest() {
	rested := make(chan struct{})
	e.mu.Lock()
	e.rested = rested
	e.tellRest()
	e.mu.Unlock()
	<-rested
}

// tellRest tells whoever waits for it that nothing will be handled any more. The
// caller holds the lock.
func (e *endpoint) tellRest() {
	if e.rested != nil && e.ending.Load() && !e.busy {
		close(e.rested)
		e.rested = nil
	}
}

// handleMore sees to what has arrived, if nobody does. The caller holds the lock.
func (e *endpoint) handleMore() {
	if e.handle == nil || e.busy || e.ending.Load() || e.inbox.empty() {
		return
	}
	e.busy = true
	go e.handleAll()
}

// rest ends the turn of the one who handles. The caller holds the lock.
func (e *endpoint) rest() {
	e.busy = false
	e.handleMore()
	e.tellRest()
}

func (e *endpoint) handleAll() {
	for b := e.nextBatch(); b != nil; b = e.nextBatch() {
		e.handleBatch(b)
		b.release()
	}
}

// nextBatch is nil when there is nothing more to do; somebody else may then.
func (e *endpoint) nextBatch() *batch {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.ending.Load() {
		if b := e.inbox.pop(); b != nil {
			return b
		}
	}
	e.rest()
	return nil
}

func (e *endpoint) handleBatch(b *batch) {
	for rest := b.items[:b.count]; len(rest) > 0; {
		part := rest[:min(len(rest), ackEvery)]
		rest = rest[len(part):]
		bytes, frames := 0, 0
		for i := range part {
			if e.ending.Load() {
				return
			}
			e.handle(&part[i])
			if part[i].change == nil {
				bytes += part[i].frame.size()
				frames++
			}
		}
		e.mu.Lock()
		e.consumed(frames, bytes)
		e.mu.Unlock()
	}
}

// consumed acknowledges: at once when the other side could have to wait, else
// with the next frame, or after a short time without one. The caller holds the
// lock.
func (e *endpoint) consumed(frames, bytes int) {
	e.session.consume(frames, bytes)
	if e.link == nil || e.closed != nil || !e.session.ackOpen() {
		return
	}
	if e.session.ackDue() {
		e.link.signal()
		return
	}
	if e.ackArmed {
		return
	}
	e.ackArmed = true
	if e.ackTimer == nil {
		e.ackTimer = time.AfterFunc(e.session.limits.AckDelay, e.ackLate)
	} else {
		e.ackTimer.Reset(e.session.limits.AckDelay)
	}
}

// ackLate sends the acknowledgement that no frame has taken along.
func (e *endpoint) ackLate() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.ackArmed = false
	if e.link != nil && e.session.ackOpen() {
		e.link.ackNow = true
		e.link.signal()
	}
}

// shrink gives memory back on a connection that has been quiet.
func (e *endpoint) shrink() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.session.queue.shrink()
}

// notifyLocked queues a change of the connection for the handler.
func (e *endpoint) notifyLocked(change func(context.Context)) {
	b := newBatch()
	b.items[0].change, b.count = change, 1
	e.inbox.push(b)
	e.handleMore()
}
