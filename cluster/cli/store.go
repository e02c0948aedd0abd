package cli

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/ciaocloud/ciao/cluster/client"
	"github.com/ciaocloud/ciao/cluster/daemon"
	"github.com/ciaocloud/ciao/terminal"
)

// savedStore says what a backup or a store holds.
type savedStore struct {
	Name     string    `json:"name"` // of the file, or where the store is
	Cluster  string    `json:"cluster"`
	Time     time.Time `json:"time"`
	Rows     int       `json:"rows"`
	Schema   int       `json:"schema"`
	Revision int64     `json:"revision"`
	Format   int       `json:"format"`
}

var savedStoreColumns = []column[savedStore]{
	{Title: "name", Value: func(s savedStore) string { return s.Name }},
	{Title: "cluster", Value: func(s savedStore) string { return s.Cluster }},
	{Title: "time", Value: func(s savedStore) string { return clock(s.Time) }},
	{Title: "rows", Value: func(s savedStore) string { return strconv.Itoa(s.Rows) }},
	{Title: "schema", Value: func(s savedStore) string { return strconv.Itoa(s.Schema) }},
	{Title: "revision", Value: func(s savedStore) string { return strconv.FormatInt(s.Revision, 10) }},
	{Title: "format", Value: func(s savedStore) string { return strconv.Itoa(s.Format) }},
}

// store works on the cluster's state as a whole. A running controller is asked for it; without one the store itself is opened, as the
// cluster file says, on the controller's machine and as its user.
func (s *session) store() *cobra.Command {
	return terminal.Group("store", "Back up, check and restore the cluster's state (operator)", s.backupStore(), s.checkStore(), s.restoreStore(), s.settleStore())
}

func (s *session) backupStore() *cobra.Command {
	var stopped bool
	var config string
	command := &cobra.Command{
		Use: "backup FILE", Short: "Save all that the controller knows to a new file, and check that", Args: terminal.Arguments("FILE"),
		Example: "  ciao store backup /var/backups/ciao-$(date +%F).backup",
	}
	live := s.operator(func(ctx context.Context, c *client.Client, args []string, streams terminal.Streams) error {
		found, err := daemon.SaveBackup(args[0], func(w io.Writer) error { return c.Snapshot(ctx, w) })
		if err != nil {
			return err
		}
		return s.showStore(streams.Out, args[0], found)
	})
	command.RunE = func(command *cobra.Command, args []string) error {
		if !stopped {
			return live(command, args)
		}
		return s.onStore(command, config, func(ctx context.Context, e daemon.Environment) error {
			found, err := e.BackupStore(ctx, args[0])
			if err != nil {
				return err
			}
			return s.showStore(command.OutOrStdout(), args[0], found)
		})
	}
	command.Flags().BoolVar(&stopped, "stopped", false, "the controller is stopped: read the store itself")
	configFlag(command.Flags(), &config)
	return s.printing(command)
}

func (s *session) checkStore() *cobra.Command {
	var config string
	command := &cobra.Command{
		Use: "check [FILE]", Short: "Read a backup, or the store of a stopped controller, to its end and prove that it can be used", Args: terminal.Between(0, 1),
	}
	command.RunE = func(command *cobra.Command, args []string) error {
		if len(args) == 0 {
			return s.onStore(command, config, func(ctx context.Context, e daemon.Environment) error {
				found, err := e.CheckStore(ctx)
				if err != nil {
					return err
				}
				return s.showStore(command.OutOrStdout(), e.StoreName(), found)
			})
		}
		if err := s.output.Check(); err != nil {
			return err
		}
		found, err := daemon.CheckBackup(command.Context(), args[0])
		if err != nil {
			return err
		}
		return s.showStore(command.OutOrStdout(), args[0], found)
	}
	configFlag(command.Flags(), &config)
	return s.printing(command)
}

func (s *session) restoreStore() *cobra.Command {
	var may daemon.Restoring
	var config string
	command := &cobra.Command{
		Use: "restore FILE", Short: "Make a backup all that the store of a stopped controller holds, wholly or not at all", Args: terminal.Arguments("FILE"),
	}
	command.RunE = func(command *cobra.Command, args []string) error {
		return s.onStore(command, config, func(ctx context.Context, e daemon.Environment) error {
			found, kept, err := e.RestoreStore(ctx, args[0], may)
			if kept != "" {
				fmt.Fprintf(command.ErrOrStderr(), "what it held is kept in %s\n", kept)
			}
			if err != nil {
				return err
			}
			fmt.Fprintf(command.ErrOrStderr(), "restored to %s; start the controller, see `ciao list events --admin`, and end with `ciao store settle`\n", e.StoreName())
			return s.showStore(command.OutOrStdout(), args[0], found)
		})
	}
	command.Flags().BoolVar(&may.Replace, "force", false, "replace what the store holds")
	command.Flags().BoolVar(&may.OtherCluster, "other-cluster", false, "take the backup of a cluster of another name")
	configFlag(command.Flags(), &config)
	return s.printing(command)
}

func (s *session) settleStore() *cobra.Command {
	return &cobra.Command{
		Use: "settle", Short: "After a restore, have nodes delete what the restored store does not know", Args: terminal.Arguments(),
		RunE: s.operator(func(ctx context.Context, c *client.Client, _ []string, _ terminal.Streams) error {
			return c.SettleStore(ctx)
		}),
	}
}

// onStore does what the controller's machine is needed for.
func (s *session) onStore(command *cobra.Command, file string, do func(context.Context, daemon.Environment) error) error {
	if err := s.output.Check(); err != nil {
		return err
	}
	cluster, err := loadCluster(file)
	if err != nil {
		return err
	}
	return do(command.Context(), daemon.Environment{Config: cluster, Log: command.ErrOrStderr()})
}

func (s *session) showStore(w io.Writer, name string, found daemon.Saved) error {
	return terminal.Show(w, s.output, savedStore{
		Name: name, Cluster: found.Cluster, Time: found.Time, Rows: found.Rows, Schema: found.Schema, Revision: int64(found.Revision), Format: found.Format,
	}, savedStoreColumns)
}
