package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/api"
	"github.com/ciaocloud/ciao/cluster/client"
	"github.com/ciaocloud/ciao/terminal"
)

func (s *session) start() *cobra.Command {
	return terminal.Group("start", "Start stopped instances",
		s.change("Start stopped, exited or failed instances on their node", "active", client.Active, (*client.Client).StartInstance))
}

func (s *session) stop() *cobra.Command {
	return terminal.Group("stop", "Stop instances",
		s.change("Stop instances; names, addresses and disks are kept", "stopped", client.Inactive, (*client.Client).StopInstance))
}

func (s *session) restart() *cobra.Command {
	return terminal.Group("restart", "Stop instances and start them again", s.restartInstance())
}

// each makes a command on any number of instances.
func (s *session) each(short string, do action) *cobra.Command {
	return s.printing(&cobra.Command{
		Use: "instance INSTANCE…", Aliases: []string{"instances"}, Short: short, Args: terminal.Between(1, -1, "INSTANCE"),
		ValidArgsFunction: s.completeAll(instances), RunE: s.user(do),
	})
}

// change is a command that wants another state of instances.
func (s *session) change(short, goal string, reached client.Reached, do changeOne) *cobra.Command {
	var wait waitFlags
	command := s.each(short, func(ctx context.Context, c *client.Client, args []string, streams terminal.Streams) error {
		changed, problem := eachInstance(ctx, c, args, do)
		changed, err := wait.until(ctx, c, streams, goal, changed, reached)
		if err != nil {
			return also(problem, err)
		}
		return s.changed(streams, changed, problem)
	})
	wait.add(command.Flags())
	return command
}

func (s *session) restartInstance() *cobra.Command {
	wait := waitFlags{wait: true}
	command := s.each("Stop instances, wait, and start them again", func(ctx context.Context, c *client.Client, args []string, streams terminal.Streams) error {
		stopping, problem := eachInstance(ctx, c, args, (*client.Client).StopInstance)
		stopped, err := wait.until(ctx, c, streams, "stopped", stopping, client.Inactive)
		if err != nil {
			return also(problem, err)
		}
		starting, err := eachInstance(ctx, c, namesOf(stopped, func(i api.Instance) string { return i.ID }), (*client.Client).StartInstance)
		problem = also(problem, err)
		started, err := wait.until(ctx, c, streams, "active", starting, client.Active)
		if err != nil {
			return also(problem, err)
		}
		return s.changed(streams, started, problem)
	})
	command.Flags().DurationVar(&wait.timeout, "timeout", 2*time.Minute, "longest wait for each of the two steps")
	return command
}

type changeOne func(*client.Client, context.Context, string) (api.Instance, error)

// eachInstance changes every named instance that it can, and returns these beside the errors of the others.
func eachInstance(ctx context.Context, c *client.Client, names []string, do changeOne) ([]api.Instance, error) {
	var changed []api.Instance
	var problem error
	for _, name := range names {
		instance, err := do(c, ctx, name)
		if err == nil {
			changed = append(changed, instance)
			continue
		}
		problem = also(problem, instances.hint(ctx, c, name, err))
		if !errors.Is(err, cluster.ErrNotFound) && !errors.Is(err, cluster.ErrConflict) {
			break // the others would fail in the same way
		}
	}
	return changed, problem
}

// also joins two errors, either of which may be nil, in one sentence.
func also(first, second error) error {
	if first == nil || second == nil {
		return cmp.Or(first, second)
	}
	return fmt.Errorf("%w; %w", first, second)
}

// changed writes the instances that were changed, if any, and returns the problem of the others.
func (s *session) changed(streams terminal.Streams, changed []api.Instance, problem error) error {
	if len(changed) == 0 && problem != nil {
		return problem
	}
	if err := terminal.List(streams.Out, s.output, changed, instanceList); err != nil {
		return err
	}
	return problem
}
