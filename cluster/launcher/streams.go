package launcher

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/driver"
	"github.com/ciaocloud/ciao/cluster/payload"
	"github.com/ciaocloud/ciao/cluster/stream"
)

// StreamDialer reaches the controller that a stream begins at; stream.Dialer is one.
type StreamDialer interface {
	// Dial joins a stream at the controller's address, host:port. ctx bounds the dialling only.
	Dial(ctx context.Context, address, id, secret string) (stream.Conn, error)
}

const (
	streamDial = 10 * time.Second // before the time scale
	maxStreams = 1024             // of a node at one time: many times what the controller allows one tenant
)

// openStream joins a stream beside everything else.
func (l *Launcher) openStream(o payload.OpenStream) {
	if l.config.Streams == nil {
		l.logger.Warn("stream not joined: this launcher was given no way to", "instance", bounded(o.Instance))
		return
	}
	l.group.Go(func() {
		if err := l.join(l.life, o); err != nil {
			l.logger.Info("stream broken off", "instance", bounded(o.Instance), "reason", err)
		}
	})
}

// join dials first: whatever is wrong is then told to the user.
func (l *Launcher) join(ctx context.Context, o payload.OpenStream) error {
	dialling, done := context.WithTimeout(ctx, l.config.scaled(streamDial))
	conn, err := l.config.Streams.Dial(dialling, o.Controller, o.Stream, o.Secret)
	done()
	if err != nil {
		return err
	}
	defer l.streams.Add(-1)
	open := l.streams.Add(1)
	return stream.Serve(ctx, conn, func(ctx context.Context, ends stream.Ends) (int, error) {
		if open > maxStreams {
			return 0, fmt.Errorf("%w: the instance's node has %d logs and commands open, which is the most it takes; try again later", cluster.ErrUnavailable, maxStreams)
		}
		return l.stream(ctx, o, ends)
	})
}

// stream has the instance's driver do what a stream is for.
func (l *Launcher) stream(ctx context.Context, o payload.OpenStream, ends stream.Ends) (exitCode int, err error) {
	d, err := l.driverOf(o.Instance)
	if err != nil {
		return 0, err
	}
	switch {
	case o.Logs != nil:
		logger, able := d.(driver.Logger)
		if !able {
			return 0, fmt.Errorf("%w: instances of kind %s keep no log", cluster.ErrInvalid, d.Kind())
		}
		return 0, logger.Logs(ctx, o.Instance, o.Logs.Lines, o.Logs.Follow, ends.Output)
	case o.Exec != nil && len(o.Exec.Command) > 0:
		executor, able := d.(driver.Executor)
		if !able {
			return 0, fmt.Errorf("%w: no command can be executed in instances of kind %s", cluster.ErrInvalid, d.Kind())
		}
		return executor.Exec(ctx, o.Instance, execution(*o.Exec, ends))
	case o.Console != nil:
		consoler, able := d.(driver.Consoler)
		if !able {
			return 0, fmt.Errorf("%w: instances of kind %s have no console", cluster.ErrInvalid, d.Kind())
		}
		return 0, consoler.Console(ctx, o.Instance, driver.Seat{Takeover: o.Console.Takeover, Input: ends.Input, Output: ends.Output})
	}
	return 0, fmt.Errorf("%w: the controller asked this node for a stream that it does not know: is its program older?", cluster.ErrInvalid)
}

func (l *Launcher) driverOf(instance string) (driver.Driver, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	o := l.owners[instance]
	if o == nil {
		return nil, fmt.Errorf("%w: its node does not have instance %s (any more)", cluster.ErrNotFound, bounded(instance))
	}
	d := l.drivers[o.reported.Kind]
	if d == nil {
		return nil, fmt.Errorf("%w: its node is only just looking at instance %s; try again", cluster.ErrUnavailable, bounded(instance))
	}
	return d, nil
}

func execution(e payload.Exec, ends stream.Ends) driver.Execution {
	var in io.Reader // a nil of its own type would not be none
	if e.Input {
		in = ends.Input
	}
	return driver.Execution{
		Command: e.Command, TTY: e.TTY, Size: cluster.TerminalSize{Width: e.Width, Height: e.Height}, Resize: ends.Sizes,
		Stdin: in, Stdout: ends.Output, Stderr: ends.Errors,
	}
}
