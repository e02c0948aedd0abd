package cli

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ciaocloud/ciao/ccloudvm"
	"github.com/ciaocloud/ciao/ccloudvm/guest"
	"github.com/ciaocloud/ciao/terminal"
)

// need is a program that ccloudvm calls, and the package that brings it, by package manager.
type need struct {
	program string
	why     string
	apt     string
	dnf     string
	pacman  string
}

func needs() []need {
	return []need{
		{"qemu-system-x86_64", "runs the virtual machines", "qemu-system-x86", "qemu-system-x86-core", "qemu-system-x86"},
		{"qemu-img", "makes their disks", "qemu-utils", "qemu-img", "qemu-img"},
		{"mmdebstrap", "builds images where none can be downloaded", "mmdebstrap", "mmdebstrap", "mmdebstrap"},
		{"mke2fs", "writes the file systems of built images", "e2fsprogs", "e2fsprogs", "e2fsprogs"},
		{"newuidmap", "lets ordinary users build images", "uidmap", "shadow-utils", "shadow"},
	}
}

// packageManager is a way to install packages.
type packageManager struct {
	program string
	install []string // words before the packages
	refresh []string // to be called first; may be empty
	name    func(need) string
}

func packageManagers() []packageManager {
	return []packageManager{
		{"apt-get", []string{"apt-get", "install", "-y", "--no-install-recommends"}, []string{"apt-get", "update"}, func(n need) string { return n.apt }},
		{"dnf", []string{"dnf", "install", "-y"}, nil, func(n need) string { return n.dnf }},
		{"pacman", []string{"pacman", "-S", "--needed", "--noconfirm"}, nil, func(n need) string { return n.pacman }},
	}
}

func (c *command) setup() *cobra.Command {
	var dryRun bool
	command := &cobra.Command{
		Use: "setup", Short: "Install what ccloudvm needs on this machine (the only verb that uses sudo)", Args: terminal.Arguments(),
		RunE: func(command *cobra.Command, _ []string) error { return c.doSetup(command.Context(), dryRun) },
	}
	command.Flags().BoolVar(&dryRun, "dry-run", false, "only say what would be done")
	return command
}

func (c *command) doSetup(ctx context.Context, dryRun bool) error {
	missing := slices.DeleteFunc(needs(), func(n need) bool { return found(n.program) })
	if len(missing) == 0 {
		fmt.Fprintln(c.streams.Err, "Everything is installed already.")
		return nil
	}
	i := slices.IndexFunc(packageManagers(), func(p packageManager) bool { return found(p.program) })
	if i < 0 {
		var names []string
		for _, n := range missing {
			names = append(names, n.program)
		}
		return &ccloudvm.Error{Class: ccloudvm.ErrHost,
			Text: "there is neither apt nor dnf nor pacman here: install these programs yourself: " + strings.Join(names, ", ")}
	}
	manager := packageManagers()[i]
	install := slices.Clone(manager.install)
	for _, n := range missing {
		fmt.Fprintf(c.streams.Err, "%s is missing: it %s\n", n.program, n.why)
		install = append(install, manager.name(n))
	}
	for _, argv := range [][]string{manager.refresh, install} {
		if err := c.asRoot(ctx, argv, dryRun); err != nil {
			return err
		}
	}
	return nil
}

// asRoot runs a command as root, by sudo if need be, and says so.
func (c *command) asRoot(ctx context.Context, argv []string, dryRun bool) error {
	if len(argv) == 0 {
		return nil
	}
	if os.Geteuid() != 0 {
		argv = append([]string{"sudo"}, argv...)
	}
	fmt.Fprintln(c.streams.Err, "+ "+guest.Quote(argv...))
	if dryRun {
		return nil
	}
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = c.streams.In, c.streams.Err, c.streams.Err
	if err := cmd.Run(); err != nil {
		return &ccloudvm.Error{Class: ccloudvm.ErrHost, Text: fmt.Sprintf("%s failed: %v", strings.Join(argv, " "), err), Cause: err}
	}
	return nil
}

// found looks for a program where PATH says and where administrators' programs lie, which ordinary users often have not on theirs.
func found(program string) bool {
	if _, err := exec.LookPath(program); err == nil {
		return true
	}
	for _, dir := range []string{"/usr/sbin/", "/sbin/"} {
		if info, err := os.Stat(dir + program); err == nil && !info.IsDir() {
			return true
		}
	}
	return false
}
