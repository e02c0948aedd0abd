package ssntp

import (
	"context"
	"sync"
	"time"
)

// endpoint joins a session with the connection it has at the moment, and with
// those who handle what arrives: its consumer, and the connection's reader when
// a frame comes alone (see handleNow). One of them at a time does.
type endpoint struct {
	mu      sync.Mutex
	session session
	link    *link // nil without a connection
	closed  error // set once: nothing is queued any more

	inbox   inbox
	handle  func(*arrival) // set once, when handling may begin
	ending  bool           // nothing new is handled
	busy    bool           // somebody handles
	arrived chan struct{}  // the consumer should look

	space    chan struct{} // closed when there is room again; nil when nobody waits
	ackTimer *time.Timer
	ackArmed bool
}

func newEndpoint(self ID, limits *Limits) *endpoint {
	return &endpoint{session: newSession(self, limits), arrived: make(chan struct{}, 1)}
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
		if e.closed != nil || !e.session.full(f) {
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

// finish ends the endpoint: senders fail, the connection ends, with a goodbye
// when there is a code for it. It returns the frames that were not
// acknowledged.
func (e *endpoint) finish(cause error, code reason) []Frame {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed != nil {
		return nil
	}
	e.closed = cause
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

// consume hands arrivals to handle, in order, until ctx ends. When it returns,
// nothing is being handled and nothing will be.
func (e *endpoint) consume(ctx context.Context, handle func(*arrival)) {
	e.mu.Lock()
	e.handle = handle
	e.mu.Unlock()
	for b := e.nextBatch(ctx); b != nil; b = e.nextBatch(ctx) {
		e.handleBatch(ctx, b)
		b.release()
		e.mu.Lock()
		e.busy = false
		e.mu.Unlock()
	}
}

func (e *endpoint) handleBatch(ctx context.Context, b *batch) {
	for rest := b.items[:b.count]; len(rest) > 0; {
		part := rest[:min(len(rest), ackEvery)]
		rest = rest[len(part):]
		bytes, frames := 0, 0
		for i := range part {
			if ctx.Err() != nil {
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

// nextBatch waits for arrivals, and until nobody else handles; nil when ctx has
// ended.
func (e *endpoint) nextBatch(ctx context.Context) *batch {
	e.mu.Lock()
	defer e.mu.Unlock()
	for {
		e.ending = ctx.Err() != nil
		switch {
		case e.busy:
		case e.ending:
			return nil
		default:
			if b := e.inbox.pop(); b != nil {
				e.busy = true
				return b
			}
		}
		e.await(ctx)
	}
}

// await waits until the consumer should look. It gives the lock up meanwhile.
func (e *endpoint) await(ctx context.Context) {
	done := ctx.Done()
	if e.ending {
		done = nil // whoever handles says when that is over
	}
	e.mu.Unlock()
	select {
	case <-e.arrived:
	case <-done:
	}
	e.mu.Lock()
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

// notifyLocked queues a change of the connection for the consumer.
func (e *endpoint) notifyLocked(change func(context.Context)) {
	b := newBatch()
	b.items[0].change, b.count = change, 1
	e.inbox.push(b)
	e.wakeConsumer()
}

func (e *endpoint) wakeConsumer() {
	select {
	case e.arrived <- struct{}{}:
	default:
	}
}
