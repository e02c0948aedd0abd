// Package streamtest gives tests connections of streams in memory, which work in a bubble of testing/synctest.
package streamtest

import (
	"context"
	"slices"
	"sync"

	"github.com/ciaocloud/ciao/cluster/stream"
)

// Pipe makes the two ends of a connection. A message is written when the other end has read it.
func Pipe() (one, other stream.Conn) {
	there, back, closed := make(chan stream.Message), make(chan stream.Message), new(closing)
	closed.done = make(chan struct{})
	return &end{there, back, closed}, &end{back, there, closed}
}

type closing struct {
	once sync.Once
	done chan struct{}
}

type end struct {
	out    chan<- stream.Message
	in     <-chan stream.Message
	closed *closing
}

// Read implements stream.Conn.
func (e *end) Read(ctx context.Context) (stream.Message, error) {
	select {
	case m := <-e.in:
		return m, nil
	case <-e.closed.done:
		return stream.Message{}, stream.ErrLeft
	case <-ctx.Done():
		e.Close()
		return stream.Message{}, context.Cause(ctx)
	}
}

// Write implements stream.Conn.
func (e *end) Write(ctx context.Context, m stream.Message) error {
	m.Data = slices.Clone(m.Data)
	select {
	case e.out <- m:
		return nil
	case <-e.closed.done:
		return stream.ErrLeft
	case <-ctx.Done():
		e.Close()
		return context.Cause(ctx)
	}
}

// Close implements stream.Conn.
func (e *end) Close() { e.closed.once.Do(func() { close(e.closed.done) }) }
