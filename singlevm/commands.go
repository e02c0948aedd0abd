package singlevm

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/singlevm/supervise"
	"github.com/ciaocloud/ciao/terminal"
)

// Main runs the command line and returns the exit code.
func Main(ctx context.Context, version string, args []string, streams terminal.Streams) int {
	c := &commands{streams: streams}
	root := terminal.Group("singlevm", "Set a whole cluster up on this machine, prove it, and remove it without a trace",
		c.setup(), c.verify(), c.cleanup(), c.node(), c.status(), c.env(), c.logs(), c.doctor(), c.supervise(), c.gateway())
	root.Version = version
	root.Example = `  singlevm setup                 # a few seconds later there is a cluster
  singlevm verify                # prove that it works
  eval "$(singlevm env)"         # use it as tenant blue
  ciao create instance busybox --instances 2 --wait
  singlevm cleanup               # as if it had never been there`
	root.PersistentFlags().StringVar(&c.config.Directory, "directory", DefaultDirectory, "where the cluster keeps its files")
	root.SetContext(ctx)
	return terminal.Run(root, args, streams, exitCode)
}

// exitCode is this border's one translation of an error; the codes are those of the ciao command.
func exitCode(err error) int {
	for _, class := range []struct {
		err  error
		code int
	}{
		{context.Canceled, 130}, {cluster.ErrPermission, 5}, {cluster.ErrInvalid, terminal.ExitUsage}, {cluster.ErrNotFound, 3},
		{cluster.ErrConflict, 4}, {cluster.ErrNoCapacity, 7}, {cluster.ErrUnavailable, 8}, {cluster.ErrTimeout, 9},
	} {
		if errors.Is(err, class.err) {
			return class.code
		}
	}
	return 1
}

// commands have the flags and streams that all of them share.
type commands struct {
	config  Config
	streams terminal.Streams
	output  terminal.Output
}

// harness makes a command's work with the harness.
func (c *commands) harness(do func(context.Context, *Setup) error) func(*cobra.Command, []string) error {
	return func(command *cobra.Command, _ []string) error {
		c.config.Progress = c.streams.Err
		s, err := New(c.config)
		if err != nil {
			return err
		}
		return do(command.Context(), s)
	}
}

func (c *commands) setup() *cobra.Command {
	var build bool
	command := &cobra.Command{
		Use: "setup", Short: "Bring the cluster up, or up to date: daemons whose program is new are restarted", Args: terminal.Arguments(),
		RunE: func(command *cobra.Command, args []string) error {
			if build {
				if err := c.build(command.Context()); err != nil {
					return err
				}
			}
			return c.harness(c.setupAndTell)(command, args)
		},
	}
	command.Flags().BoolVar(&build, "build", false, "build the programs first (`make build` in the current directory)")
	command.Flags().IntVar(&c.config.Nodes, "nodes", 0, fmt.Sprintf("how many nodes, at most %d; those that are there stay (default those that are there, at least 1)", maxNodes))
	command.Flags().BoolVar(&c.config.Full, "full", false, "provide the image and workload "+debianImage+", too; making it takes minutes, once")
	command.Flags().StringVar(&c.config.Storage, "storage", "", "`file` with the part \"storage:\" of the cluster file, for disks in a Ceph cluster; it is kept")
	command.Flags().Float64Var(&c.config.TimeScale, "time-scale", 1, "multiply every deadline, for slow machines")
	return command
}

// build builds the programs from the sources in the current directory.
func (c *commands) build(ctx context.Context) error {
	if !exists("Makefile") || !exists("go.mod") {
		return terminal.Usage("--build works in the folder of the sources, which this is not")
	}
	build := exec.CommandContext(ctx, "make", "build")
	build.Stdout, build.Stderr = c.streams.Err, c.streams.Err
	if err := build.Run(); err != nil {
		return fmt.Errorf("build: %w", err)
	}
	return nil
}

