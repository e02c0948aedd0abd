package stream

import (
	"context"
	"errors"
	"io"
	"sync"

	"github.com/ciaocloud/ciao/cluster"
)

// Terminal is what the user's end of a stream reads and writes.
type Terminal struct {
	Input  io.Reader // nil is no input; otherwise it may be read once more after the end
	Output io.Writer
	Errors io.Writer
	Sizes  <-chan cluster.TerminalSize // later sizes; may be nil
}

// Attend is the user's end of a stream: it carries input and sizes to the node and output from it until the end, whose exit code or
// error it returns, and closes the connection. A stream that broke after the Output had taken nothing for Patience ended with ErrUnread.
func Attend(ctx context.Context, conn Conn, t Terminal) (exitCode int, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	conn = patient{conn}
	room := newCredit(Window)
	var resizing sync.WaitGroup
	resizing.Go(func() { resize(ctx, conn, t.Sizes) })
	defer resizing.Wait()
	defer conn.Close()
	defer cancel(nil)
	if t.Input != nil {
		go func() { // nobody can wait for a reader of a terminal
			if err := send(ctx, conn, t.Input, room); err != nil {
				cancel(err)
			}
		}()
	}
	var longest pause
	for {
		m, err := conn.Read(ctx)
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		if err != nil {
			return 0, longest.blamed(err)
		}
		var result Result
		var last bool
		err = longest.during(func() (err error) {
			result, last, err = t.receive(m, room)
			return err
		})
		if last || err != nil {
			return result.ExitCode, err
		}
	}
}

// receive takes one message of the node; last says that it was the last.
func (t Terminal) receive(m Message, room *credit) (result Result, last bool, err error) {
	switch m.Channel {
	case Output:
		_, err = t.Output.Write(m.Data)
	case Errors:
		_, err = t.Errors.Write(m.Data)
	case Taken:
		var n int
		n, err = takenIn(m)
		room.give(n)
	case Ended:
		result, err = ResultIn(m)
		if err == nil {
			err = result.Err()
		}
		return result, true, err
	default:
		err = strange(m)
	}
	return result, false, err
}

// send carries input as far as the node has room for it. Its error is that of reading: a connection that does not take the input is
// found broken, or ended, by who reads it.
func send(ctx context.Context, conn Conn, from io.Reader, room *credit) error {
	buffer := make([]byte, MaxData)
	for {
		most := room.wait(ctx)
		if most == 0 {
			return nil
		}
		n, failure := from.Read(buffer[:min(most, MaxData)])
		if n > 0 {
			room.use(n)
			if conn.Write(ctx, Message{Input, buffer[:n]}) != nil {
				return nil
			}
		}
		switch {
		case errors.Is(failure, io.EOF):
			_ = conn.Write(ctx, Message{Channel: Input})
			return nil
		case failure != nil:
			return failure
		}
	}
}

// resize tells the node each new size. A connection that does not take it is found broken by who reads it.
func resize(ctx context.Context, conn Conn, sizes <-chan cluster.TerminalSize) {
	for {
		select {
		case size := <-sizes:
			if conn.Write(ctx, resizedTo(size)) != nil {
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// credit is how much input the node has room for. One goroutine waits and uses.
type credit struct {
	more chan struct{}

	mu   sync.Mutex
	left int
}

func newCredit(n int) *credit { return &credit{more: make(chan struct{}, 1), left: n} }

// wait is 0 when ctx has ended.
func (c *credit) wait(ctx context.Context) int {
	for {
		c.mu.Lock()
		left := c.left
		c.mu.Unlock()
		if left > 0 {
			return left
		}
		select {
		case <-c.more:
		case <-ctx.Done():
			return 0
		}
	}
}

func (c *credit) use(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left -= n
}

// give never makes more room than there is.
func (c *credit) give(n int) {
	c.mu.Lock()
	c.left = min(c.left+n, Window)
	c.mu.Unlock()
	select {
	case c.more <- struct{}{}:
	default:
	}
}
