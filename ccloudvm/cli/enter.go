package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	urfave "github.com/urfave/cli/v2"
	"golang.org/x/term"

	"github.com/ciaocloud/ciao/ccloudvm"
	"github.com/ciaocloud/ciao/ccloudvm/guest"
	"github.com/ciaocloud/ciao/ccloudvm/instance"
)

const runVerb = "run"

func (c *command) connect() *urfave.Command {
	return &urfave.Command{
		Name: "connect", Aliases: []string{"shell", "ssh"}, Usage: "open a shell in an instance", ArgsUsage: "[NAME]",
		BashComplete: c.completeInstances,
		Action: func(ctx *urfave.Context) error {
			m, name, err := c.one(ctx)
			if err != nil {
				return err
			}
			_, terminal := isTerminal(c.streams.In)
			return c.inGuest(ctx.Context, m, name, guest.Command{}, terminal)
		},
	}
}

func (c *command) run() *urfave.Command {
	return &urfave.Command{
		Name: runVerb, Aliases: []string{"exec"}, Usage: "run a command in an instance", ArgsUsage: "[NAME] -- COMMAND [ARGUMENT…]",
		Description: "Each argument reaches the command exactly as it is. Inside a shared directory the command runs in the same directory\nof the guest, otherwise in the user's home.",
		Flags: []urfave.Flag{
			&urfave.BoolFlag{Name: "tty", Aliases: []string{"t"}, Usage: "give the command a terminal"},
			&urfave.StringFlag{Name: "workdir", Aliases: []string{"w"}, Usage: "`DIRECTORY` in the guest"},
			&urfave.StringSliceFlag{Name: "env", Aliases: []string{"e"}, Usage: "set a variable: `NAME=VALUE`"},
		},
		BashComplete: c.completeInstances,
		Action:       c.doRun,
	}
}

func (c *command) doRun(ctx *urfave.Context) error {
	m, err := c.manager()
	if err != nil {
		return err
	}
	name, argv, err := c.target(m, ctx.Args().Slice())
	if err != nil {
		return err
	}
	cmd := guest.Command{Argv: argv, Dir: ctx.String("workdir"), Env: map[string]string{}}
	for _, pair := range ctx.StringSlice("env") {
		key, value, ok := strings.Cut(pair, "=")
		if !ok || key == "" {
			return usage(fmt.Sprintf("--env %s: it is NAME=VALUE", pair))
		}
		cmd.Env[key] = value
	}
	if cmd.Dir == "" {
		if cmd.Dir, err = sharedDir(ctx.Context, m, name); err != nil {
			return err
		}
	}
	return c.inGuest(ctx.Context, m, name, cmd, ctx.Bool("tty"))
}

// target tells the instance from the command: they stand on both sides of "--". Without it, a first word that is an instance is one.
func (c *command) target(m *instance.Manager, words []string) (name string, argv []string, err error) {
	if at := slices.Index(words, separator); at >= 0 {
		if at > 1 {
			return "", nil, usage("name one instance before the --")
		}
		name, argv = strings.Join(words[:at], ""), words[at+1:]
		if len(argv) > 0 && argv[0] == separator { // arrange doubled it
			argv = argv[1:]
		}
	} else if names, _ := m.Names(); len(words) > 0 && slices.Contains(names, words[0]) {
		name, argv = words[0], words[1:]
	} else {
		argv = words
	}
	if len(argv) == 0 {
		return "", nil, usage("say what to run: ccloudvm run [NAME] -- COMMAND")
	}
	name, err = m.Resolve(name)
	return name, argv, err
}

// sharedDir is the working directory, if the guest sees it at the same path.
func sharedDir(ctx context.Context, m *instance.Manager, name string) (string, error) {
	i, err := m.Get(ctx, name)
	if err != nil {
		return "", err
	}
	dir := m.Caller.WorkDir
	for _, share := range i.Mounts {
		if rel, err := filepath.Rel(share.Path, dir); err == nil && filepath.IsLocal(rel) {
			return dir, nil
		}
	}
	return "", nil
}

