package cli

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/api"
	"github.com/ciaocloud/ciao/cluster/client"
	"github.com/ciaocloud/ciao/terminal"
)

func (s *session) list() *cobra.Command {
	group := terminal.Group("list", "List instances, workloads, nodes, …",
		s.listInstances(),
		listOf(s, workloads, "the tenant's and the public workloads", workloadList, (*client.Client).Workloads, byName(func(w api.Workload) string { return w.Name })),
		listOf(s, images, "the tenant's and the public images", imageList, (*client.Client).Images, byName(func(i api.Image) string { return i.Name })),
		listOf(s, volumes, "the tenant's volumes", volumeList, (*client.Client).Volumes, byName(func(v api.Volume) string { return v.Name })),
		listOf(s, sshKeys, "the tenant's SSH keys", sshKeyList, (*client.Client).SSHKeys, byName(func(k api.SSHKey) string { return k.Name })),
		s.listNodes(),
		listOf(s, tenants, "the tenants that you may act for", tenantColumns, (*client.Client).Tenants, byName(func(t api.Tenant) string { return t.Name })),
		listOf(s, cncis, "the CNCIs of the tenant's subnets", cnciColumns, (*client.Client).CNCIs, byName(func(c api.CNCI) string { return c.Tenant })),
		listOf(s, pools, "the pools of external IPs", poolColumns, (*client.Client).Pools, byName(func(p api.Pool) string { return p.Name })),
		listOf(s, externalIPs, "the tenant's external IPs", externalIPColumns, (*client.Client).ExternalIPs, func(a, b api.ExternalIP) int { return a.Address.Compare(b.Address) }),
		s.listQuotas(), s.listEvents())
	group.Aliases = []string{"ls"}
	return group
}

// listOf is a listing without flags of its own.
func listOf[T any](s *session, n noun, what string, columns []column[T], fetch func(*client.Client, context.Context) ([]T, error), order func(a, b T) int) *cobra.Command {
	return s.printing(&cobra.Command{
		Use: n.plural, Aliases: []string{n.singular()}, Short: "List " + what, Args: terminal.Arguments(),
		RunE: s.as(n.operator, func(ctx context.Context, c *client.Client, _ []string, streams terminal.Streams) error {
			items, err := fetch(c, ctx)
			if err != nil {
				return err
			}
			slices.SortStableFunc(items, order)
			return terminal.List(streams.Out, s.output, items, columns)
		}),
	})
}

// byName orders things as people count: web-2 before web-10.
func byName[T any](name func(T) string) func(a, b T) int {
	const digits = "0123456789"
	return func(a, b T) int {
		one, other := name(a), name(b)
		stem, stem2 := strings.TrimRight(one, digits), strings.TrimRight(other, digits)
		return cmp.Or(cmp.Compare(stem, stem2), cmp.Compare(len(one), len(other)), cmp.Compare(one, other))
	}
}

func (s *session) listInstances() *cobra.Command {
	var filter client.InstanceFilter
	command := &cobra.Command{
		Use: "instances [WORKLOAD]", Aliases: []string{"instance"}, Short: "List instances", Args: terminal.Between(0, 1, "WORKLOAD"),
		ValidArgsFunction: s.complete(workloads),
		RunE: s.user(func(ctx context.Context, c *client.Client, args []string, streams terminal.Streams) error {
			if len(args) == 1 {
				filter.Workload = args[0]
			}
			items, err := s.instances(ctx, c, filter)
			if err != nil {
				return err
			}
			columns := instanceList
			if slices.ContainsFunc(items, func(i api.Instance) bool { return i.Tenant != items[0].Tenant }) {
				columns = instanceListOfAll
			}
			return terminal.List(streams.Out, s.output, items, columns)
		}),
	}
	command.Flags().StringVar(&filter.State, "state", "", "only those in this state")
	command.Flags().StringVar(&filter.Node, "node", "", "only those on the node with this id or, for operators, host name")
	command.Flags().StringArrayVar(&filter.Labels, "label", nil, "only those with this KEY=VALUE; may be given several times")
	offer(command, "state", storedStates())
	s.completeFlag(command, "node", nodes)
	return s.printing(command)
}

