package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/creack/pty"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/driver"
)

// leaveWait is how long a command has to end when its caller has left.
const leaveWait = 2 * time.Second

// Logs implements driver.Logger.
func (d *Driver) Logs(ctx context.Context, id string, lines int, follow bool, w io.Writer) error {
	c := d.carrier(id)
	if _, err := c.describe(); missing(err) {
		return fmt.Errorf("%w: there is no process of instance %s on this node", cluster.ErrNotFound, id)
	}
	return classed(c.shim().Logs(ctx, lines, follow, w))
}

// Exec implements driver.Executor: as the process's user, in its namespaces and control group, with its environment. With the end of ctx the
// command is asked to end, and killed.
func (d *Driver) Exec(ctx context.Context, id string, e driver.Execution) (int, error) {
	c := d.carrier(id)
	if _, err := c.describe(); missing(err) {
		return 0, fmt.Errorf("%w: there is no process of instance %s on this node", cluster.ErrNotFound, id)
	}
	status, err := d.status(c)
	if err != nil {
		return 0, classed(err)
	}
	if status.Condition != driver.Running || !c.has("up") {
		return 0, fmt.Errorf("%w: instance %s does not run; start it first", cluster.ErrConflict, id)
	}
	log, err := os.CreateTemp(c.directory, "exec-*.log")
	if err != nil {
		return 0, classed(fmt.Errorf("execute a command in instance %s: %w", id, err))
	}
	defer os.Remove(log.Name())
	defer log.Close()
	arguments := append(d.options(c, log.Name()), "exec")
	if e.TTY {
		arguments = append(arguments, "--tty", "--env", "TERM=xterm")
	}
	arguments = append(append(arguments, id), e.Command...)
	command := exec.CommandContext(ctx, arguments[0], arguments[1:]...)
	command.Cancel = func() error { return command.Process.Signal(syscall.SIGTERM) } // the runtime passes it on
	command.WaitDelay = leaveWait
	if e.TTY {
		err = attend(ctx, command, e)
	} else {
		command.Stdin, command.Stdout, command.Stderr = e.Stdin, e.Stdout, e.Stderr
		err = run(command)
	}
	return code(command, err, complaint(log.Name()))
}

// run does not wait for an input that nobody ends: the command's end is enough.
func run(command *exec.Cmd) error {
	input := command.Stdin
	if input == nil {
		return command.Run()
	}
	command.Stdin = nil
	pipe, err := command.StdinPipe()
	if err != nil {
		return err
	}
	if err := command.Start(); err != nil {
		return err
	}
	go func() { // it ends with the input, or with the command
		_, _ = io.Copy(pipe, input)
		_ = pipe.Close()
	}()
	return command.Wait()
}

// attend has the runtime on a terminal, whose size the runtime passes on to the command's own.
func attend(ctx context.Context, command *exec.Cmd, e driver.Execution) error {
	terminal, err := pty.StartWithSize(command, size(e.Size))
	if err != nil {
		return err
	}
	defer terminal.Close()
	sizes, cancel := context.WithCancel(ctx)
	defer cancel()
	go resize(sizes, terminal, e.Resize)
	if e.Stdin != nil {
		go func() { _, _ = io.Copy(terminal, e.Stdin) }() // it ends with the input, or with the terminal
	}
	printed := make(chan struct{})
	go func() {
		_, _ = io.Copy(e.Stdout, terminal) // ends with EIO when the last who has the terminal is gone
		close(printed)
	}()
	err = command.Wait()
	select {
	case <-printed:
	case <-ctx.Done():
	}
	return err
}

func resize(ctx context.Context, terminal *os.File, sizes <-chan cluster.TerminalSize) {
	for {
		select {
		case next := <-sizes:
			_ = pty.Setsize(terminal, size(next))
		case <-ctx.Done():
			return
		}
	}
}

func size(s cluster.TerminalSize) *pty.Winsize {
	if s == (cluster.TerminalSize{}) {
		return nil
	}
	return &pty.Winsize{Rows: uint16(s.Height), Cols: uint16(s.Width)}
}

// code is the exit code of a command that was executed. Where the runtime complains it could not begin, as the runtime told the command's
// output; its code is then as a shell's.
func code(command *exec.Cmd, err error, complaint string) (int, error) {
	var ended *exec.ExitError
	if err != nil && !errors.As(err, &ended) {
		return 0, classed(fmt.Errorf("execute a command: %w", err))
	}
	switch {
	case complaint == "":
		return command.ProcessState.ExitCode(), nil
	case strings.Contains(complaint, "not found"), strings.Contains(complaint, "no such file"):
		return 127, nil
	}
	return 126, nil
}
