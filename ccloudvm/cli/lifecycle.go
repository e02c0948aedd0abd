package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/ciaocloud/ciao/ccloudvm/instance"
	"github.com/ciaocloud/ciao/ccloudvm/qemu"
	"github.com/ciaocloud/ciao/terminal"
)

func (c *command) start() *cobra.Command {
	var o machine
	command := &cobra.Command{
		Use: "start [NAME]", Short: "Boot an instance; what the flags change is kept", Args: terminal.Between(0, 1),
		ValidArgsFunction: c.completeInstance,
		RunE: func(command *cobra.Command, args []string) error {
			overrides, err := o.overrides(command.Flags())
			if err != nil {
				return err
			}
			m, name, err := c.one(args)
			if err != nil {
				return err
			}
			ctx, cancel := o.limit(command.Context())
			defer cancel()
			show := newProgress(c.streams.Err)
			_, err = m.Start(ctx, name, overrides, show.event)
			show.close(err)
			return err
		},
	}
	o.add(command.Flags())
	return command
}

func (c *command) stop() *cobra.Command {
	var limit time.Duration
	command := &cobra.Command{
		Use: "stop [NAME]", Short: "Shut an instance down; one that does not go is ended by force", Args: terminal.Between(0, 1),
		ValidArgsFunction: c.completeInstance,
	}
	command.RunE = c.ending(func(ctx context.Context, m *instance.Manager, name string) (qemu.How, error) {
		switch {
		case !command.Flags().Changed("timeout"):
			limit = m.StopLimit(name)
		case limit < time.Second:
			return "", terminal.Usage("--timeout must be a second at least; `ccloudvm quit` ends an instance at once")
		}
		fmt.Fprintf(c.streams.Err, "%s: the guest has %v to shut down\n", name, limit)
		return m.Stop(ctx, name, limit)
	})
	command.Flags().DurationVar(&limit, "timeout", 0, "how long the guest may take, such as 1m")
	return command
}

func (c *command) quit() *cobra.Command {
	return &cobra.Command{
		Use: "quit [NAME]", Short: "End an instance at once, as if the power were cut", Args: terminal.Between(0, 1),
		ValidArgsFunction: c.completeInstance,
		RunE: c.ending(func(ctx context.Context, m *instance.Manager, name string) (qemu.How, error) {
			return m.Quit(ctx, name)
		}),
	}
}

// ending is the work of a verb that ends an instance and says how it ended.
func (c *command) ending(end func(context.Context, *instance.Manager, string) (qemu.How, error)) func(*cobra.Command, []string) error {
	return func(command *cobra.Command, args []string) error {
		m, name, err := c.one(args)
		if err != nil {
			return err
		}
		how, err := end(command.Context(), m, name)
		if err == nil {
			fmt.Fprintf(c.streams.Err, "%s: %s\n", name, how)
		}
		return err
	}
}

func (c *command) delete() *cobra.Command {
	var all bool
	command := &cobra.Command{
		Use: "delete [NAME…]", Aliases: []string{"rm"}, Short: "Remove instances with everything they own", ValidArgsFunction: c.completeInstances,
		RunE: func(command *cobra.Command, names []string) error {
			m, err := c.manager()
			if err != nil {
				return err
			}
			switch {
			case all && len(names) > 0:
				return terminal.Usage("name instances or say --all, not both")
			case all:
				names, err = m.Names()
			case len(names) == 0:
				names = make([]string, 1)
				names[0], err = m.Resolve("")
			}
			if err != nil {
				return err
			}
			var errs []error
			for _, name := range names {
				errs = append(errs, m.Delete(command.Context(), name))
			}
			return errors.Join(errs...)
		},
	}
	command.Flags().BoolVar(&all, "all", false, "all instances")
	return command
}
