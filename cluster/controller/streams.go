package controller

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/payload"
	"github.com/ciaocloud/ciao/cluster/stream"
	"github.com/ciaocloud/ciao/ssntp"
)

// MaxStreams is how many logs and commands a tenant may have open at one time.
const MaxStreams = 64

// maxCommand bounds a command with its arguments, in bytes: it is part of a frame, and of the line of a request.
const maxCommand = 32 << 10

// LogsRequest is how a log is to be read.
type LogsRequest struct {
	Lines  int  // the last so many; negative is all
	Follow bool // go on until the instance ends
}

// ExecRequest is a command to be executed.
type ExecRequest struct {
	Command []string
	Input   bool // there may be input
	TTY     bool
	Size    cluster.TerminalSize
}

// OpenLogs asks an instance's node for its log. The caller reads the node's messages, and closes the connection.
func (c *Controller) OpenLogs(ctx context.Context, scope, ref string, request LogsRequest) (stream.Conn, error) {
	instance, err := c.Instance(ctx, scope, ref)
	if err != nil {
		return nil, err
	}
	switch {
	case instance.Node == "" || instance.State == cluster.Pending || instance.State == cluster.Scheduled:
		return nil, fmt.Errorf("%w: instance %s is %s and has printed nothing yet; read its log when it is active", cluster.ErrConflict, instance.Name, instance.State)
	case instance.State == cluster.Missing:
		return nil, nodeMissing(instance)
	}
	return c.open(ctx, instance, payload.OpenStream{Logs: &payload.Logs{Lines: request.Lines, Follow: request.Follow}})
}

// OpenExec has an instance's node execute a command. The caller joins the connection with the user's.
func (c *Controller) OpenExec(ctx context.Context, scope, ref string, request ExecRequest) (stream.Conn, error) {
	if err := request.validate(); err != nil {
		return nil, err
	}
	instance, err := c.Instance(ctx, scope, ref)
	switch {
	case err != nil:
		return nil, err
	case instance.State == cluster.Missing:
		return nil, nodeMissing(instance)
	case instance.State != cluster.Active:
		return nil, fmt.Errorf("%w: instance %s is %s, and only an active one executes commands; start it (`ciao start instance`) or wait for it (`ciao wait instance`)",
			cluster.ErrConflict, instance.Name, instance.State)
	}
	return c.open(ctx, instance, payload.OpenStream{Exec: &payload.Exec{
		Command: request.Command, Input: request.Input, TTY: request.TTY, Width: request.Size.Width, Height: request.Size.Height,
	}})
}

// OpenConsole joins the console of a virtual machine; takeover ends who is there. The caller joins the connection with the user's.
func (c *Controller) OpenConsole(ctx context.Context, scope, ref string, takeover bool) (stream.Conn, error) {
	instance, err := c.Instance(ctx, scope, ref)
	switch {
	case err != nil:
		return nil, err
	case instance.Kind != cluster.KindVM:
		return nil, fmt.Errorf("%w: instance %s is a %s, and only a virtual machine has a console; see what it prints with `ciao logs %[2]s --follow`, or execute a command in it with `ciao exec -it %[2]s -- sh`",
			cluster.ErrInvalid, instance.Name, instance.Kind)
	case instance.State == cluster.Missing:
		return nil, nodeMissing(instance)
	case instance.State != cluster.Active:
		return nil, fmt.Errorf("%w: instance %s is %s, and only an active one has a console; start it (`ciao start instance`), or see what it printed (`ciao logs`)",
			cluster.ErrConflict, instance.Name, instance.State)
	}
	return c.open(ctx, instance, payload.OpenStream{Console: &payload.Console{Takeover: takeover}})
}

func (r ExecRequest) validate() error {
	size := 0
	for _, word := range r.Command {
		size += len(word) + 1
	}
	switch {
	case len(r.Command) == 0 || r.Command[0] == "":
		return fmt.Errorf("%w: say which command is to be executed", cluster.ErrInvalid)
	case size > maxCommand:
		return fmt.Errorf("%w: a command with its arguments has at most %d bytes; give the rest as its input", cluster.ErrTooLarge, maxCommand)
	}
	return nil
}

func nodeMissing(i cluster.Instance) error {
	return fmt.Errorf("%w: instance %s is missing: its node has not been heard of; `ciao list events` says since when", cluster.ErrConflict, i.Name)
}

// open tells the node of a stream and waits until it has joined.
func (c *Controller) open(ctx context.Context, instance cluster.Instance, open payload.OpenStream) (stream.Conn, error) {
	if c.address == "" {
		return nil, fmt.Errorf("%w: nodes cannot reach this controller: an operator must set controller.address in the cluster file", cluster.ErrUnavailable)
	}
	o, err := c.streams.offer(instance)
	if err != nil {
		return nil, err
	}
	open.Stream, open.Secret, open.Controller, open.Instance = o.id, o.secret, c.address, instance.ID
	conn, err := c.await(ctx, o, open)
	if err != nil {
		c.streams.end(o)
		return nil, err
	}
	return &joined{Conn: conn, end: func() { c.streams.end(o) }}, nil
}

func (c *Controller) await(ctx context.Context, o *offer, open payload.OpenStream) (stream.Conn, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, c.timing.Stream,
		fmt.Errorf("%w: the instance's node did not answer within %s; `ciao list nodes` (operator) says how it is", cluster.ErrTimeout, c.timing.Stream))
	defer cancel()
	if err := c.command(ctx, ssntp.OpenStream, o.node, open); err != nil {
		return nil, fmt.Errorf("%w: the instance's node cannot be reached: %w; try again", cluster.ErrUnavailable, err)
	}
	select {
	case conn := <-o.joined:
		return conn, nil
	case err := <-o.failed:
		return nil, err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// command sends one frame to a node.
func (c *Controller) command(ctx context.Context, operand ssntp.Operand, node string, body any) error {
	destination, err := ssntp.ParseID(node)
	if err != nil {
		return err
	}
	data, err := payload.Encode(body)
	if err != nil {
		return err
	}
	if c.link == nil {
		return errors.New("this controller is not connected to the scheduler")
	}
	err = c.link.Send(ctx, ssntp.Frame{Operand: operand, Destination: destination, Payload: data})
	c.counters.sent(operand, err)
	return err
}

// JoinStream lets a node join a stream that was opened for it; accept makes its connection, once it is known that it may. It returns when
// the stream is over. A node that may not join is told that there is no such stream.
func (c *Controller) JoinStream(ctx context.Context, node, id, secret string, accept func() (stream.Conn, error)) error {
	o := c.streams.claim(node, id, secret)
	if o == nil {
		return noSuch("stream", id)
	}
	conn, err := accept()
	if err != nil {
		o.fail(fmt.Errorf("%w: the instance's node did not come through: %w", cluster.ErrUnavailable, err))
		return err
	}
	defer conn.Close()
	select {
	case o.joined <- conn:
	case <-o.over:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case <-o.over:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// receiveRefusal takes in the hub's word on a frame that it did not pass on.
func (c *Controller) receiveRefusal(f ssntp.Frame) {
	refusal, err := ssntp.ParseRefusal(f.Payload)
	if err == nil && refusal.Operand == ssntp.OpenStream {
		err = c.streams.refused(refusal)
	}
	if err != nil {
		c.logger.Debug("cannot read a refusal", slog.Any("source", f.Source), slog.Any("error", err))
	}
}
