package container

import (
	"context"
	"fmt"
	"io"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/pkg/stdcopy"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/driver"
)

// Exec executes a command in the container. One that its caller left gets the end of its input, and is ended where its process can be seen.
func (d *Driver) Exec(ctx context.Context, id string, e driver.Execution) (int, error) {
	if err := d.ready(ctx); err != nil {
		return 0, err
	}
	doing := "execute a command in instance " + id
	options := container.ExecOptions{Cmd: e.Command, Tty: e.TTY, AttachStdin: e.Stdin != nil, AttachStdout: true, AttachStderr: !e.TTY, ConsoleSize: consoleSize(e.Size)}
	made, err := d.engine.ContainerExecCreate(ctx, d.name(id), options)
	switch {
	case cerrdefs.IsNotFound(err):
		return 0, fmt.Errorf("%s: it has no container here: %w", doing, cluster.ErrNotFound)
	case cerrdefs.IsConflict(err):
		return 0, fmt.Errorf("%s: it does not run; start it first: %w", doing, cluster.ErrConflict)
	case err != nil:
		return 0, classify(doing, err)
	}
	attached, err := d.engine.ContainerExecAttach(ctx, made.ID, container.ExecAttachOptions{Tty: e.TTY, ConsoleSize: consoleSize(e.Size)})
	if err != nil {
		return 0, classify(doing, err)
	}
	defer attached.Close()
	if err := d.attend(ctx, made.ID, e, &attached); err != nil {
		if ctx.Err() != nil {
			d.endLeft(context.WithoutCancel(ctx), made.ID, e.TTY)
		}
		return 0, classify(doing, err)
	}
	return d.executed(ctx, made.ID, doing)
}

// attend carries input, output and sizes until the command has ended or ctx does.
func (d *Driver) attend(ctx context.Context, execution string, e driver.Execution, attached *types.HijackedResponse) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, attached.Close)
	defer stop()
	if e.Stdin != nil {
		go func() { // it ends with the input, or with the connection
			_, _ = io.Copy(attached.Conn, e.Stdin)
			_ = attached.CloseWrite()
		}()
	}
	if e.TTY {
		go d.resize(ctx, execution, e)
		_, err := io.Copy(e.Stdout, attached.Reader)
		return ended(ctx, err)
	}
	_, err := stdcopy.StdCopy(e.Stdout, e.Stderr, attached.Reader)
	return ended(ctx, err)
}

// ended prefers the caller's own reason to what it did to the connection.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// resize passes sizes of the terminal on until ctx ends. The first is sent again: engines before 23 ignore that of the creation.
func (d *Driver) resize(ctx context.Context, execution string, e driver.Execution) {
	for size := e.Size; ; {
		if size != (cluster.TerminalSize{}) {
			err := d.engine.ContainerExecResize(ctx, execution, container.ResizeOptions{Width: uint(size.Width), Height: uint(size.Height)})
			if err != nil {
				d.log.Debug("terminal not resized", "error", err)
			}
		}
		select {
		case size = <-e.Resize:
		case <-ctx.Done():
			return
		}
	}
}

func (d *Driver) executed(ctx context.Context, execution, doing string) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, quickCall)
	defer cancel()
	result, err := d.engine.ContainerExecInspect(ctx, execution)
	if err != nil {
		return 0, classify(doing, err)
	}
	return result.ExitCode, nil
}

// consoleSize is a size as the engine wants it.
func consoleSize(size cluster.TerminalSize) *[2]uint {
	if size == (cluster.TerminalSize{}) {
		return nil
	}
	return &[2]uint{uint(size.Height), uint(size.Width)}
}
