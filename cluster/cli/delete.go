package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/ciaocloud/ciao/cluster/api"
	"github.com/ciaocloud/ciao/cluster/client"
	"github.com/ciaocloud/ciao/terminal"
)

func (s *session) delete() *cobra.Command {
	group := terminal.Group("delete", "Delete instances, workloads, images, volumes, external IPs, tenants, nodes, …",
		s.deleteInstance(),
		s.deleteOne(workloads, "Delete a workload that no instance uses", (*client.Client).DeleteWorkload),
		s.deleteOne(images, "Delete an image that nothing uses", (*client.Client).DeleteImage),
		s.deleteOne(volumes, "Delete a volume that no instance has", (*client.Client).DeleteVolume),
		s.deleteOne(sshKeys, "Forget an SSH key; instances that were created with it keep it", (*client.Client).DeleteSSHKey),
		s.deleteOne(externalIPs, "Give an external IP that is attached to nothing back to its pool", (*client.Client).DeleteExternalIP),
		s.deleteOne(pools.asOperator(), "Delete a pool that no tenant has an address of (operator)", (*client.Client).DeletePool),
		s.deleteOne(tenants, "Delete a tenant that has neither instances nor volumes nor external IPs (operator)", (*client.Client).DeleteTenant),
		s.deleteOne(nodes, "Forget a node that is not connected and has nothing (operator)", (*client.Client).DeleteNode),
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
func (s *session) deleteOne(n noun, short string, do func(*client.Client, context.Context, string) error) *cobra.Command {
	return &cobra.Command{
		Use: n.singular() + " " + n.argument, Aliases: []string{n.plural}, Short: short, Args: terminal.Arguments(n.argument),
		ValidArgsFunction: s.complete(n),
		RunE: s.as(n.operator, func(ctx context.Context, c *client.Client, args []string, _ terminal.Streams) error {
			return n.hint(ctx, c, args[0], do(c, ctx, args[0]))
		}),
	}
}

func (s *session) deleteInstance() *cobra.Command {
	var all bool
	var wait waitFlags
	command := &cobra.Command{
		Use: "instance INSTANCE… | --all", Aliases: []string{"instances"}, Short: "Delete instances with all they own",
		Args: terminal.Between(0, -1), ValidArgsFunction: s.completeAll(instances),
		RunE: s.user(func(ctx context.Context, c *client.Client, args []string, streams terminal.Streams) error {
			if all == (len(args) > 0) {
				return terminal.Usage("name the instances to delete, or use --all")
			}
			deleting, problem := deleteInstances(ctx, c, args, all)
			if _, err := wait.until(ctx, c, streams, "gone", deleting, client.Deleted); err != nil {
				return also(problem, err)
			}
			if problem == nil {
				fmt.Fprintf(streams.Err, "%s %s\n", plural(len(deleting), "instance"), wait.word("deleted", "deleting"))
			}
			return problem
		}),
	}
	command.Flags().BoolVar(&all, "all", false, "all instances of the tenant")
	wait.add(command.Flags())
	return command
}

func deleteInstances(ctx context.Context, c *client.Client, names []string, all bool) ([]api.Instance, error) {
	if !all {
		return eachInstance(ctx, c, names, (*client.Client).DeleteInstance)
	}
	present, err := c.Instances(ctx, client.InstanceFilter{})
	if err != nil {
		return nil, err
	}
	if _, err = c.DeleteInstances(ctx, client.InstanceFilter{}); err != nil {
		return nil, err
	}
	return present, nil
}