// inGuest runs a command in a guest as if it ran here.
func (c *command) inGuest(ctx context.Context, m *instance.Manager, name string, cmd guest.Command, terminal bool) error {
	client, err := m.Enter(ctx, name)
	if err != nil {
		return err
	}
	defer client.Close()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = c.streams.In, c.streams.Out, c.streams.Err
	if terminal {
		restore, err := c.terminal(ctx, &cmd)
		if err != nil {
			return err
		}
		defer restore()
	}
	err = client.Run(ctx, cmd)
	var exit *guest.ExitError
	switch {
	case errors.As(err, &exit):
		return silent{err}
	case err != nil && ctx.Err() == nil:
		return &ccloudvm.Error{Class: ccloudvm.ErrGuest, Text: err.Error(), Cause: err}
	}
	return err
}

// terminal hands the terminal over to the guest: raw, with its type and its size, also when that changes.
func (c *command) terminal(ctx context.Context, cmd *guest.Command) (restore func(), err error) {
	in, ok := isTerminal(c.streams.In)
	cmd.Terminal = &guest.Terminal{Type: os.Getenv("TERM"), Window: guest.Window{Columns: 80, Rows: 24}}
	if !ok {
		return func() {}, nil
	}
	window := func() guest.Window {
		if s := terminalSize(in); s != nil {
			return guest.Window{Columns: s.Columns, Rows: s.Rows}
		}
		return cmd.Terminal.Window
	}
	cmd.Terminal.Window = window()
	state, err := term.MakeRaw(int(in.Fd()))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	changed := make(chan os.Signal, 1)
	signal.Notify(changed, syscall.SIGWINCH)
	resize := make(chan guest.Window)
	cmd.Terminal.Resize = resize
	go func() {
		for {
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
			select {
			case resize <- window():
			case <-ctx.Done():
				return
			}
		}
	}()
	return func() {
		signal.Stop(changed)
		cancel()
		term.Restore(int(in.Fd()), state)
	}, nil
}

func (c *command) copy() *urfave.Command {
	return &urfave.Command{
		Name: "copy", Aliases: []string{"cp"}, Usage: "copy files into an instance, or out of it", ArgsUsage: "[NAME] SOURCE DESTINATION",
		Flags: []urfave.Flag{
			&urfave.BoolFlag{Name: "recursive", Aliases: []string{"r"}, Usage: "copy directories"},
			&urfave.BoolFlag{Name: "to-host", Aliases: []string{"t"}, Usage: "SOURCE is in the guest, DESTINATION on the host"},
		},
		BashComplete: c.completeInstances,
		Action:       c.doCopy,
	}
}

func (c *command) doCopy(ctx *urfave.Context) error {
	words := ctx.Args().Slice()
	if len(words) == 2 {
		words = append([]string{""}, words...)
	}
	if len(words) != 3 {
		return usage("copy takes a source and a destination: ccloudvm copy [NAME] SOURCE DESTINATION")
	}
	m, err := c.manager()
	if err != nil {
		return err
	}
	name, err := m.Resolve(words[0])
	if err != nil {
		return err
	}
	client, err := m.Enter(ctx.Context, name)
	if err != nil {
		return err
	}
	defer client.Close()
	copyFiles := client.Upload
	if ctx.Bool("to-host") {
		copyFiles = client.Download
	}
	err = copyFiles(ctx.Context, words[1], words[2], guest.CopyOptions{Recursive: ctx.Bool("recursive")})
	switch {
	case errors.Is(err, guest.ErrIsDirectory) || errors.Is(err, os.ErrNotExist):
		return &ccloudvm.Error{Class: ccloudvm.ErrInvalid, Text: err.Error(), Cause: err}
	case err != nil && ctx.Err() == nil:
		return &ccloudvm.Error{Class: ccloudvm.ErrGuest, Text: err.Error(), Cause: err}
	}
	return err
}

// one is the instance that a verb with an optional name is about.
func (c *command) one(ctx *urfave.Context) (*instance.Manager, string, error) {
	if ctx.NArg() > 1 {
		return nil, "", usage(ctx.Command.Name + " takes one instance")
	}
	m, err := c.manager()
	if err != nil {
		return nil, "", err
	}
	name, err := m.Resolve(ctx.Args().First())
	return m, name, err
}
