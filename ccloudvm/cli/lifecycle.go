package cli

import (
	"errors"
	"fmt"
	"time"

	urfave "github.com/urfave/cli/v2"

	"github.com/ciaocloud/ciao/ccloudvm/instance"
	"github.com/ciaocloud/ciao/ccloudvm/qemu"
)

func (c *command) start() *urfave.Command {
	return &urfave.Command{
		Name: "start", Usage: "boot an instance; what the flags change is kept", ArgsUsage: "[NAME]",
		Flags: machineFlags(), BashComplete: c.completeInstances,
		Action: func(ctx *urfave.Context) error {
			o, err := overrides(ctx)
			if err != nil {
				return err
			}
			m, name, err := c.one(ctx)
			if err != nil {
				return err
			}
			limited, cancel := limit(ctx)
			defer cancel()
			show := newProgress(c.streams.Err)
			_, err = m.Start(limited, name, o, show.event)
			show.close(err)
			return err
		},
	}
}

func (c *command) stop() *urfave.Command {
	return &urfave.Command{
		Name: "stop", Usage: "shut an instance down; one that does not go is ended by force", ArgsUsage: "[NAME]",
		Flags:        []urfave.Flag{&urfave.DurationFlag{Name: "timeout", Usage: "how long the guest may take, such as 1m"}},
		BashComplete: c.completeInstances,
		Action: c.ending(func(ctx *urfave.Context, m *instance.Manager, name string) (qemu.How, error) {
			d := ctx.Duration("timeout")
			if ctx.IsSet("timeout") && d < time.Second {
				return "", usage("--timeout must be a second at least; `ccloudvm quit` ends an instance at once")
			}
			if d == 0 {
				d = m.StopLimit(name)
			}
			fmt.Fprintf(c.streams.Err, "%s: the guest has %v to shut down\n", name, d)
			return m.Stop(ctx.Context, name, d)
		}),
	}
}

func (c *command) quit() *urfave.Command {
	return &urfave.Command{
		Name: "quit", Usage: "end an instance at once, as if the power were cut", ArgsUsage: "[NAME]", BashComplete: c.completeInstances,
		Action: c.ending(func(ctx *urfave.Context, m *instance.Manager, name string) (qemu.How, error) {
			return m.Quit(ctx.Context, name)
		}),
	}
}

// ending is the action of a verb that ends an instance and says how it ended.
func (c *command) ending(end func(*urfave.Context, *instance.Manager, string) (qemu.How, error)) urfave.ActionFunc {
	return func(ctx *urfave.Context) error {
		m, name, err := c.one(ctx)
		if err != nil {
			return err
		}
		how, err := end(ctx, m, name)
		if err == nil {
			fmt.Fprintf(c.streams.Err, "%s: %s\n", name, how)
		}
		return err
	}
}

func (c *command) delete() *urfave.Command {
	return &urfave.Command{
		Name: "delete", Aliases: []string{"rm"}, Usage: "remove instances with everything they own", ArgsUsage: "[NAME…]",
		Flags:        []urfave.Flag{&urfave.BoolFlag{Name: "all", Usage: "all instances"}},
		BashComplete: c.completeInstances,
		Action: func(ctx *urfave.Context) error {
			m, err := c.manager()
			if err != nil {
				return err
			}
			names := ctx.Args().Slice()
			switch {
			case ctx.Bool("all") && len(names) > 0:
				return usage("name instances or say --all, not both")
			case ctx.Bool("all"):
				names, err = m.Names()
			case len(names) == 0:
				var name string
				name, err = m.Resolve("")
				names = []string{name}
			}
			if err != nil {
				return err
			}
			var errs []error
			for _, name := range names {
				errs = append(errs, m.Delete(ctx.Context, name))
			}
			return errors.Join(errs...)
		},
	}
}
