package client

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/stream"
)

// Logs is how a log is to be read.
type Logs struct {
	Tail   int  // only the last so many lines; negative is all
	Follow bool // go on until the instance ends, or ctx does
}

// Logs writes what an instance printed to out. It has no deadline but that of ctx.
func (c *Client) Logs(ctx context.Context, ref string, logs Logs, out io.Writer) error {
	query := values("tail", strconv.Itoa(logs.Tail), "follow", strconv.FormatBool(logs.Follow))
	response, err := c.send(ctx, http.MethodGet, "instances/"+url.PathEscape(ref)+"/logs", query, nil)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	into := &sink{Writer: out}
	_, err = io.Copy(into, response.Body)
	switch {
	case into.err != nil:
		return into.err
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil && into.longest >= stream.Patience:
		return c.broken(stream.ErrUnread, "read the log again with `ciao logs`")
	case err != nil:
		return c.unusable(err)
	}
	return nil
}

// Execution is a command to be executed in an instance, with its ends.
type Execution struct {
	Command []string
	TTY     bool                        // on a terminal, whose output is all Output
	Size    cluster.TerminalSize        // of the terminal at the beginning
	Sizes   <-chan cluster.TerminalSize // later sizes; may be nil
	Input   io.Reader                   // nil is none; otherwise it may be read once more after Exec has returned
	Output  io.Writer
	Errors  io.Writer
}

// maxQuery keeps a request within what a controller reads of its head (64 KiB), in bytes: a command grows by its escapes.
const maxQuery = 60 << 10

// Exec executes a command in an active instance and returns its exit code when it has ended. It has no deadline but that of ctx; whether
// the command goes on when ctx ends is the affair of what carries the instance.
func (c *Client) Exec(ctx context.Context, ref string, e Execution) (exitCode int, err error) {
	query := url.Values{"command": e.Command, "input": {strconv.FormatBool(e.Input != nil)}, "tty": {strconv.FormatBool(e.TTY)},
		"width": {strconv.Itoa(e.Size.Width)}, "height": {strconv.Itoa(e.Size.Height)}}
	if len(query.Encode()) > maxQuery {
		return 0, failed(cluster.ErrTooLarge, "the command is too long: give what it needs as its input")
	}
	conn, err := c.dial(ctx, "instances/"+url.PathEscape(ref)+"/exec", query)
	if err != nil {
		return 0, err
	}
	exitCode, err = stream.Attend(ctx, conn, stream.Terminal{Input: e.Input, Output: e.Output, Errors: e.Errors, Sizes: e.Sizes})
	return exitCode, c.broken(err, "the command may still go on in the instance")
}

// dial asks for a stream.
func (c *Client) dial(ctx context.Context, path string, query url.Values) (stream.Conn, error) {
	request, err := c.request(ctx, http.MethodGet, path, query, nil)
	if err != nil {
		return nil, err
	}
	conn, answer, err := stream.Dial(ctx, c.stream, request.URL.String(), request.Header)
	switch {
	case answer != nil:
		return nil, c.refused(answer)
	case err != nil:
		return nil, c.unreachable(ctx, err)
	}
	return conn, nil
}

// Console is a place at the console of a virtual machine.
type Console struct {
	Takeover bool      // end who has the console, instead of being refused
	Joined   func()    // called once the node is there; nil is nothing
	Input    io.Reader // may be read once more after Console has returned; its end does not end the stream, another error of it does
	Output   io.Writer
}

// Console joins the serial console of an active virtual machine, and returns when that has ended. The error of reading the input is returned
// as it is. It has no deadline but that of ctx.
func (c *Client) Console(ctx context.Context, ref string, console Console) error {
	conn, err := c.dial(ctx, "instances/"+url.PathEscape(ref)+"/console", values("takeover", strconv.FormatBool(console.Takeover)))
	if err != nil {
		return err
	}
	if console.Joined != nil {
		console.Joined()
	}
	_, err = stream.Attend(ctx, conn, stream.Terminal{Input: console.Input, Output: console.Output, Errors: console.Output})
	return c.broken(err, "the machine runs on, and `ciao console` joins it again")
}

// broken says why a stream ended early, and what that means for what it was about.
func (c *Client) broken(err error, means string) error {
	switch {
	case errors.Is(err, stream.ErrUnread):
		return failed(cluster.ErrUnavailable, "nothing of the output was taken for %s, so the controller at %s ended the stream; %s", stream.Patience, c.base.Host, means)
	case errors.Is(err, stream.ErrLeft):
		return failed(cluster.ErrUnavailable, "the connection to the controller at %s broke; %s", c.base.Host, means)
	}
	return err
}

// sink tells an error of writing from one of reading, and knows how long the longest write took.
type sink struct {
	io.Writer
	err     error
	longest time.Duration
}

func (s *sink) Write(data []byte) (n int, err error) {
	began := time.Now()
	n, s.err = s.Writer.Write(data)
	s.longest = max(s.longest, time.Since(began))
	return n, s.err
}
