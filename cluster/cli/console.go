package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/ciaocloud/ciao/cluster/client"
	"github.com/ciaocloud/ciao/terminal"
)

func (s *session) console() *cobra.Command {
	var console client.Console
	command := &cobra.Command{
		Use: "console INSTANCE", Short: "Sit at the serial console of an active virtual machine; Ctrl-] leaves it",
		Long: `Sit at the serial console of an active virtual machine: every key goes there, Ctrl-C too, and Ctrl-] leaves it. It prints from now on; what it
printed before is in ` + "`ciao logs INSTANCE`" + `. One at a time has it. Where the standard input or output is no terminal, the input is passed on as it is,
and its end does not leave: Ctrl-C or the end of the machine does.`,
		Example: `  ciao console db
  printf 'poweroff\n' | ciao console db`,
		Args: terminal.Arguments("INSTANCE"), ValidArgsFunction: s.complete(instances),
		RunE: s.user(func(ctx context.Context, c *client.Client, args []string, streams terminal.Streams) error {
			err := sit(ctx, c, args[0], console, streams)
			switch {
			case errors.Is(err, terminal.ErrLeave):
				fmt.Fprintf(streams.Err, "\nleft the console of %s\n", args[0])
				return nil
			case err == nil:
				fmt.Fprintf(streams.Err, "\n%s has ended\n", args[0])
				return nil
			case errors.Is(err, context.Canceled):
				return terminal.Silent(err) // Ctrl-C is how it ends
			}
			return instances.hint(ctx, c, args[0], err)
		}),
	}
	command.Flags().BoolVar(&console.Takeover, "force", false, "take the console over from whoever has it")
	return command
}

// sit makes this terminal the console's for as long as that lasts, if there is a person at it.
func sit(ctx context.Context, c *client.Client, instance string, console client.Console, streams terminal.Streams) error {
	console.Input, console.Output = streams.In, streams.Out
	if !terminal.Attended(streams) {
		return c.Console(ctx, instance, console)
	}
	screen, err := terminal.OpenScreen(streams, true)
	if err != nil {
		return err
	}
	defer screen.Close()
	console.Input = terminal.Leaving(streams.In)
	console.Joined = func() {
		fmt.Fprintf(streams.Err, "at the console of %s; Enter shows a prompt, Ctrl-] leaves\r\n", instance)
	}
	return c.Console(ctx, instance, console)
}
