package controller

import (
	"context"
	"sync"
	"time"

	"github.com/ciaocloud/ciao/cluster/payload"
	"github.com/ciaocloud/ciao/ssntp"
)

// message is what the link tells the reconciler.
type message struct {
	link    linkChange
	resumed bool
	frame   ssntp.Frame
	report  *payload.InstanceReport // the frame's, when it is one
	came    time.Time
}

type linkChange int

const (
	linkSame linkChange = iota
	linkUp
	linkDown
)

// mailboxSize bounds what waits for the reconciler; senders wait beyond it. It is far above what the hub holds for a controller: what does
// not fit there is lost, and found missing only when its answer is overdue.
const mailboxSize = 1 << 16

// mailbox brings messages to the one goroutine that owns the reconciliation, in the order in which they came. Of what a node says of one
// instance only the newest counts: it takes the place of one that still waits, unless something came between that both may depend on. So
// what thousands of instances report while the store is busy is recorded in fewer steps.
type mailbox struct {
	wake   chan struct{} // holds a token when messages wait
	room   chan struct{} // holds a token when there is room again
	closed chan struct{}
	once   sync.Once

	mu      sync.Mutex
	waiting []message
	taken   uint64           // messages before the first that waits
	newest  map[topic]uint64 // number of the message of a topic that may be replaced
}

// topic is what messages may replace each other about.
type topic struct {
	node     ssntp.ID
	instance string // empty: a sign of life
}

func newMailbox() *mailbox {
	return &mailbox{
		wake: make(chan struct{}, 1), room: make(chan struct{}, 1), closed: make(chan struct{}), newest: map[topic]uint64{},
	}
}

// post blocks while the mailbox is full, until ctx ends or nobody reads any more.
func (b *mailbox) post(ctx context.Context, m message) {
	for !b.put(m) {
		select {
		case <-b.room:
		case <-b.closed:
			return
		case <-ctx.Done():
			return
		}
	}
	token(b.wake)
}

// put says whether there was room.
func (b *mailbox) put(m message) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	about, replaces, passes := m.about()
	if number, found := b.newest[about]; found && replaces && number >= b.taken {
		m.came = b.waiting[number-b.taken].came
		b.waiting[number-b.taken] = m
		return true
	}
	if len(b.waiting) >= mailboxSize {
		return false
	}
	if !passes {
		clear(b.newest)
	}
	if replaces {
		b.newest[about] = b.taken + uint64(len(b.waiting))
	}
	m.came = time.Now()
	b.waiting = append(b.waiting, m)
	return true
}

// behind is for how long the oldest message has been waiting; zero when none is.
func (b *mailbox) behind(now time.Time) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.waiting) == 0 {
		return 0
	}
	return max(0, now.Sub(b.waiting[0].came))
}

// take returns the next message; false when none waits.
func (b *mailbox) take() (message, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.waiting) == 0 {
		return message{}, false
	}
	m := b.waiting[0]
	b.waiting[0] = message{}
	b.waiting = b.waiting[1:]
	b.taken++
	if len(b.waiting) == 0 {
		clear(b.newest)
		b.waiting = nil
	} else {
		token(b.wake)
	}
	token(b.room)
	return m, true
}

// token leaves word, once.
func token(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (b *mailbox) close() { b.once.Do(func() { close(b.closed) }) }

// about says whether a message replaces an earlier one of its topic, and whether later ones may pass it. Nothing passes what tells of
// a node's whole state or of its coming and going.
func (m message) about() (about topic, replaces, passes bool) {
	about.node = m.frame.Source
	switch m.frame.Operand {
	case ssntp.InstanceState:
		if m.report == nil {
			return about, false, false
		}
		about.instance = m.report.Instance
		return about, about.instance != "", true
	case ssntp.Statistics, ssntp.Progress:
		return about, true, true
	case ssntp.Ready, ssntp.Full, ssntp.Maintenance, ssntp.Placed, ssntp.PlacementFailure, ssntp.RequestPaths:
		return about, false, true
	}
	return about, false, false
}
