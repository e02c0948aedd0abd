package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/api"
	"github.com/ciaocloud/ciao/cluster/client"
	"github.com/ciaocloud/ciao/terminal"
)

func (s *session) createSSHKey() *cobra.Command {
	var name string
	var stdin bool
	command := &cobra.Command{
		Use: "ssh-key NAME", Aliases: []string{"ssh-keys"}, Short: "Keep a public key, for virtual machines that are created with it", Args: terminal.Arguments("NAME"),
		Example: `  ciao create ssh-key laptop --file ~/.ssh/id_ed25519.pub
  ssh-add -L | head -n 1 | ciao create ssh-key laptop --stdin
  ciao create instance tiny --ssh-key laptop`,
		RunE: s.user(func(ctx context.Context, c *client.Client, args []string, streams terminal.Streams) error {
			content, err := readKey(name, stdin, streams.In)
			if err != nil {
				return err
			}
			created, err := c.CreateSSHKey(ctx, api.CreateSSHKey{Name: args[0], Key: content})
			if err != nil {
				return err
			}
			return terminal.Show(streams.Out, s.output, created, sshKeyColumns)
		}),
	}
	command.Flags().StringVar(&name, "file", "", "file with the public key")
	command.Flags().BoolVar(&stdin, "stdin", false, "read the public key from standard input")
	return s.printing(command)
}

// maxKeyFile bounds what is read of what may be no key at all, in bytes.
const maxKeyFile = 64 << 10

// readKey reads a public key, and looks at it here: a private one must not leave this machine.
func readKey(name string, stdin bool, in io.Reader) (string, error) {
	if (name == "") == !stdin {
		return "", terminal.Usage("say where the public key is: --file ~/.ssh/id_ed25519.pub, or --stdin")
	}
	if !stdin {
		file, err := os.Open(name)
		if err != nil {
			return "", fmt.Errorf("%w: --file: %w", cluster.ErrInvalid, err)
		}
		defer file.Close()
		in = file
	}
	content, err := io.ReadAll(io.LimitReader(in, maxKeyFile))
	if err != nil {
		return "", fmt.Errorf("%w: read the public key: %w", cluster.ErrInvalid, err)
	}
	if _, _, err := cluster.ParseSSHKey(string(content)); err != nil {
		return "", err
	}
	return string(content), nil
}

// addKeys takes the values of --ssh-key: what may be the name of a key that the tenant keeps is one; everything else is a file.
func addKeys(request *api.CreateInstances, values []string) (err error) {
	var files []string
	for _, value := range values {
		if cluster.ValidName(value) {
			request.SSHKeyNames = append(request.SSHKeyNames, value)
		} else {
			files = append(files, value)
		}
	}
	request.SSHKeys, err = readKeys(files)
	return err
}

// hintCreate makes the error that something is not found say what is: the workload, or a key.
func hintCreate(ctx context.Context, c *client.Client, request api.CreateInstances, err error) error {
	if !errors.Is(err, cluster.ErrNotFound) {
		return err
	}
	for _, name := range request.SSHKeyNames {
		if strings.Contains(err.Error(), fmt.Sprintf("SSH key %q", name)) {
			if _, stat := os.Stat(name); stat == nil {
				return fmt.Errorf("%w; the file of that name is ./%s", err, name)
			}
			return sshKeys.hint(ctx, c, name, err)
		}
	}
	return workloads.hint(ctx, c, request.Workload, err)
}

// completeKeys completes names of keys, and files.
func (s *session) completeKeys(command *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
	return s.known(command, sshKeys, begun), cobra.ShellCompDirectiveDefault
}

var sshKeyColumns = []column[api.SSHKey]{
	{Title: "name", Value: func(k api.SSHKey) string { return k.Name }},
	{Title: "fingerprint", Value: func(k api.SSHKey) string { return k.Fingerprint }},
	{Title: "key", Value: func(k api.SSHKey) string { return k.Key }},
	{Title: "tenant", Value: func(k api.SSHKey) string { return k.Tenant }},
	{Title: "created", Value: func(k api.SSHKey) string { return clock(k.Created) }},
	{Title: "age", Value: func(k api.SSHKey) string { return age(k.Created) }},
	{Title: "id", Value: func(k api.SSHKey) string { return k.ID }},
}

var sshKeyList = terminal.Choose(sshKeyColumns, "name", "fingerprint", "age", "id")
