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

// probing is a command, a line for a shell, and whether it is to work.
type probing struct {
	line  string
	works bool
}

func works(format string, arguments ...any) probing {
	return probing{fmt.Sprintf(format, arguments...), true}
}

func fails(format string, arguments ...any) probing {
	return probing{fmt.Sprintf(format, arguments...), false}
}

// judge runs all checks at the same time, by one command of the engine, which takes far longer for one than any of them does.
func (p prober) judge(ctx context.Context, instance api.Instance, checks ...probing) error {
	output, err := p.output(ctx, instance, script(checks))
	if err != nil {
		return err
	}
	return verdict(instance.Name, checks, output)
}

// record begins what a check has to say: its number, its exit status, its output.
const record = "\x1e"

// script is a line for a shell that runs the checks at the same time.
func script(checks []probing) string {
	var text strings.Builder
	for i, check := range checks {
		fmt.Fprintf(&text, "( said=$(%s 2>&1); printf '\\036%d %%s %%s' $? \"$said\" ) &\n", check.line, i)
	}
	return text.String() + "wait"
}

// verdict reads what the script printed.
func verdict(instance string, checks []probing, output string) error {
	problems := make([]error, len(checks))
	for i, check := range checks {
		problems[i] = fmt.Errorf("`%s` in %s said nothing of how it ended: %s", check.line, instance, strings.TrimSpace(output))
	}
	for said := range strings.SplitSeq(output, record) {
		var number, status int
		if n, _ := fmt.Sscanf(said, "%d %d", &number, &status); n != 2 || number < 0 || number >= len(checks) {
			continue // before the first record
		}
		_, words, _ := strings.Cut(said, " ")
		switch check := checks[number]; {
		case status >= 126: // the shell could not run it
			problems[number] = fmt.Errorf("`%s` could not be run in %s: status %s", check.line, instance, words)
		case check.works && status != 0:
			problems[number] = fmt.Errorf("`%s` in %s ended with status %s", check.line, instance, words)
		case !check.works && status == 0:
			problems[number] = fmt.Errorf("`%s` in %s should not have worked: status %s", check.line, instance, words)
		default:
			problems[number] = nil
		}
	}
	return errors.Join(problems...)
}

// output has a shell run a line in the instance and returns what was printed. A status other than 0 is an error.
func (p prober) output(ctx context.Context, instance api.Instance, line string) (string, error) {
	return p.outputWithin(ctx, probeTimeout, instance, line)
}

// outputWithin is output with a time limit of the caller's.
func (p prober) outputWithin(ctx context.Context, limit time.Duration, instance api.Instance, line string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	made, err := p.engine.ContainerExecCreate(ctx, container.Name(instance.Node, instance.ID), engine.ExecOptions{Cmd: []string{"sh", "-c", line}, AttachStdout: true, AttachStderr: true})
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
		return "", fmt.Errorf("`%s` in %s: %w", line, instance.Name, errors.Join(err, context.Cause(ctx)))
	}
	ended, err := p.engine.ContainerExecInspect(ctx, made.ID)
	if err != nil {
		return "", fmt.Errorf("run a command in %s: %w", instance.Name, err)
	}
	if ended.ExitCode != 0 {
		return printed.String(), fmt.Errorf("`%s` in %s ended with status %d: %s", line, instance.Name, ended.ExitCode, strings.TrimSpace(printed.String()))
	}
	return printed.String(), nil
}

// exists says whether the engine has the instance's container.
func (p prober) exists(ctx context.Context, instance api.Instance) (bool, error) {
	_, err := p.engine.ContainerInspect(ctx, container.Name(instance.Node, instance.ID))
	if errdefs.IsNotFound(err) {
		return false, nil
	}
	return err == nil, err
}
