package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/ciaocloud/ciao/cluster/client"
	"github.com/ciaocloud/ciao/terminal"
)

func (s *session) show() *cobra.Command {
	return terminal.Group("show", "Show one instance, workload, node, …",
		showOf(s, instances, instanceColumns, (*client.Client).Instance),
		showOf(s, workloads, workloadColumns, (*client.Client).Workload),
		showOf(s, images, imageColumns, (*client.Client).Image),
		showOf(s, volumes, volumeColumns, (*client.Client).Volume),
		showOf(s, sshKeys, sshKeyColumns, (*client.Client).SSHKey),
		showOf(s, nodes, nodeColumns, (*client.Client).Node),
		showOf(s, tenants, tenantColumns, (*client.Client).Tenant),
		showOf(s, pools, poolColumns, (*client.Client).Pool),
		showOf(s, externalIPs, externalIPColumns, (*client.Client).ExternalIP),
		showOf(s, cncis, cnciColumns, (*client.Client).CNCI))
}

// showOf shows one thing by its id or, if it has one, its name.
func showOf[T any](s *session, n noun, columns []column[T], fetch func(*client.Client, context.Context, string) (T, error)) *cobra.Command {
	return s.printing(&cobra.Command{
		Use: n.singular() + " " + n.argument, Aliases: []string{n.plural}, Short: "Show one " + n.singular(), Args: terminal.Arguments(n.argument),
		ValidArgsFunction: s.complete(n),
		RunE: s.as(n.operator, func(ctx context.Context, c *client.Client, args []string, streams terminal.Streams) error {
			item, err := fetch(c, ctx, args[0])
			if err != nil {
				return n.hint(ctx, c, args[0], err)
			}
			return terminal.Show(streams.Out, s.output, item, columns)
		}),
	})
}
