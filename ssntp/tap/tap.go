// Package tap shows the frames that pass a server to people on the server's
// machine, over a Unix socket, decoded: one JSON object for each.
//
// A server is tapped only while somebody looks. Who looks too slowly misses
// frames and is told how many; the server never waits. Payloads stay where they
// are: they may hold secrets.
package tap

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"sync"
	"time"

	"github.com/ciaocloud/ciao/ssntp"
)

// Record is a frame as it is shown.
type Record struct {
	Time    time.Time `json:"time"`
	From    string    `json:"from"`
	Roles   string    `json:"roles"`        // of From
	To      string    `json:"to,omitempty"` // empty: whom the authority table names
	Operand string    `json:"operand"`
	Bytes   int       `json:"bytes"`             // of the payload
	Message uint64    `json:"message,omitempty"` // number in the session of From; the server's own have none
	Trace   string    `json:"trace,omitempty"`   // W3C traceparent
	Missed  int       `json:"missed,omitempty"`  // frames before this one that came too fast
}

func recordOf(t ssntp.Tapped) Record {
	f := t.Frame
	r := Record{
		Time: t.Time, From: t.From.ID.String(), Roles: t.From.Roles.String(),
		Operand: f.Operand.String(), Bytes: len(f.Payload), Message: f.Message,
	}
	if !f.Destination.IsZero() {
		r.To = f.Destination.String()
	}
	if f.Trace != nil {
		r.Trace = f.Trace.Traceparent()
	}
	return r
}

// queued is how many records a viewer may be behind.
const queued = 4096

// acceptAgain is how long after a failure viewers are let in again.
const acceptAgain = 100 * time.Millisecond

// Tap serves viewers. Make it with New.
type Tap struct {
	set func(visit func(ssntp.Tapped)) // of the server

	mu      sync.RWMutex
	viewers map[*viewer]struct{}
}

type viewer struct {
	records chan Record
	mu      sync.Mutex
	missed  int
}

// New makes a tap; set is Server.SetTap.
func New(set func(visit func(ssntp.Tapped))) *Tap {
	return &Tap{set: set, viewers: make(map[*viewer]struct{})}
}

// Run serves viewers until ctx ends, closes the listener, and waits for all
// goroutines. It returns nil when ctx ended it.
func (t *Tap) Run(ctx context.Context, listener net.Listener) error {
	var viewers sync.WaitGroup
	defer viewers.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { listener.Close() })
	defer stop()
	for {
		conn, err := listener.Accept()
		if ctx.Err() != nil {
			if err == nil {
				conn.Close()
			}
			return nil
		}
		if errors.Is(err, net.ErrClosed) {
			return fmt.Errorf("tap: accept a viewer: %w", err)
		}
		if err != nil { // out of file descriptors, say: who only looks must not end a server that goes on
			select {
			case <-time.After(acceptAgain):
			case <-ctx.Done():
			}
			continue
		}
		viewers.Go(func() { t.serve(ctx, conn) })
	}
}

// serve shows frames until the viewer goes.
func (t *Tap) serve(ctx context.Context, conn net.Conn) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	var listening sync.WaitGroup
	defer listening.Wait()
	defer conn.Close()
	listening.Go(func() {
		_, _ = io.Copy(io.Discard, conn) // a viewer says nothing: this ends when it has gone
		cancel()
	})
	v := t.enter()
	defer t.leave(v)
	out := bufio.NewWriter(conn)
	encoder := json.NewEncoder(out)
	for {
		select {
		case r := <-v.records:
			if encoder.Encode(r) != nil {
				return
			}
		case <-ctx.Done():
			return
		}
		if len(v.records) == 0 && out.Flush() != nil {
			return
		}
	}
}

func (t *Tap) enter() *viewer {
	v := &viewer{records: make(chan Record, queued)}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.viewers[v] = struct{}{}
	t.set(t.visit)
	return v
}

func (t *Tap) leave(v *viewer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.viewers, v)
	if len(t.viewers) == 0 {
		t.set(nil)
	}
}

func (t *Tap) visit(frame ssntp.Tapped) {
	r := recordOf(frame)
	t.mu.RLock()
	defer t.mu.RUnlock()
	for v := range t.viewers {
		v.show(r)
	}
}

func (v *viewer) show(r Record) {
	v.mu.Lock()
	defer v.mu.Unlock()
	r.Missed = v.missed
	select {
	case v.records <- r:
		v.missed = 0
	default:
		v.missed++
	}
}

// Follow yields what a tap shows on a connection, until ctx ends, without an
// error then, or the server does. It closes the connection.
func Follow(ctx context.Context, conn net.Conn) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		defer conn.Close()
		stop := context.AfterFunc(ctx, func() { conn.Close() })
		defer stop()
		decoder := json.NewDecoder(conn)
		for {
			var r Record
			err := decoder.Decode(&r)
			if ctx.Err() != nil {
				return
			}
			if errors.Is(err, io.EOF) {
				err = errors.New("tap: the server has ended")
			}
			if !yield(r, err) || err != nil {
				return
			}
		}
	}
}
