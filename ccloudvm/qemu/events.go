package qemu

import (
	"encoding/json"
	"sync"
	"time"

	"github.com/digitalocean/go-qemu/qmp"
)

// Event is something that QEMU told unasked: [Shutdown], [Reset], [BlockIOError], [GuestPanicked] or [Other].
type Event interface {
	// Time is when it happened, by the host's clock.
	Time() time.Time
}

type at time.Time

func (a at) Time() time.Time { return time.Time(a) }

// Shutdown says that the guest stopped running for good.
type Shutdown struct {
	at
	Guest  bool   // it did so itself
	Reason string // such as "guest-shutdown", "host-qmp-quit", "host-signal"
}

// Reset says that the guest rebooted or was reset.
type Reset struct {
	at
	Guest  bool
	Reason string
}

// BlockIOError says that a disk could not be read or written. NoSpace means that the host's disk is full: the guest is paused
// and can be continued once there is room.
type BlockIOError struct {
	at
	Device    string
	Operation string // "read" or "write"
	NoSpace   bool
	Paused    bool
	Text      string
}

// GuestPanicked says that the guest's kernel reported a panic.
type GuestPanicked struct {
	at
	Action string
}

// Other is any other event, as QEMU sent it.
type Other struct {
	at
	Name string
	Data map[string]any
}

// eventBacklog is how many events are kept for a reader that is late. Older ones are dropped: the newest tell the state.
const eventBacklog = 256

// events is a bounded queue between the socket's reader, which never waits, and the receiver.
type events struct {
	mu     sync.Mutex
	closed bool
	ch     chan Event
}

func newEvents() *events { return &events{ch: make(chan Event, eventBacklog)} }

func (e *events) add(line []byte) {
	event, err := parseEvent(line)
	if err != nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for !e.closed {
		select {
		case e.ch <- event:
			return
		default:
		}
		select {
		case <-e.ch:
		default:
		}
	}
}

func (e *events) close() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closed = true
	close(e.ch)
}

// Events returns the events since the connection was made, in order. There is one stream per monitor; it is closed when the
// connection ends. It need not be read: a late reader loses the oldest of more than 256 events.
func (m *Monitor) Events() <-chan Event { return m.events.ch }

func parseEvent(line []byte) (Event, error) {
	var e qmp.Event
	if err := json.Unmarshal(line, &e); err != nil {
		return nil, err
	}
	when := at(time.Unix(e.Timestamp.Seconds, e.Timestamp.Microseconds*1000))
	text := func(key string) string { s, _ := e.Data[key].(string); return s }
	flag := func(key string) bool { b, _ := e.Data[key].(bool); return b }
	switch e.Event {
	case "SHUTDOWN":
		return Shutdown{when, flag("guest"), text("reason")}, nil
	case "RESET":
		return Reset{when, flag("guest"), text("reason")}, nil
	case "BLOCK_IO_ERROR":
		device := text("node-name")
		if device == "" {
			device = text("device")
		}
		return BlockIOError{when, device, text("operation"), flag("nospace"), text("action") == "stop", text("reason")}, nil
	case "GUEST_PANICKED":
		return GuestPanicked{when, text("action")}, nil
	}
	return Other{when, e.Event, e.Data}, nil
}
