package guest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"golang.org/x/crypto/ssh"
)

// Window is the size of a terminal in characters.
type Window struct{ Columns, Rows int }

// Terminal asks for a pseudo-terminal.
type Terminal struct {
	Type   string // such as "xterm-256color"; "" means "xterm"
	Window Window
	Resize <-chan Window // optional
}

// Command is a program to run in the guest.
type Command struct {
	// Argv is the program and its arguments. They reach the program exactly as they are, whatever characters they have. No Argv
	// runs the user's login shell.
	Argv []string

	// Script is run by the login shell instead of Argv.
	Script string

	Dir string            // working directory, default the user's home
	Env map[string]string // added to the environment

	Stdin          io.Reader // nil is empty
	Stdout, Stderr io.Writer // nil discards

	Terminal *Terminal // with a terminal, the guest merges both outputs into Stdout
}

// ExitError says that the program ran and ended with another status than 0.
type ExitError struct {
	Code   int    // for a signal, 128 plus its number where that is known, as shells do
	Signal string // such as "KILL", or ""
}

func (e *ExitError) Error() string {
	if e.Signal != "" {
		return "the command was ended by SIG" + e.Signal
	}
	return fmt.Sprintf("the command ended with status %d", e.Code)
}

// Run runs a command to its end. The error is nil for status 0, an [*ExitError] for any other, and something else when the command did
// not run or its end was not seen. When ctx ends, the command gets SIGTERM and its connection is closed.
//
// Run returns when the command has ended, even if Stdin then still waits for input.
func (c *Client) Run(ctx context.Context, cmd Command) error {
	session, err := c.session(ctx)
	if err != nil {
		return err
	}
	defer session.Close()
	session.Stdout, session.Stderr = outputs(cmd.Stdout, cmd.Stderr)
	if err := c.input(session, cmd.Stdin); err != nil {
		return err
	}
	if err := terminal(session, cmd.Terminal); err != nil {
		return c.lost(err)
	}
	if line := cmd.line(); line == "" {
		err = session.Shell()
	} else {
		err = session.Start(line)
	}
	if err != nil {
		return c.lost(fmt.Errorf("starting a command in the guest: %w", err))
	}
	ended := make(chan error, 1)
	go func() { ended <- session.Wait() }()
	return c.await(ctx, session, cmd.Terminal, ended)
}

// outputs makes it safe to give one writer for both: they are written from two goroutines.
func outputs(stdout, stderr io.Writer) (io.Writer, io.Writer) {
	if stdout == nil || stdout != stderr {
		return stdout, stderr
	}
	shared := &oneByOne{w: stdout}
	return shared, shared
}

// oneByOne lets one goroutine write at a time.
type oneByOne struct {
	mu sync.Mutex
	w  io.Writer
}

func (o *oneByOne) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.w.Write(b)
}

// input copies stdin by hand: ssh.Session would wait for it after the program's end.
func (c *Client) input(session *ssh.Session, stdin io.Reader) error {
	if stdin == nil {
		return nil
	}
	pipe, err := session.StdinPipe()
	if err != nil {
		return c.lost(err)
	}
	go func() {
		io.Copy(pipe, stdin)
		pipe.Close()
	}()
	return nil
}

func (c *Client) await(ctx context.Context, session *ssh.Session, t *Terminal, ended <-chan error) error {
	var resize <-chan Window
	if t != nil {
		resize = t.Resize
	}
	for {
		select {
		case err := <-ended:
			return c.outcome(err)
		case w, open := <-resize:
			if !open {
				resize = nil
				continue
			}
			session.WindowChange(w.Rows, w.Columns)
		case <-ctx.Done():
			session.Signal(ssh.SIGTERM)
			session.Close()
			return context.Cause(ctx)
		}
	}
}

func (c *Client) outcome(err error) error {
	var exit *ssh.ExitError
	if errors.As(err, &exit) {
		return &ExitError{Code: exit.ExitStatus(), Signal: exit.Signal()}
	}
	var missing *ssh.ExitMissingError
	if errors.As(err, &missing) {
		return c.lost(fmt.Errorf("%w: the command's end was not seen", ErrLost))
	}
	return c.lost(err)
}

// session opens a session; on a dead connection that would wait for ever.
func (c *Client) session(ctx context.Context) (*ssh.Session, error) {
	type result struct {
		session *ssh.Session
		err     error
	}
	opened := make(chan result, 1)
	go func() {
		s, err := c.ssh.NewSession()
		opened <- result{s, err}
	}()
	select {
	case r := <-opened:
		if r.err != nil {
			return nil, c.lost(fmt.Errorf("%w: %w", ErrLost, r.err))
		}
		return r.session, nil
	case <-ctx.Done():
		go func() { // whoever comes too late is sent away
			if r := <-opened; r.err == nil {
				r.session.Close()
			}
		}()
		return nil, context.Cause(ctx)
	}
}

func terminal(session *ssh.Session, t *Terminal) error {
	if t == nil {
		return nil
	}
	kind := t.Type
	if kind == "" {
		kind = "xterm"
	}
	return session.RequestPty(kind, t.Window.Rows, t.Window.Columns, ssh.TerminalModes{})
}

// line is the shell line that runs the command; "" means the login shell itself.
func (cmd Command) line() string {
	body := cmd.Script
	if len(cmd.Argv) > 0 {
		body = Quote(cmd.Argv...)
		if len(cmd.Env) > 0 {
			body = "exec env " + environment(cmd.Env) + body
		} else {
			body = "exec " + body
		}
	} else if body != "" && len(cmd.Env) > 0 {
		body = "export " + environment(cmd.Env) + "; " + body
	}
	if cmd.Dir == "" {
		return body
	}
	if body == "" {
		body = `exec "$SHELL" -l`
	}
	return "cd -- " + Quote(cmd.Dir) + " && { " + body + "\n}"
}

// Quote makes one shell line of words, which the shell splits into exactly these words again.
func Quote(words ...string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = quote(w)
	}
	return strings.Join(quoted, " ")
}

func quote(w string) string {
	const safe = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:,+@%"
	if w != "" && strings.Trim(w, safe) == "" {
		return w
	}
	return "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
}
