package ssntptest

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/ciaocloud/ciao/ssntp"
)

// patience is how long a test waits for what must come; far more than needed,
// for loaded machines.
const patience = 30 * time.Second

// Event is one call of an Owner or Handler.
type Event struct {
	What    string         // "connected", "disconnected" or "frame"
	Peer    ssntp.Identity // of connected, and of disconnected of an Owner
	Resumed bool           // of connected of a Handler
	Reason  error          // of disconnected
	Frame   ssntp.Frame
}

// String is for failure messages.
func (e Event) String() string {
	switch e.What {
	case "frame":
		return fmt.Sprintf("%v from %v: %.40q", e.Frame.Operand, e.Frame.Source, e.Frame.Payload)
	case "disconnected":
		return fmt.Sprintf("disconnected %v: %v", e.Peer, e.Reason)
	}
	return fmt.Sprintf("%s %v", e.What, e.Peer)
}

// Log records what an Owner or Handler is told. The zero Log is ready.
type Log struct {
	mu     sync.Mutex
	events []Event
	more   chan struct{}
}

func (l *Log) add(e Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = append(l.events, e)
	if l.more != nil {
		close(l.more)
		l.more = nil
	}
}

// Owner returns the log as the owner of a server.
func (l *Log) Owner() ssntp.Owner { return ownerLog{l} }

// Handler returns the log as the handler of a client.
func (l *Log) Handler() ssntp.Handler { return handlerLog{l} }

// Next waits for the next event and takes it out.
func (l *Log) Next(tb testing.TB) Event {
	tb.Helper()
	return l.await(tb, "anything", func(Event) bool { return true })
}

// Frame waits for the next frame of an operand and drops the events before it.
func (l *Log) Frame(tb testing.TB, operand ssntp.Operand) ssntp.Frame {
	tb.Helper()
	return l.await(tb, operand.String(), func(e Event) bool {
		return e.What == "frame" && e.Frame.Operand == operand
	}).Frame
}

// Connected waits for the next "connected" and drops the events before it.
func (l *Log) Connected(tb testing.TB) Event {
	tb.Helper()
	return l.await(tb, "connected", func(e Event) bool { return e.What == "connected" })
}

// Disconnected waits for the next "disconnected" and drops the events before it.
func (l *Log) Disconnected(tb testing.TB) Event {
	tb.Helper()
	return l.await(tb, "disconnected", func(e Event) bool { return e.What == "disconnected" })
}

// Pending returns what has come and was not taken out.
func (l *Log) Pending() []Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]Event(nil), l.events...)
}

// Take returns what has come and takes it out.
func (l *Log) Take() []Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	events := l.events
	l.events = nil
	return events
}

func (l *Log) await(tb testing.TB, what string, wanted func(Event) bool) Event {
	tb.Helper()
	timeout := time.After(patience)
	for {
		e, ok, more := l.take()
		if ok {
			if wanted(e) {
				return e
			}
			continue
		}
		select {
		case <-more:
		case <-timeout:
			tb.Fatalf("waited %v in vain for %s", patience, what)
		}
	}
}

func (l *Log) take() (Event, bool, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.events) > 0 {
		e := l.events[0]
		l.events = l.events[1:]
		return e, true, nil
	}
	if l.more == nil {
		l.more = make(chan struct{})
	}
	return Event{}, false, l.more
}

type ownerLog struct{ *Log }

func (l ownerLog) Connected(_ context.Context, peer ssntp.Identity) {
	l.add(Event{What: "connected", Peer: peer})
}

func (l ownerLog) Disconnected(_ context.Context, peer ssntp.Identity, reason error) {
	l.add(Event{What: "disconnected", Peer: peer, Reason: reason})
}

func (l ownerLog) Receive(_ context.Context, f ssntp.Frame) {
	l.add(Event{What: "frame", Frame: f})
}

type handlerLog struct{ *Log }

func (l handlerLog) Connected(_ context.Context, server ssntp.Identity, resumed bool) {
	l.add(Event{What: "connected", Peer: server, Resumed: resumed})
}

func (l handlerLog) Disconnected(_ context.Context, reason error) {
	l.add(Event{What: "disconnected", Reason: reason})
}

func (l handlerLog) Receive(_ context.Context, f ssntp.Frame) {
	l.add(Event{What: "frame", Frame: f})
}
