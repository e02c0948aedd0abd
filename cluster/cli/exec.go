package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/client"
	"github.com/ciaocloud/ciao/terminal"
)

// commandEnded is the end of an executed command with an exit code other than zero, which is ours, too.
type commandEnded int

func (c commandEnded) Error() string {
	return fmt.Sprintf("the command ended with exit code %d", int(c))
}

func (s *session) exec() *cobra.Command {
	var input, tty bool
	command := &cobra.Command{
		Use: "exec INSTANCE -- COMMAND…", Short: "Execute a command in an active instance; its exit code is that of ciao",
		Example: `  ciao exec web-1 -- ls -l /etc
  ciao exec -it web-1 -- sh
  tar c . | ciao exec -i web-1 -- tar x -C /srv`,
		Args: terminal.Between(2, -1, "INSTANCE", "COMMAND"), ValidArgsFunction: s.complete(instances),
		RunE: s.user(func(ctx context.Context, c *client.Client, args []string, streams terminal.Streams) error {
			e := client.Execution{Command: args[1:], Output: streams.Out, Errors: streams.Err}
			if input {
				e.Input = streams.In
			}
			code, err := execute(ctx, c, args[0], e, tty, streams)
			switch {
			case err != nil:
				return instances.hint(ctx, c, args[0], err)
			case code != 0:
				return terminal.Silent(commandEnded(code))
			}
			return nil
		}),
	}
	command.Flags().BoolVarP(&input, "stdin", "i", false, "give it your standard input")
	command.Flags().BoolVarP(&tty, "tty", "t", false, "give it a terminal of the size of yours; with -i it gets every key, Ctrl-C too")
	return command
}

// execute makes this terminal the command's for as long as it lasts, if it wants one.
func execute(ctx context.Context, c *client.Client, instance string, e client.Execution, tty bool, streams terminal.Streams) (int, error) {
	if !tty {
		return c.Exec(ctx, instance, e)
	}
	screen, err := terminal.OpenScreen(streams, e.Input != nil)
	if err != nil {
		return 0, err
	}
	defer screen.Close()
	sizes := make(chan cluster.TerminalSize)
	ctx, cancel := context.WithCancel(ctx)
	followed := make(chan struct{})
	go func() {
		defer close(followed)
		screen.Follow(ctx, func(width, height int) {
			select {
			case sizes <- cluster.TerminalSize{Width: width, Height: height}:
			case <-ctx.Done():
			}
		})
	}()
	defer func() { cancel(); <-followed }()
	e.TTY, e.Sizes = true, sizes
	e.Size.Width, e.Size.Height = screen.Size()
	return c.Exec(ctx, instance, e)
}
