package cli

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/ciaocloud/ciao/cluster/client"
	"github.com/ciaocloud/ciao/terminal"
)

func (s *session) logs() *cobra.Command {
	logs := client.Logs{}
	command := &cobra.Command{
		Use: "logs INSTANCE", Short: "Print what an instance printed", Args: terminal.Arguments("INSTANCE"),
		ValidArgsFunction: s.complete(instances),
		RunE: s.user(func(ctx context.Context, c *client.Client, args []string, streams terminal.Streams) error {
			err := c.Logs(ctx, args[0], logs, streams.Out)
			if logs.Follow && errors.Is(err, context.Canceled) {
				return terminal.Silent(err) // Ctrl-C is how it ends
			}
			return instances.hint(ctx, c, args[0], err)
		}),
	}
	command.Flags().BoolVar(&logs.Follow, "follow", false, "go on with what it prints, until it ends or Ctrl-C")
	command.Flags().IntVar(&logs.Tail, "tail", -1, "only the last so many lines; -1 is all")
	return command
}