func (s *session) instances(ctx context.Context, c *client.Client, filter client.InstanceFilter) ([]api.Instance, error) {
	if states := storedStates(); filter.State != "" && !slices.Contains(states, filter.State) {
		return nil, terminal.Usage("%q is not a state; the states are %s", filter.State, strings.Join(states, ", "))
	}
	var err error
	if filter.Node, err = nodeID(ctx, c, filter.Node); err != nil {
		return nil, err
	}
	items, err := c.Instances(ctx, filter)
	if err != nil && filter.Workload != "" {
		return nil, workloads.hint(ctx, c, filter.Workload, err)
	}
	slices.SortStableFunc(items, byName(func(i api.Instance) string { return i.Name }))
	slices.SortStableFunc(items, func(a, b api.Instance) int { return cmp.Compare(a.Tenant, b.Tenant) })
	return items, err
}

// storedStates are the states that a listed instance can be in.
func storedStates() []string {
	var texts []string
	for _, state := range cluster.States() {
		if state != cluster.Gone {
			texts = append(texts, string(state))
		}
	}
	return texts
}

// nodeID finds the id of a node by its host name, which is the operator's to know.
func nodeID(ctx context.Context, c *client.Client, ref string) (string, error) {
	if ref == "" || cluster.ValidID(ref) {
		return ref, nil
	}
	node, err := c.Node(ctx, ref)
	return node.ID, nodes.hint(ctx, c, ref, err)
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
				role = string(cluster.Compute)
			case network:
				role = string(cluster.Network)
			}
			items, err := c.Nodes(ctx, role)
			if err != nil {
				return err
			}
			slices.SortStableFunc(items, byName(func(n api.Node) string { return n.Hostname }))
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
		ValidArgsFunction: s.complete(tenants),
		RunE: s.user(func(ctx context.Context, c *client.Client, args []string, streams terminal.Streams) error {
			tenant, err := actingTenant(ctx, c, args)
			if err != nil {
				return err
			}
			quota, err := c.Quota(ctx, tenant)
			if err != nil {
				return tenants.hint(ctx, c, tenant, err)
			}
			return terminal.List(streams.Out, s.output, quota.Items, quotaColumns)
		}),
	})
}

// actingTenant is the tenant that was named, or that the client acts for, or the only one there is.
func actingTenant(ctx context.Context, c *client.Client, args []string) (string, error) {
	if len(args) == 1 {
		return args[0], nil
	}
	if tenant := c.ActsFor(); tenant != "" {
		return tenant, nil
	}
	known, err := c.Tenants(ctx)
	if err != nil {
		return "", err
	}
	if len(known) != 1 {
		return "", terminal.Usage("say which tenant: you may act for %d; `ciao list tenants` shows them", len(known))
	}
	return known[0].ID, nil
}

func (s *session) listEvents() *cobra.Command {
	var filter client.EventFilter
	var follow bool
	command := &cobra.Command{
		Use: "events", Aliases: []string{"event"}, Short: "List what happened, oldest first", Args: terminal.Arguments(),
		RunE: s.user(func(ctx context.Context, c *client.Client, _ []string, streams terminal.Streams) error {
			var err error
			if filter.Node, err = nodeID(ctx, c, filter.Node); err != nil {
				return err
			}
			if follow {
				return s.followEvents(ctx, c, filter, streams)
			}
			items, err := c.Events(ctx, filter)
			if err != nil {
				return err
			}
			return terminal.List(streams.Out, s.output, items, eventColumns)
		}),
	}
	command.Flags().BoolVar(&follow, "follow", false, "go on with what happens, until Ctrl-C")
	command.Flags().StringVar(&filter.Instance, "instance", "", "only those of the instance with this name or id")
	command.Flags().StringVar(&filter.Node, "node", "", "only those of the node with this id or, for operators, host name")
	s.completeFlag(command, "instance", instances)
	s.completeFlag(command, "node", nodes)
	return s.printing(command)
}

func (s *session) followEvents(ctx context.Context, c *client.Client, filter client.EventFilter, streams terminal.Streams) error {
	stream := terminal.NewStream(streams.Out, s.output, eventColumns)
	for event, err := range c.FollowEvents(ctx, filter) {
		if err != nil {
			return instances.hint(ctx, c, filter.Instance, err)
		}
		if err := stream.Write(event); err != nil {
			return err
		}
	}
	return terminal.Silent(context.Canceled) // Ctrl-C is how it ends
}