func (c *commands) setupAndTell(ctx context.Context, s *Setup) error {
	start := time.Now()
	if err := s.Run(ctx); err != nil {
		return err
	}
	s.progress.say(`The cluster runs (%.1f s). Go on with:
  singlevm verify                prove that it works
  eval "$(singlevm env)"         use it as tenant blue; `+"`singlevm env green`"+` is the other tenant
  ciao create instance busybox --instances 2 --wait
  ciao list instances
  singlevm cleanup               remove all of it`, time.Since(start).Seconds())
	return nil
}

func (c *commands) verify() *cobra.Command {
	command := &cobra.Command{
		Use: "verify", Short: "Prove that the cluster works; instances of users are not touched", Args: terminal.Arguments(),
		RunE: c.harness(func(ctx context.Context, s *Setup) error {
			start := time.Now()
			if err := root(ctx); err != nil {
				return err
			}
			if err := s.Verify(ctx); err != nil {
				return err
			}
			s.progress.say("All checks passed (%.1f s).", time.Since(start).Seconds())
			return nil
		}),
	}
	command.Flags().BoolVar(&c.config.Full, "full", false, "with virtual machines of "+debianImage+" instead of "+tinyImage+"; takes minutes where they are emulated")
	return command
}

func (c *commands) cleanup() *cobra.Command {
	return &cobra.Command{
		Use: "cleanup", Short: "Remove everything that setup made, whatever state it is in", Args: terminal.Arguments(),
		RunE: c.harness(func(ctx context.Context, s *Setup) error {
			start := time.Now()
			if err := root(ctx); err != nil {
				return err
			}
			if err := s.Cleanup(ctx); err != nil {
				return err
			}
			s.progress.say("Nothing is left (%.1f s).", time.Since(start).Seconds())
			return nil
		}),
	}
}

// statusColumns show how daemons are.
var statusColumns = []terminal.Column[supervise.Status]{
	{Title: "daemon", Value: func(s supervise.Status) string { return s.Name }},
	{Title: "state", Value: func(s supervise.Status) string {
		if s.Running {
			return "running"
		}
		return "down"
	}},
	{Title: "pid", Value: func(s supervise.Status) string {
		if s.PID == 0 {
			return ""
		}
		return fmt.Sprint(s.PID)
	}},
	{Title: "restarts", Value: func(s supervise.Status) string { return fmt.Sprint(s.Restarts) }},
	{Title: "problem", Value: func(s supervise.Status) string { return s.Problem }},
}

func (c *commands) status() *cobra.Command {
	command := &cobra.Command{
		Use: "status", Short: "Show how the daemons are", Args: terminal.Arguments(),
		RunE: c.harness(func(ctx context.Context, s *Setup) error {
			if err := c.output.Check(); err != nil {
				return err
			}
			daemons, err := s.Status(ctx)
			if err != nil {
				return err
			}
			if err := terminal.List(c.streams.Out, c.output, daemons, statusColumns); err != nil {
				return err
			}
			if i := slices.IndexFunc(daemons, func(d supervise.Status) bool { return !d.Running }); i >= 0 {
				return fmt.Errorf("%w: %s is down; `singlevm logs %s` may say why", cluster.ErrUnavailable, daemons[i].Name, daemons[i].Name)
			}
			return nil
		}),
	}
	c.output.Flags(command.Flags())
	return command
}

func (c *commands) env() *cobra.Command {
	return &cobra.Command{
		Use: "env [TENANT]", Short: "Print the variables with which the ciao command finds the cluster: eval \"$(singlevm env)\"",
		Args: terminal.Between(0, 1, "TENANT"), ValidArgs: tenantNames,
		RunE: func(command *cobra.Command, args []string) error {
			tenant := tenantNames[0]
			if len(args) == 1 {
				tenant = args[0]
			}
			if !slices.Contains(tenantNames, tenant) {
				return terminal.Usage("the tenants that setup makes are %s", strings.Join(tenantNames, " and "))
			}
			text, err := os.ReadFile(layout{c.config.Directory}.environment(tenant))
			if err != nil {
				return errNoCluster
			}
			_, err = c.streams.Out.Write(text)
			return err
		},
	}
}

