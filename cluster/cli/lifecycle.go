package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/ciaocloud/ciao/cluster/api"
	"github.com/ciaocloud/ciao/cluster/client"
	"github.com/ciaocloud/ciao/terminal"
)

func (s *session) start() *cobra.Command {
	return terminal.Group("start", "Start stopped instances",
		s.change("instance", "Start stopped, exited or failed instances on their node", "active", client.Active, (*client.Client).StartInstance))
}

func (s *session) stop() *cobra.Command {
	return terminal.Group("stop", "Stop instances",
		s.change("instance", "Stop instances; names, addresses and disks are kept", "stopped", client.Inactive, (*client.Client).StopInstance))
}

func (s *session) restart() *cobra.Command {
	return terminal.Group("restart", "Stop instances and start them again", s.restartInstance())
}

type changeOne func(*client.Client, context.Context, string) (api.Instance, error)

// change is a command that wants another state of instances.
func (s *session) change(noun, short, goal string, reached client.Reached, do changeOne) *cobra.Command {
	var wait waitFlags
	command := &cobra.Command{
		Use: noun + " NAME…", Aliases: []string{noun + "s"}, Short: short, Args: terminal.Between(1, -1, "NAME"), ValidArgsFunction: s.complete(instanceNames),
		RunE: s.user(func(ctx context.Context, c *client.Client, args []string, streams terminal.Streams) error {
			changed, err := eachInstance(ctx, c, args, do)
			if err != nil {
				return err
			}
			if changed, err = wait.until(ctx, c, streams, goal, changed, reached); err != nil {
				return err
			}
			return terminal.List(streams.Out, s.output, changed, instanceList)
		}),
	}
	wait.add(command.Flags())
	return s.printing(command)
}

func eachInstance(ctx context.Context, c *client.Client, names []string, do changeOne) ([]api.Instance, error) {
	changed := make([]api.Instance, 0, len(names))
	for _, name := range names {
		instance, err := do(c, ctx, name)
		if err != nil {
			return nil, err
		}
		changed = append(changed, instance)
	}
	return changed, nil
}

func (s *session) restartInstance() *cobra.Command {
	wait := waitFlags{wait: true}
	command := &cobra.Command{
		Use: "instance NAME…", Aliases: []string{"instances"}, Short: "Stop instances, wait, and start them again",
		Args: terminal.Between(1, -1, "NAME"), ValidArgsFunction: s.complete(instanceNames),
		RunE: s.user(func(ctx context.Context, c *client.Client, args []string, streams terminal.Streams) error {
			stopping, err := eachInstance(ctx, c, args, (*client.Client).StopInstance)
			if err != nil {
				return err
			}
			if _, err = wait.until(ctx, c, streams, "stopped", stopping, client.Inactive); err != nil {
				return err
			}
			started, err := eachInstance(ctx, c, args, (*client.Client).StartInstance)
			if err != nil {
				return err
			}
			if started, err = wait.until(ctx, c, streams, "active", started, client.Active); err != nil {
				return err
			}
			return terminal.List(streams.Out, s.output, started, instanceList)
		}),
	}
	command.Flags().DurationVar(&wait.timeout, "timeout", defaultRestart, "longest wait for each of the two steps")
	return s.printing(command)
}
