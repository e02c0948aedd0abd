package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/ciaocloud/ciao/cluster/api"
	"github.com/ciaocloud/ciao/cluster/client"
	"github.com/ciaocloud/ciao/terminal"
)

const defaultRestart = 2 * time.Minute

func (s *session) delete() *cobra.Command {
	group := terminal.Group("delete", "Delete instances, workloads, tenants and events",
		s.deleteInstance(),
		s.deleteOne("workload", "Delete a workload that no instance uses", false, (*client.Client).DeleteWorkload, workloadNames),
		s.deleteOne("tenant", "Delete a tenant that has no instances (operator)", true, (*client.Client).DeleteTenant, nil),
		&cobra.Command{
			Use: "events", Short: "Forget all events (operator)", Args: terminal.Arguments(),
			RunE: s.operator(func(ctx context.Context, c *client.Client, _ []string, streams terminal.Streams) error {
				n, err := c.ClearEvents(ctx)
				if err == nil {
					fmt.Fprintf(streams.Err, "%s forgotten\n", plural(n, "event"))
				}
				return err
			}),
		})
	group.Aliases = []string{"rm"}
	return group
}

// deleteOne deletes what needs no waiting.
func (s *session) deleteOne(noun, short string, operator bool, do func(*client.Client, context.Context, string) error, names namesOf) *cobra.Command {
	command := &cobra.Command{
		Use: noun + " NAME", Short: short, Args: terminal.Arguments("NAME"),
		RunE: s.as(operator, func(ctx context.Context, c *client.Client, args []string, _ terminal.Streams) error {
			return do(c, ctx, args[0])
		}),
	}
	if names != nil {
		command.ValidArgsFunction = s.complete(names)
	}
	return command
}

func (s *session) deleteInstance() *cobra.Command {
	var all bool
	var wait waitFlags
	command := &cobra.Command{
		Use: "instance NAME… | --all", Aliases: []string{"instances"}, Short: "Delete instances with all they own",
		Args: terminal.Between(0, -1), ValidArgsFunction: s.complete(instanceNames),
		RunE: s.user(func(ctx context.Context, c *client.Client, args []string, streams terminal.Streams) error {
			if all == (len(args) > 0) {
				return terminal.Usage("name the instances to delete, or use --all")
			}
			deleting, err := s.deleteInstances(ctx, c, args, all)
			if err != nil {
				return err
			}
			_, err = wait.until(ctx, c, streams, "gone", deleting, client.Deleted)
			if err == nil {
				fmt.Fprintf(streams.Err, "%s deleted\n", plural(len(deleting), "instance"))
			}
			return err
		}),
	}
	command.Flags().BoolVar(&all, "all", false, "all instances of the tenant")
	wait.add(command.Flags())
	return command
}

func (s *session) deleteInstances(ctx context.Context, c *client.Client, names []string, all bool) ([]api.Instance, error) {
	if !all {
		return eachInstance(ctx, c, names, (*client.Client).DeleteInstance)
	}
	present, err := c.Instances(ctx, client.InstanceFilter{})
	if err != nil {
		return nil, err
	}
	_, err = c.DeleteInstances(ctx, client.InstanceFilter{})
	return present, err
}
