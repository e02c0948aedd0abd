package cli

import (
	"errors"
	"io"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/ciaocloud/ciao/ccloudvm"
	"github.com/ciaocloud/ciao/ccloudvm/guest"
	"github.com/ciaocloud/ciao/terminal"
)

func (c *command) logs() *cobra.Command {
	var cloudInit, supervisor bool
	command := &cobra.Command{
		Use: "logs [NAME]", Short: "Show what the guest wrote on its console, or cloud-init's log", Args: terminal.Between(0, 1),
		ValidArgsFunction: c.completeInstance,
		RunE: func(command *cobra.Command, args []string) error {
			m, name, err := c.one(args)
			if err != nil {
				return err
			}
			switch {
			case cloudInit:
				cmd := guest.Command{Argv: []string{"sudo", "cat", "/var/log/cloud-init-output.log"}}
				return c.inGuest(command.Context(), m, name, cmd, false)
			case supervisor:
				return c.cat(m.Layout.SupervisorLog(name), name)
			default:
				return c.cat(m.Layout.ConsoleLog(name), name)
			}
		},
	}
	command.Flags().BoolVar(&cloudInit, "cloud-init", false, "the output of the guest's set-up, read in the guest")
	command.Flags().BoolVar(&supervisor, "supervisor", false, "what the supervisor of the instance had to say")
	return command
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
