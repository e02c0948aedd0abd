package cli

import (
	"cmp"
	"context"
	"slices"

	"github.com/spf13/cobra"

	"github.com/ciaocloud/ciao/cluster/api"
	"github.com/ciaocloud/ciao/cluster/client"
	"github.com/ciaocloud/ciao/terminal"
)

func (s *session) top() *cobra.Command {
	return s.printing(&cobra.Command{
		Use: "top", Short: "List what active instances use, the busiest first", Args: terminal.Arguments(),
		RunE: s.user(func(ctx context.Context, c *client.Client, _ []string, streams terminal.Streams) error {
			items, err := c.Usage(ctx)
			if err != nil {
				return err
			}
			slices.SortFunc(items, func(a, b api.InstanceUsage) int {
				return cmp.Or(cmp.Compare(b.VCPUsUsed, a.VCPUsUsed), cmp.Compare(b.MemoryMiBUsed, a.MemoryMiBUsed), cmp.Compare(a.Name, b.Name))
			})
			columns := usageColumns
			if slices.ContainsFunc(items, func(u api.InstanceUsage) bool { return u.Tenant != items[0].Tenant }) {
				columns = usageColumnsOfAll
			}
			return terminal.List(streams.Out, s.output, items, columns)
		}),
	})
}
