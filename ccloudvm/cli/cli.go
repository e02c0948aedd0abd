package cli

import (
	"context"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"

	"github.com/spf13/cobra"

	"github.com/ciaocloud/ciao/ccloudvm/image"
	"github.com/ciaocloud/ciao/ccloudvm/instance"
	"github.com/ciaocloud/ciao/ccloudvm/qemu"
	"github.com/ciaocloud/ciao/ccloudvm/workload"
	"github.com/ciaocloud/ciao/terminal"
	"github.com/ciaocloud/ciao/workloads"
)

// Run runs the command line and returns the exit code. When ctx ends, what a command had begun is undone.
func Run(ctx context.Context, version string, args []string, streams terminal.Streams) int {
	c := &command{streams: streams}
	root := c.root(version)
	root.SetContext(ctx)
	return terminal.Run(root, args, streams, exitCode)
}

// command is one call of the program.
type command struct {
	streams terminal.Streams
	output  terminal.Output
}

func (c *command) root(version string) *cobra.Command {
	root := terminal.Group("ccloudvm", "Development virtual machines from cloud images",
		c.setup(), c.create(), c.connect(), c.run(), c.copy(), c.status(), c.instances(), c.start(), c.stop(), c.quit(), c.delete(),
		c.logs(), c.workloads(), c.doctor(), c.supervise())
	root.Version = version
	root.Long = "Development virtual machines from cloud images.\n\n" + exitHelp
	root.Example = `  ccloudvm setup                  # once, installs what is missing
  ccloudvm create debian-12       # a minute or two later there is a machine
  ccloudvm connect                # a shell in it
  ccloudvm delete debian-12`
	return root
}

// printing adds the flags of results, which are looked at before anything is done.
func (c *command) printing(command *cobra.Command) *cobra.Command {
	c.output.Flags(command.Flags())
	if err := command.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(terminal.Formats(), cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err) // there is no such flag: a slip of the program
	}
	command.PreRunE = func(*cobra.Command, []string) error { return c.output.Check() }
	return command
}

// manager assembles everything that the verbs work with.
func (c *command) manager() (*instance.Manager, error) {
	caller := instance.CallerOfProcess()
	layout := instance.DefaultLayout(os.Getenv, caller.Home)
	store, err := image.Open("")
	if err != nil {
		return nil, err
	}
	embedded, err := fs.Sub(workloads.Files, "ccloudvm")
	if err != nil {
		return nil, err
	}
	program := caller.Program
	return &instance.Manager{
		Layout:    layout,
		Workloads: workload.Finder{Dirs: workload.Directories(os.Getenv, caller.Home), Embedded: embedded},
		Caller:    caller,
		Images:    store,
		Prober:    prober(layout),
		Supervise: func(name, id string) *exec.Cmd { return exec.Command(program, "supervise", "--id", id, name) },
		Log:       c.log(),
	}, nil
}

func prober(layout instance.Layout) qemu.Prober { return qemu.Prober{CacheDir: layout.Cache} }

func (c *command) log() *slog.Logger { return slog.New(slog.NewTextHandler(c.streams.Err, nil)) }

// one is the instance that a verb with an optional name is about.
func (c *command) one(args []string) (*instance.Manager, string, error) {
	m, err := c.manager()
	if err != nil {
		return nil, "", err
	}
	name := ""
	if len(args) > 0 {
		name = args[0]
	}
	name, err = m.Resolve(name)
	return m, name, err
}

// supervise is the process that stays with a running instance.
func (c *command) supervise() *cobra.Command {
	var id string
	command := &cobra.Command{
		Use: "supervise NAME", Hidden: true, Short: "Stay with an instance until it ends", Args: terminal.Arguments("NAME"),
		RunE: func(command *cobra.Command, args []string) error {
			layout := instance.DefaultLayout(os.Getenv, instance.CallerOfProcess().Home)
			return instance.Supervise(command.Context(), layout, prober(layout), args[0], id, c.log())
		},
	}
	command.Flags().StringVar(&id, "id", "", "of this run of the instance")
	return command
}
