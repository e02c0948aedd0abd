package cli

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ciaocloud/ciao/cluster/config"
	"github.com/ciaocloud/ciao/cluster/daemon"
	"github.com/ciaocloud/ciao/terminal"
)

// DefaultConfig is where daemons look for the cluster file.
const DefaultConfig = "/etc/ciao/cluster.yaml"

// run runs a daemon in the foreground until it is told to end; something else supervises it.
func run(version string) *cobra.Command {
	var file string
	group := terminal.Group("run", "Run a daemon of the cluster in the foreground")
	for _, role := range daemon.Roles() {
		group.AddCommand(&cobra.Command{
			Use: role.Name, Short: role.Summary, Args: terminal.Arguments(),
			RunE: func(command *cobra.Command, _ []string) error {
				cluster, err := loadCluster(file)
				if err != nil {
					return err
				}
				return role.Run(command.Context(), daemon.Environment{Config: cluster, Version: version, Log: command.ErrOrStderr()})
			},
		})
	}
	configFlag(group.PersistentFlags(), &file)
	return group
}

// EnvConfig names the cluster file, where it is not the default.
const EnvConfig = "CIAO_CONFIG"

func configFlag(flags *pflag.FlagSet, file *string) {
	flags.StringVar(file, "config", cmp.Or(os.Getenv(EnvConfig), DefaultConfig), "the cluster file ("+EnvConfig+")")
}

// loadCluster reads the cluster file of commands that work on the machine they run on.
func loadCluster(file string) (config.Cluster, error) {
	cluster, err := config.Load(file)
	if errors.Is(err, fs.ErrNotExist) {
		return cluster, fmt.Errorf("there is no cluster file: %w; name one with --config, or let `singlevm setup` make one", err)
	}
	return cluster, err
}
