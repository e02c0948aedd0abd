package stream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/ciaocloud/ciao/cluster"
)

// Ends are what the node's end of a stream reads and writes. A write waits while the user does not read, up to Patience.
type Ends struct {
	Input  io.Reader
	Output io.Writer
	Errors io.Writer
	Sizes  <-chan cluster.TerminalSize // of the user's terminal; the latest wins
}

// Serve is the node's end of a stream: it calls run, tells the user the exit code or the error, and closes the connection. run's
// context ends when the user leaves; Serve then returns why.
func Serve(ctx context.Context, conn Conn, run func(context.Context, Ends) (exitCode int, err error)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	conn = patient{conn}
	in, sizes := newInput(ctx, conn), make(chan cluster.TerminalSize, 1)
	var listening sync.WaitGroup
	listening.Go(func() { cancel(listen(ctx, conn, in, sizes)) })
	defer listening.Wait()
	defer cancel(nil)
	defer conn.Close()
	code, err := run(ctx, Ends{in, writer{ctx, conn, Output}, writer{ctx, conn, Errors}, sizes})
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if errors.Is(err, ErrLeft) { // his output could not be sent
		return err
	}
	last, err := resultOf(code, err).message()
	if err != nil {
		return err
	}
	// Who has the last word leaves at once, perhaps before its sending has returned here; who has left before it needs none.
	if err := conn.Write(ctx, last); !errors.Is(err, ErrLeft) || errors.Is(err, ErrUnread) {
		return err
	}
	return nil
}

// listen takes what the user sends until he leaves.
func listen(ctx context.Context, conn Conn, in *input, sizes chan cluster.TerminalSize) error {
	for {
		m, err := conn.Read(ctx)
		if err != nil {
			return err
		}
		switch m.Channel {
		case Input:
			err = in.put(m.Data)
		case Resized:
			var size cluster.TerminalSize
			if size, err = sizeIn(m); err == nil {
				select {
				case <-sizes: // it was not looked at: this one is newer
				default:
				}
				sizes <- size
			}
		default:
			err = strange(m)
		}
		if err != nil {
			return err
		}
	}
}

// writer sends what is written on one channel.
type writer struct {
	ctx     context.Context
	conn    Conn
	channel Channel
}

func (w writer) Write(data []byte) (written int, err error) {
	for written < len(data) {
		part := data[written:min(len(data), written+MaxData)]
		if err := w.conn.Write(w.ctx, Message{w.channel, part}); err != nil {
			return written, err
		}
		written += len(part)
	}
	return written, nil
}

// input is what the user has sent and the command has not taken. Its size is bounded because the user waits for word of what was taken.
type input struct {
	ctx  context.Context
	conn Conn
	wake chan struct{}

	mu    sync.Mutex
	data  []byte
	ended bool
}

func newInput(ctx context.Context, conn Conn) *input {
	return &input{ctx: ctx, conn: conn, wake: make(chan struct{}, 1)}
}

func (i *input) put(data []byte) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if len(i.data)+len(data) > Window {
		return fmt.Errorf("%w: more than %d bytes of input were sent before any was taken", cluster.ErrInvalid, Window)
	}
	i.data = append(i.data, data...)
	i.ended = i.ended || len(data) == 0
	select {
	case i.wake <- struct{}{}:
	default:
	}
	return nil
}

// Read takes input, and tells the user that there is room for more.
func (i *input) Read(p []byte) (int, error) {
	for {
		n, ended := i.take(p)
		switch {
		case n > 0:
			return n, i.conn.Write(i.ctx, taken(n))
		case ended:
			return 0, io.EOF
		case len(p) == 0:
			return 0, nil
		}
		select {
		case <-i.wake:
		case <-i.ctx.Done():
			return 0, context.Cause(i.ctx)
		}
	}
}

func (i *input) take(p []byte) (n int, ended bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	n = copy(p, i.data)
	i.data = i.data[n:]
	if len(i.data) == 0 {
		i.data = nil // an array that only grows at its end would keep all that was ever sent
	}
	return n, i.ended && i.data == nil
}
