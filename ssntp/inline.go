package ssntp

import (
	"errors"
	"time"
)

// A frame that comes alone is handled by the goroutine that has read it: to
// wake another takes longer than most handlers work, and a question and
// its answer would wait for that four times. A handler may take long all the
// same, or wait for what only reading brings. So whoever handles is watched,
// and after a moment another goroutine stands in as the connection's reader.

// standInAfter is how long a handler keeps its connection from being read. Half
// of it to all of it passes before another goroutine stands in.
const standInAfter = 2 * time.Millisecond

var errStoodIn = errors.New("ssntp: another goroutine reads this connection")

// inline is what a link knows of the frames that its reader handles; guarded by
// the lock of the endpoint.
type inline struct {
	reader  int  // the number of the goroutine that reads
	begun   int  // frames that were handled so, the one under way included
	working bool // one is under way
	seen    int  // begun at the watch's last look
	watched bool // the watch looks again
	watch   *time.Timer
}

// mayHandleNow says that the reader may handle a batch: nothing is before it.
func (e *endpoint) mayHandleNow(b *batch) bool {
	return b.count == 1 && e.handle != nil && !e.ending.Load() && !e.busy && e.inbox.empty()
}

// watchHandler notes that the reader begins to handle. The caller holds the lock.
func (l *link) watchHandler(e *endpoint) {
	l.inline.working = true
	l.inline.begun++
	if l.inline.watched {
		return
	}
	l.inline.watched = true
	if l.inline.watch == nil {
		l.inline.watch = time.AfterFunc(standInAfter/2, func() { e.standIn(l) })
	} else {
		l.inline.watch.Reset(standInAfter / 2)
	}
}

// standIn reads in place of a reader whose handler has taken too long.
func (e *endpoint) standIn(l *link) {
	e.mu.Lock()
	w := &l.inline
	same := w.seen == w.begun
	w.seen = w.begun
	switch {
	case same && !w.working: // quiet
		w.watched = false
		e.mu.Unlock()
	case !same:
		w.watch.Reset(standInAfter / 2)
		e.mu.Unlock()
	default:
		w.watched, w.working = false, false
		w.reader++
		reader := w.reader
		e.mu.Unlock()
		e.read(l, reader)
	}
}

// handleNow handles a frame that came alone. It is false when the caller is the
// connection's reader no more.
func (e *endpoint) handleNow(l *link, b *batch, reader int) (reads bool) {
	e.handle(&b.items[0])
	e.mu.Lock()
	e.consumed(1, b.items[0].frame.size())
	if reads = l.inline.reader == reader; reads {
		l.inline.working = false
	}
	e.rest()
	e.mu.Unlock()
	b.release()
	return reads
}
