package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"

	urfave "github.com/urfave/cli/v2"

	"github.com/ciaocloud/ciao/ccloudvm/image"
	"github.com/ciaocloud/ciao/ccloudvm/instance"
	"github.com/ciaocloud/ciao/ccloudvm/qemu"
	"github.com/ciaocloud/ciao/ccloudvm/workload"
	"github.com/ciaocloud/ciao/workloads"
)

// Streams are what the command reads and writes.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
}

// Run runs the command and returns its exit code. args[0] is the program's name. SIGINT and SIGTERM end it, with everything it
// had begun undone.
func Run(args []string, streams Streams) int {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	go func() {
		select {
		case <-signals:
			signal.Stop(signals) // a second one ends the process at once
			cancel(errInterrupted)
		case <-ctx.Done():
		}
	}()
	c := &command{streams: streams}
	err := c.app().RunContext(ctx, c.arrange(args))
	if err != nil && exitIsNews(err) {
		fmt.Fprintln(streams.Err, "ccloudvm: "+err.Error())
	}
	return exitCode(err)
}

// exitIsNews tells whether an error has to be shown: the exit code of a program in the guest has had its say.
func exitIsNews(err error) bool {
	var quiet silent
	return !errors.As(err, &quiet)
}

// silent is an error that has been shown already, or needs no words.
type silent struct{ error }

func (s silent) Unwrap() error { return s.error }

// command is one call of the program.
type command struct {
	streams Streams
}

func (c *command) app() *urfave.App {
	return &urfave.App{
		Name:                      "ccloudvm",
		Usage:                     "development virtual machines from cloud images",
		Description:               "ccloudvm create debian-12, then ccloudvm connect.\n" + exitHelp,
		HideVersion:               true,
		EnableBashCompletion:      true,
		Suggest:                   true,
		DisableSliceFlagSeparator: true,
		Writer:                    c.streams.Out,
		ErrWriter:                 c.streams.Err,
		ExitErrHandler:            func(*urfave.Context, error) {}, // Run does
		OnUsageError:              usageError,
		Action: func(ctx *urfave.Context) error {
			if name := ctx.Args().First(); name != "" {
				return usage(fmt.Sprintf("there is no command %q: %s", name, c.nearVerbs(name)))
			}
			return urfave.ShowAppHelp(ctx)
		},
		Commands: c.commands(),
	}
}

func (c *command) commands() []*urfave.Command {
	list := []*urfave.Command{
		c.setup(), c.create(), c.connect(), c.run(), c.copy(), c.status(), c.instances(), c.start(), c.stop(), c.quit(), c.delete(),
		c.logs(), c.workloads(), c.doctor(), c.completion(), c.supervise(),
	}
	for _, each := range list {
		each.OnUsageError = usageError
	}
	return list
}

func (c *command) nearVerbs(name string) string {
	var verbs []string
	for _, each := range c.commands() {
		if !each.Hidden {
			verbs = append(verbs, each.Name)
		}
	}
	if near := workload.Nearest(name, verbs); len(near) > 0 {
		return "did you mean " + strings.Join(near, " or ") + "?"
	}
	return "there are " + strings.Join(verbs, ", ")
}

func usageError(_ *urfave.Context, err error, _ bool) error {
	return usage(err.Error() + " (see --help)")
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

// supervise is the process that stays with a running instance.
func (c *command) supervise() *urfave.Command {
	return &urfave.Command{
		Name: "supervise", Hidden: true, Usage: "stay with an instance until it ends", ArgsUsage: "NAME",
		Flags: []urfave.Flag{&urfave.StringFlag{Name: "id"}},
		Action: func(ctx *urfave.Context) error {
			layout := instance.DefaultLayout(os.Getenv, instance.CallerOfProcess().Home)
			return instance.Supervise(ctx.Context, layout, prober(layout), ctx.Args().First(), ctx.String("id"), c.log())
		},
	}
}
