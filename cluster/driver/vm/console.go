package vm

import (
	"context"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/driver"
)

// consoleDial bounds connecting to the console of a QEMU that does not take connections.
const consoleDial = 5 * time.Second

// Console implements driver.Consoler: it carries the guest's first serial port. What the guest prints while nobody is there is in its log.
func (d *Driver) Console(ctx context.Context, id string, seat driver.Seat) error {
	c := d.carrier(id)
	if !cluster.ValidID(id) || !c.has(machineFile) {
		return fmt.Errorf("%w: there is no instance %s on this node", cluster.ErrNotFound, id)
	}
	running, err := c.shim().Running()
	if err == nil && !running {
		err = fmt.Errorf("%w: the virtual machine does not run; start it first", cluster.ErrConflict)
	}
	if err != nil {
		return classed(err)
	}
	ctx, leave, err := d.seats.Take(ctx, id, seat.Takeover)
	if err != nil {
		return err
	}
	defer leave()
	conn, err := c.dialConsole(ctx, d.scaled(consoleDial))
	if err != nil {
		return classed(fmt.Errorf("join the console: %w", err))
	}
	return converse(ctx, conn, seat)
}

func (c carrier) dialConsole(ctx context.Context, limit time.Duration) (conn net.Conn, err error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err = c.short(consoleFile, func(path string) error {
		conn, err = new(net.Dialer).DialContext(ctx, "unix", path)
		return err
	})
	return conn, err
}

// converse carries both directions until QEMU leaves or ctx ends, and closes the connection. It does not wait for a user who does not read:
// somebody else may be waiting for the place.
func converse(ctx context.Context, conn net.Conn, seat driver.Seat) error {
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	go func() { // nobody can wait for a reader of what is typed; a write ends with the connection
		_, _ = io.Copy(conn, seat.Input) // a connection that breaks is found by who reads it
	}()
	printed := make(chan error, 1)
	go func() {
		told := &told{w: seat.Output}
		_, _ = io.Copy(told, conn) // QEMU that is killed resets the connection: that is the end, too
		printed <- told.err
	}()
	select {
	case err := <-printed:
		if ctx.Err() == nil {
			return err
		}
	case <-ctx.Done():
	}
	return context.Cause(ctx)
}

// told tells an error of writing from one of reading.
type told struct {
	w   io.Writer
	err error
}

func (t *told) Write(data []byte) (n int, err error) {
	n, t.err = t.w.Write(data)
	return n, t.err
}
