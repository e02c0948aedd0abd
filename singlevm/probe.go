package singlevm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	engine "github.com/docker/docker/api/types/container"
	"github.com/docker/docker/client"
	"github.com/docker/docker/pkg/stdcopy"

	"github.com/ciaocloud/ciao/cluster/api"
	"github.com/ciaocloud/ciao/cluster/driver/container"
)

// probeTimeout bounds one command in a container.
const probeTimeout = 30 * time.Second

// prober runs commands in instances' containers, by the engine.
type prober struct{ engine *client.Client }

// failure is a command that ended with another status than 0.
type failure struct {
	command []string
	code    int
	output  string
}

func (f failure) Error() string {
	return fmt.Sprintf("`%s` ended with status %d: %s", strings.Join(f.command, " "), f.code, strings.TrimSpace(f.output))
}

// output runs a command and returns what it printed; the error is a failure if it ended badly.
func (p prober) output(ctx context.Context, instance api.Instance, command ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	made, err := p.engine.ContainerExecCreate(ctx, container.Name(instance.ID), engine.ExecOptions{Cmd: command, AttachStdout: true, AttachStderr: true})
	if err != nil {
		return "", fmt.Errorf("run a command in %s: %w", instance.Name, err)
	}
	stream, err := p.engine.ContainerExecAttach(ctx, made.ID, engine.ExecAttachOptions{})
	if err != nil {
		return "", fmt.Errorf("run a command in %s: %w", instance.Name, err)
	}
	defer stream.Close()
	defer context.AfterFunc(ctx, stream.Close)()
	var printed bytes.Buffer
	if _, err := stdcopy.StdCopy(&printed, &printed, stream.Reader); err != nil {
		return "", fmt.Errorf("`%s` in %s: %w", strings.Join(command, " "), instance.Name, errors.Join(err, context.Cause(ctx)))
	}
	ended, err := p.engine.ContainerExecInspect(ctx, made.ID)
	if err != nil {
		return "", fmt.Errorf("run a command in %s: %w", instance.Name, err)
	}
	if ended.ExitCode != 0 {
		return printed.String(), failure{command, ended.ExitCode, printed.String()}
	}
	return printed.String(), nil
}

// succeeds wants a command to end well.
func (p prober) succeeds(ctx context.Context, instance api.Instance, command ...string) error {
	_, err := p.output(ctx, instance, command...)
	return err
}

// fails wants a command to end badly; one that could not be run is an error.
func (p prober) fails(ctx context.Context, instance api.Instance, command ...string) error {
	output, err := p.output(ctx, instance, command...)
	var failed failure
	switch {
	case errors.As(err, &failed) && failed.code < 126: // 126 and 127: the command could not be run
		return nil
	case err != nil:
		return err
	}
	return fmt.Errorf("`%s` in %s should not have worked: %s", strings.Join(command, " "), instance.Name, output)
}

// exists says whether the engine has the instance's container.
func (p prober) exists(ctx context.Context, instance string) (bool, error) {
	_, err := p.engine.ContainerInspect(ctx, container.Name(instance))
	if errdefs.IsNotFound(err) {
		return false, nil
	}
	return err == nil, err
}
