package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/ciaocloud/ciao/cluster/api"
	"github.com/ciaocloud/ciao/cluster/client"
	"github.com/ciaocloud/ciao/terminal"
)

func (s *session) list() *cobra.Command {
	group := terminal.Group("list", "List instances, workloads, nodes, …",
		s.listInstances(),
		listOf(s, "workloads", "the tenant's and the public workloads", false, workloadList, func(ctx context.Context, c *client.Client) ([]api.Workload, error) { return c.Workloads(ctx) }),
		s.listNodes(),
		listOf(s, "tenants", "the tenants that you may act for", true, tenantColumns, func(ctx context.Context, c *client.Client) ([]api.Tenant, error) { return c.Tenants(ctx) }),
		listOf(s, "cncis", "the CNCIs of the tenant's subnets", false, cnciColumns, func(ctx context.Context, c *client.Client) ([]api.CNCI, error) { return c.CNCIs(ctx) }),
		s.listQuotas(), s.listEvents())
	group.Aliases = []string{"ls"}
	return group
}

// listOf is a listing without flags of its own.
func listOf[T any](s *session, noun, what string, operator bool, columns []column[T], fetch func(context.Context, *client.Client) ([]T, error)) *cobra.Command {
	return s.printing(&cobra.Command{
		Use: noun, Aliases: []string{noun[:len(noun)-1]}, Short: "List " + what, Args: terminal.Arguments(),
		RunE: s.as(operator, func(ctx context.Context, c *client.Client, _ []string, streams terminal.Streams) error {
			items, err := fetch(ctx, c)
			if err != nil {
				return err
			}
			return terminal.List(streams.Out, s.output, items, columns)
		}),
	})
}

func (s *session) listInstances() *cobra.Command {
	var filter client.InstanceFilter
	command := &cobra.Command{
		Use: "instances [WORKLOAD]", Aliases: []string{"instance"}, Short: "List instances", Args: terminal.Between(0, 1, "WORKLOAD"),
		ValidArgsFunction: s.complete(workloadNames),
		RunE: s.user(func(ctx context.Context, c *client.Client, args []string, streams terminal.Streams) error {
			if len(args) == 1 {
				filter.Workload = args[0]
			}
			items, err := c.Instances(ctx, filter)
			if err != nil {
				return err
			}
			return terminal.List(streams.Out, s.output, items, instanceList)
		}),
	}
	command.Flags().StringVar(&filter.State, "state", "", "only those in this state")
	command.Flags().StringVar(&filter.Node, "node", "", "only those on the node with this id")
	command.Flags().StringArrayVar(&filter.Labels, "label", nil, "only those with this KEY=VALUE; may be given several times")
	return s.printing(command)
}

func (s *session) listNodes() *cobra.Command {
	var compute, network bool
	command := &cobra.Command{
		Use: "nodes", Aliases: []string{"node"}, Short: "List the nodes (operator)", Args: terminal.Arguments(),
		RunE: s.operator(func(ctx context.Context, c *client.Client, _ []string, streams terminal.Streams) error {
			role := ""
			switch {
			case compute && network:
				return terminal.Usage("use --compute-nodes or --network-nodes, not both")
			case compute:
				role = "compute"
			case network:
				role = "network"
			}
			items, err := c.Nodes(ctx, role)
			if err != nil {
				return err
			}
			return terminal.List(streams.Out, s.output, items, nodeColumns)
		}),
	}
	command.Flags().BoolVar(&compute, "compute-nodes", false, "only those that run instances")
	command.Flags().BoolVar(&network, "network-nodes", false, "only those that run CNCIs")
	return s.printing(command)
}

func (s *session) listQuotas() *cobra.Command {
	return s.printing(&cobra.Command{
		Use: "quotas [TENANT]", Aliases: []string{"quota"}, Short: "List what a tenant may hold, and holds", Args: terminal.Between(0, 1, "TENANT"),
		RunE: s.user(func(ctx context.Context, c *client.Client, args []string, streams terminal.Streams) error {
			tenant, err := s.quotaTenant(ctx, c, args)
			if err != nil {
				return err
			}
			quota, err := c.Quota(ctx, tenant)
			if err != nil {
				return err
			}
			return terminal.List(streams.Out, s.output, quota.Items, quotaColumns)
		}),
	})
}

// quotaTenant is the tenant that was named, or the only one there is.
func (s *session) quotaTenant(ctx context.Context, c *client.Client, args []string) (string, error) {
	if len(args) == 1 {
		return args[0], nil
	}
	tenants, err := c.Tenants(ctx)
	if err != nil {
		return "", err
	}
	if len(tenants) != 1 {
		return "", terminal.Usage("say which tenant: you may act for %d", len(tenants))
	}
	return tenants[0].ID, nil
}

func (s *session) listEvents() *cobra.Command {
	var filter client.EventFilter
	command := &cobra.Command{
		Use: "events", Aliases: []string{"event"}, Short: "List what happened, oldest first", Args: terminal.Arguments(),
		RunE: s.user(func(ctx context.Context, c *client.Client, _ []string, streams terminal.Streams) error {
			items, err := c.Events(ctx, filter)
			if err != nil {
				return err
			}
			return terminal.List(streams.Out, s.output, items, eventColumns)
		}),
	}
	command.Flags().StringVar(&filter.Instance, "instance", "", "only those of the instance with this name or id")
	command.Flags().StringVar(&filter.Node, "node", "", "only those of the node with this id")
	return s.printing(command)
}
