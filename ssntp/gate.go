package ssntp

import (
	"container/list"
	"context"
	"errors"
	"sync"
	"time"
)

// gate bounds the connections in handshake. When it is full, the next one waits
// until one is through, or has had its time: thousands that dial at once wait
// for our processors, and to throw one out would be to do its work again. Those
// that have said nothing yet have much less time than the others, so that they
// keep nobody out.
type gate struct {
	limit           int
	patience, quick time.Duration // for one that has said something, and for one that has not

	mu     sync.Mutex
	inside list.List // of *visit, oldest first
	left   chan struct{}
	shut   bool
}

type visit struct {
	link *link
	came time.Time
}

func (g *gate) init(limits *Limits) {
	g.limit, g.patience, g.quick = limits.Handshakes, limits.Handshake/5, limits.Handshake/50
	g.left = make(chan struct{}, 1)
}

// enter waits for a place, which the caller gives back by leave. One goroutine
// may. Once ctx has ended, or the gate is shut, the connection is closed.
func (g *gate) enter(ctx context.Context, l *link) *list.Element {
	for {
		slot, wait := g.tryEnter(l)
		if slot != nil {
			return slot
		}
		timer := time.NewTimer(wait)
		select {
		case <-g.left:
		case <-timer.C:
		case <-ctx.Done():
			l.close(ErrClosed)
		}
		timer.Stop()
	}
}

// tryEnter says how long to wait at most when there is no place.
func (g *gate) tryEnter(l *link) (slot *list.Element, wait time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut {
		l.close(ErrClosed)
	}
	if g.inside.Len() >= g.limit && !l.closed() {
		var oldest *list.Element
		if oldest, wait = g.first(time.Now()); wait > 0 {
			return nil, wait
		}
		oldest.Value.(visit).link.close(errors.New("too many connections in handshake"))
		g.inside.Remove(oldest)
	}
	return g.inside.PushBack(visit{l, time.Now()}), 0
}

// first is whose time is over first, and how much of it is left.
func (g *gate) first(now time.Time) (first *list.Element, left time.Duration) {
	for e := g.inside.Front(); e != nil; e = e.Next() {
		v := e.Value.(visit)
		rest := g.quick
		if v.link.raw.heard.Load() {
			rest = g.patience
		}
		if rest -= now.Sub(v.came); first == nil || rest < left {
			first, left = e, rest
		}
	}
	return first, left
}

func (g *gate) leave(e *list.Element) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inside.Remove(e) // does nothing for one that was thrown out
	select {
	case g.left <- struct{}{}:
	default:
	}
}

func (g *gate) closeAll() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = true
	for e := g.inside.Front(); e != nil; e = e.Next() {
		e.Value.(visit).link.close(ErrClosed)
	}
}
