package cli

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/ciaocloud/ciao/ccloudvm"
	"github.com/ciaocloud/ciao/ccloudvm/guest"
	"github.com/ciaocloud/ciao/ccloudvm/instance"
	"github.com/ciaocloud/ciao/terminal"
)

func (c *command) connect() *cobra.Command {
	return &cobra.Command{
		Use: "connect [NAME]", Aliases: []string{"shell", "ssh"}, Short: "Open a shell in an instance", Args: terminal.Between(0, 1),
		ValidArgsFunction: c.completeInstance,
		RunE: func(command *cobra.Command, args []string) error {
			m, name, err := c.one(args)
			if err != nil {
				return err
			}
			_, interactive := isTerminal(c.streams.In)
			return c.inGuest(command.Context(), m, name, guest.Command{}, interactive)
		},
	}
}

// running are the flags of run.
type running struct {
	tty     bool
	workdir string
	env     []string
}

func (c *command) run() *cobra.Command {
	var o running
	command := &cobra.Command{
		Use: "run [NAME] -- COMMAND [ARGUMENT…]", Aliases: []string{"exec"}, Short: "Run a command in an instance",
		Long: "Run a command in an instance. Each argument reaches it exactly as it is. Inside a shared directory the command runs in the\n" +
			"same directory of the guest, otherwise in the user's home.",
		DisableFlagsInUseLine: true, ValidArgsFunction: c.completeInstance,
		RunE: func(command *cobra.Command, words []string) error {
			return c.doRun(command.Context(), words, command.ArgsLenAtDash(), o)
		},
	}
	flags := command.Flags()
	flags.BoolVarP(&o.tty, "tty", "t", false, "give the command a terminal")
	flags.StringVarP(&o.workdir, "workdir", "w", "", "`DIRECTORY` in the guest")
	flags.StringArrayVarP(&o.env, "env", "e", nil, "set a variable: `NAME=VALUE`")
	return command
}

func (c *command) doRun(ctx context.Context, words []string, dash int, o running) error {
	cmd, err := o.command()
	if err != nil {
		return err
	}
	m, err := c.manager()
	if err != nil {
		return err
	}
	var name string
	if name, cmd.Argv, err = target(m, words, dash); err != nil {
		return err
	}
	if cmd.Dir == "" {
		if cmd.Dir, err = sharedDir(ctx, m, name); err != nil {
			return err
		}
	}
	return c.inGuest(ctx, m, name, cmd, o.tty)
}

func (o running) command() (guest.Command, error) {
	cmd := guest.Command{Dir: o.workdir, Env: map[string]string{}}
	for _, pair := range o.env {
		key, value, ok := strings.Cut(pair, "=")
		if !ok || key == "" {
			return cmd, terminal.Usage("--env %s: it is NAME=VALUE", pair)
		}
		cmd.Env[key] = value
	}
	return cmd, nil
}

// target tells the instance from the command: they stand on both sides of "--", which dash counts the words before; it is -1 when
// there is none. Then the command can have no flags, and a first word that is an instance is one.
func target(m *instance.Manager, words []string, dash int) (name string, argv []string, err error) {
	if dash < 0 {
		dash = 0
		if names, _ := m.Names(); len(words) > 0 && slices.Contains(names, words[0]) {
			dash = 1
		}
	}
	switch {
	case dash > 1:
		return "", nil, terminal.Usage("name one instance before the --")
	case len(words) == dash:
		return "", nil, terminal.Usage("say what to run: ccloudvm run [NAME] -- COMMAND")
	}
	name, err = m.Resolve(strings.Join(words[:dash], ""))
	return name, words[dash:], err
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
func (c *command) inGuest(ctx context.Context, m *instance.Manager, name string, cmd guest.Command, interactive bool) error {
	client, err := m.Enter(ctx, name)
	if err != nil {
		return err
	}
	defer client.Close()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = c.streams.In, c.streams.Out, c.streams.Err
	if interactive {
		restore, err := c.handOver(ctx, &cmd)
		if err != nil {
			return err
		}
		defer restore()
	}
	err = client.Run(ctx, cmd)
	var exit *guest.ExitError
	switch {
	case errors.As(err, &exit):
		return terminal.Silent(err)
	case err != nil && ctx.Err() == nil:
		return &ccloudvm.Error{Class: ccloudvm.ErrGuest, Text: err.Error(), Cause: err}
	}
	return err
}

// handOver hands the terminal over to the guest: raw, with its type and its size, also when that changes.
func (c *command) handOver(ctx context.Context, cmd *guest.Command) (restore func(), err error) {
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

func (c *command) copy() *cobra.Command {
	var recursive, toHost bool
	command := &cobra.Command{
		Use: "copy [NAME] SOURCE DESTINATION", Aliases: []string{"cp"}, Short: "Copy files into an instance, or out of it",
		Args: terminal.Between(2, 3, "SOURCE", "DESTINATION"), ValidArgsFunction: c.completeCopied,
		RunE: func(command *cobra.Command, words []string) error {
			return c.doCopy(command.Context(), words, recursive, toHost)
		},
	}
	command.Flags().BoolVarP(&recursive, "recursive", "r", false, "copy directories")
	command.Flags().BoolVarP(&toHost, "to-host", "t", false, "SOURCE is in the guest, DESTINATION on the host")
	return command
}

func (c *command) doCopy(ctx context.Context, words []string, recursive, toHost bool) error {
	m, name, err := c.one(words[:len(words)-2])
	if err != nil {
		return err
	}
	client, err := m.Enter(ctx, name)
	if err != nil {
		return err
	}
	defer client.Close()
	copyFiles := client.Upload
	if toHost {
		copyFiles = client.Download
	}
	err = copyFiles(ctx, words[len(words)-2], words[len(words)-1], guest.CopyOptions{Recursive: recursive})
	switch {
	case errors.Is(err, guest.ErrIsDirectory) || errors.Is(err, os.ErrNotExist):
		return &ccloudvm.Error{Class: ccloudvm.ErrInvalid, Text: err.Error(), Cause: err}
	case err != nil && ctx.Err() == nil:
		return &ccloudvm.Error{Class: ccloudvm.ErrGuest, Text: err.Error(), Cause: err}
	}
	return err
}
