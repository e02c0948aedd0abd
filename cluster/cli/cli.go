// Package cli is the ciao command tree: `ciao VERB NOUN` for people, `ciao run ROLE` for the daemons.
//
// Each file is one verb. A command reads its flags, calls the HTTP interface through package client, and writes the result; it knows
// nothing else of the cluster. The cluster and the caller come from flags or from ciao's environment variables, and are looked
// at only when a command needs them: help and completion work without any.
//
// What is guaranteed: results go to standard output and nothing else does; the exit code tells the class of an error (docs/cli.md).
package cli

import (
	"cmp"
	"context"
	"errors"
	"io/fs"

	"github.com/spf13/cobra"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/client"
	"github.com/ciaocloud/ciao/terminal"
)

// Run runs the command line and returns the exit code.
func Run(ctx context.Context, version string, args []string, streams terminal.Streams) int {
	root := root(version)
	root.SetContext(ctx)
	return terminal.Run(root, args, streams, exitCode)
}

// exitCodes by class, in the order in which they are looked for: an error may be of several, the first one counts. docs/cli.md
// explains them.
var exitCodes = []struct {
	err  error
	code int
}{
	{context.Canceled, 130},
	{cluster.ErrOverQuota, 6},
	{cluster.ErrPermission, 5},
	{cluster.ErrNotFound, 3},
	{cluster.ErrExists, 4},
	{cluster.ErrTooLarge, terminal.ExitUsage},
	{cluster.ErrInvalid, terminal.ExitUsage},
	{cluster.ErrNoCapacity, 7},
	{cluster.ErrConflict, 4},
	{cluster.ErrTimeout, 9},
	{context.DeadlineExceeded, 9},
	{cluster.ErrUnavailable, 8},
	{fs.ErrNotExist, 3},
	{fs.ErrPermission, 5},
}

// exitCode is this border's one translation of an error.
func exitCode(err error) int {
	var ended commandEnded
	if errors.As(err, &ended) {
		return int(ended)
	}
	for _, class := range exitCodes {
		if errors.Is(err, class.err) {
			return class.code
		}
	}
	return 1
}

// session is what every command that talks to a cluster has: whom to ask, as whom, and how to answer.
type session struct {
	config client.Config
	admin  bool
	output terminal.Output
}

func root(version string) *cobra.Command {
	s := &session{}
	root := terminal.Group("ciao", "Virtual machines, containers and processes of many tenants, each on its own isolated network",
		s.create(), s.list(), s.show(), s.start(), s.stop(), s.restart(), s.waitFor(), s.logs(), s.exec(), s.console(), s.top(), s.trace(), s.apply(), s.update(), s.delete(),
		s.attach(), s.detach(), s.add(), s.remove(),
		s.evacuate(), s.restore(), s.store(), revoke(), s.ssntp(), simulate(), run(version))
	root.Version = version
	root.Example = `  eval "$(singlevm env)"                          # which cluster, and as whom
  ciao list workloads
  ciao create instance busybox --instances 3 --wait
  ciao list instances -f '{{.name}} {{join "," .addresses}}'
  ciao delete instance --all`
	flags := root.PersistentFlags()
	flags.StringVar(&s.config.Controller, "controller", "", "host, host:port or URL of the controller ("+client.EnvController+")")
	flags.StringVar(&s.config.Certificate, "cert", "", "file with your certificate and key ("+client.EnvClientCert+"; operators' commands: "+client.EnvAdminCert+")")
	flags.StringVar(&s.config.CA, "ca-cert", "", "file with the cluster's authority ("+client.EnvCA+")")
	flags.StringVar(&s.config.Tenant, "tenant", "", "id or name of the tenant to act for ("+client.EnvTenant+")")
	flags.BoolVar(&s.admin, "admin", false, "act as an operator ("+client.EnvAdminCert+"), for all tenants unless --tenant names one")
	s.completeFlag(root, "tenant", tenants)
	return root
}

// client connects as the flags and the environment say; operator commands take the operator's certificate if there is one.
func (s *session) client(operator bool) (*client.Client, error) {
	environment := client.FromEnvironment(false)
	if admin := client.FromEnvironment(true); s.admin || operator && admin.Certificate != "" {
		environment.Certificate = admin.Certificate
	}
	config := s.config
	config.Controller = cmp.Or(config.Controller, environment.Controller)
	config.Certificate = cmp.Or(config.Certificate, environment.Certificate)
	config.CA = cmp.Or(config.CA, environment.CA)
	if !s.admin { // who acts as an operator names a tenant by the flag, or means all: the environment has the user's own
		config.Tenant = cmp.Or(config.Tenant, environment.Tenant)
	}
	config.Operator = operator || s.admin
	return client.New(config)
}

// action is a command's work once it is connected.
type action func(ctx context.Context, c *client.Client, args []string, streams terminal.Streams) error

// as makes a command's RunE from an action.
func (s *session) as(operator bool, do action) func(*cobra.Command, []string) error {
	return func(command *cobra.Command, args []string) error {
		if command.Flags().Lookup("output") != nil {
			if err := s.output.Check(); err != nil {
				return err
			}
		}
		c, err := s.client(operator)
		if err != nil {
			return err
		}
		defer c.Close()
		return do(command.Context(), c, args, terminal.Streams{In: command.InOrStdin(), Out: command.OutOrStdout(), Err: command.ErrOrStderr()})
	}
}

func (s *session) user(do action) func(*cobra.Command, []string) error     { return s.as(false, do) }
func (s *session) operator(do action) func(*cobra.Command, []string) error { return s.as(true, do) }

// printing adds the flags of results.
func (s *session) printing(command *cobra.Command) *cobra.Command {
	s.output.Flags(command.Flags())
	offer(command, "output", terminal.Formats())
	return command
}
