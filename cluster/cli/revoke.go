package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/ciaocloud/ciao/cluster/daemon"
	"github.com/ciaocloud/ciao/terminal"
)

// revoke works on the files of the machine that has the cluster's authority, and asks no controller: that may be what was stolen.
func revoke() *cobra.Command {
	var file string
	certificate := &cobra.Command{
		Use: "certificate FILE|SERIAL…", Aliases: []string{"certificates"}, Args: terminal.Between(1, -1, "FILE|SERIAL"),
		Short: "Revoke certificates of users and daemons, where the cluster's authority is",
		RunE: func(command *cobra.Command, args []string) error {
			cluster, err := loadCluster(file)
			if err != nil {
				return err
			}
			if err := daemon.Revoke(cluster.PKI, args); err != nil {
				return err
			}
			fmt.Fprintf(command.ErrOrStderr(), "%s revoked in %s; a controller that has this file tells the scheduler and the nodes within seconds\n", plural(len(args), "certificate"), cluster.PKI.Revoked)
			return nil
		},
	}
	group := terminal.Group("revoke", "Revoke certificates", certificate)
	configFlag(group.PersistentFlags(), &file)
	return group
}
