package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/ciaocloud/ciao/cluster/client"
	"github.com/ciaocloud/ciao/terminal"
)

func (s *session) show() *cobra.Command {
	return terminal.Group("show", "Show one instance, workload, node, …",
		showOf(s, "instance", false, instanceShow, (*client.Client).Instance, instanceNames),
		showOf(s, "workload", false, workloadShow, (*client.Client).Workload, workloadNames),
		showOf(s, "node", true, nodeColumns, (*client.Client).Node, nil),
		showOf(s, "tenant", true, tenantColumns, (*client.Client).Tenant, nil),
		showOf(s, "cnci", false, cnciColumns, (*client.Client).CNCI, nil))
}

// showOf shows one thing by its id or name.
func showOf[T any](s *session, noun string, operator bool, columns []column[T], fetch func(*client.Client, context.Context, string) (T, error), names namesOf) *cobra.Command {
	command := &cobra.Command{
		Use: noun + " NAME", Short: "Show one " + noun + ", by name or id", Args: terminal.Arguments("NAME"),
		RunE: s.as(operator, func(ctx context.Context, c *client.Client, args []string, streams terminal.Streams) error {
			item, err := fetch(c, ctx, args[0])
			if err != nil {
				return err
			}
			return terminal.Show(streams.Out, s.output, item, columns)
		}),
	}
	if names != nil {
		command.ValidArgsFunction = s.complete(names)
	}
	return s.printing(command)
}