func (c *commands) logs() *cobra.Command {
	var lines int
	var follow bool
	command := &cobra.Command{
		Use: "logs DAEMON", Short: "Print the log of a daemon", Args: terminal.Arguments("DAEMON"),
		RunE: func(command *cobra.Command, args []string) error {
			return c.harness(func(ctx context.Context, s *Setup) error { return s.Logs(ctx, c.streams, args[0], lines, follow) })(command, args)
		},
	}
	command.Flags().IntVarP(&lines, "lines", "n", 100, "how many of the last lines")
	command.Flags().BoolVar(&follow, "follow", false, "go on with what is written from now on")
	return command
}

var findingColumns = []terminal.Column[Finding]{
	{Title: "check", Value: func(f Finding) string { return f.Check }},
	{Title: "", Value: func(f Finding) string {
		if f.OK {
			return "ok"
		}
		return "✗"
	}},
	{Title: "problem", Value: func(f Finding) string { return f.Problem }},
}

func (c *commands) doctor() *cobra.Command {
	var output terminal.Output
	command := &cobra.Command{
		Use: "doctor", Short: "Look whether this machine has what a cluster needs", Args: terminal.Arguments(),
		RunE: c.harness(func(ctx context.Context, s *Setup) error {
			if err := output.Check(); err != nil {
				return err
			}
			findings := s.Doctor(ctx)
			if err := terminal.List(c.streams.Out, output, findings, findingColumns); err != nil {
				return err
			}
			if slices.ContainsFunc(findings, func(f Finding) bool { return !f.OK }) {
				return errors.New("something is missing; each line says what to do")
			}
			return nil
		}),
	}
	output.Flags(command.Flags())
	return command
}

// supervise is the process behind setup where systemd does not run.
func (c *commands) supervise() *cobra.Command {
	return c.daemon("supervise", func(ctx context.Context, s *Setup, log *slog.Logger) error { return s.Supervise(ctx, log) })
}

// gateway is one of the daemons.
func (c *commands) gateway() *cobra.Command {
	return c.daemon("gateway", func(ctx context.Context, s *Setup, log *slog.Logger) error { return s.Gateway(ctx, log) })
}

func (c *commands) daemon(name string, run func(context.Context, *Setup, *slog.Logger) error) *cobra.Command {
	return &cobra.Command{
		Use: name, Hidden: true, Args: terminal.Arguments(),
		RunE: c.harness(func(ctx context.Context, s *Setup) error {
			return run(ctx, s, slog.New(slog.NewTextHandler(c.streams.Err, nil)))
		}),
	}
}

// Status says how the daemons are.
func (s *Setup) Status(ctx context.Context) ([]supervise.Status, error) {
	daemons, err := s.supervisor.Status(ctx)
	if err == nil && len(daemons) == 0 {
		err = errNoCluster
	}
	return daemons, err
}

// Logs prints the log of one daemon.
func (s *Setup) Logs(ctx context.Context, streams terminal.Streams, daemon string, lines int, follow bool) error {
	daemons, err := s.Status(ctx)
	if err != nil {
		return err
	}
	names := make([]string, len(daemons))
	for i, d := range daemons {
		names[i] = d.Name
	}
	if !slices.Contains(names, daemon) {
		return terminal.Usage("there is no daemon %q; the daemons are %s", daemon, strings.Join(names, ", "))
	}
	words := s.supervisor.Logs(daemon, lines, follow)
	command := exec.CommandContext(ctx, words[0], words[1:]...)
	command.Cancel = func() error { return command.Process.Signal(syscall.SIGTERM) }
	command.Stdout, command.Stderr = streams.Out, streams.Err
	if err := command.Run(); err != nil && ctx.Err() == nil {
		return fmt.Errorf("%s: %w", strings.Join(words, " "), err)
	}
	return nil
}
