package cli

import (
	"errors"
	"io"
	"io/fs"
	"os"

	urfave "github.com/urfave/cli/v2"

	"github.com/ciaocloud/ciao/ccloudvm"
	"github.com/ciaocloud/ciao/ccloudvm/guest"
)

func (c *command) logs() *urfave.Command {
	return &urfave.Command{
		Name: "logs", Usage: "show what the guest wrote on its console, or cloud-init's log", ArgsUsage: "[NAME]",
		Flags: []urfave.Flag{
			&urfave.BoolFlag{Name: "cloud-init", Usage: "the output of the guest's set-up, read in the guest"},
			&urfave.BoolFlag{Name: "supervisor", Usage: "what the supervisor of the instance had to say"},
		},
		BashComplete: c.completeInstances,
		Action: func(ctx *urfave.Context) error {
			m, name, err := c.one(ctx)
			if err != nil {
				return err
			}
			switch {
			case ctx.Bool("cloud-init"):
				cmd := guest.Command{Argv: []string{"sudo", "cat", "/var/log/cloud-init-output.log"}}
				return c.inGuest(ctx.Context, m, name, cmd, false)
			case ctx.Bool("supervisor"):
				return c.cat(m.Layout.SupervisorLog(name), name)
			default:
				return c.cat(m.Layout.ConsoleLog(name), name)
			}
		},
	}
}

func (c *command) cat(path, name string) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return &ccloudvm.Error{Class: ccloudvm.ErrNotFound, Text: name + " has no such log yet: it was never started", Cause: err}
	}
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(c.streams.Out, f)
	return err
}
