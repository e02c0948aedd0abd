package cli

import (
	"cmp"
	"context"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/ciaocloud/ciao/cluster/daemon"
	"github.com/ciaocloud/ciao/terminal"
)

// ssntp looks at the protocol of the daemons, on the machine of the scheduler.
func (s *session) ssntp() *cobra.Command {
	var file string
	tap := &cobra.Command{
		Use: "tap", Args: terminal.Arguments(),
		Short: "Show the frames that pass through the scheduler on this machine, until Ctrl-C",
		RunE: func(command *cobra.Command, _ []string) error {
			if err := s.output.Check(); err != nil {
				return err
			}
			cluster, err := loadCluster(file)
			if err != nil {
				return err
			}
			stream := terminal.NewStream(command.OutOrStdout(), s.output, tapColumns)
			for record, err := range daemon.Tap(command.Context(), cluster.Scheduler) {
				if err != nil {
					return err
				}
				if record.Missed > 0 {
					fmt.Fprintf(command.ErrOrStderr(), "%s came too fast and are not shown\n", plural(record.Missed, "frame"))
				}
				if err := stream.Write(record); err != nil {
					return err
				}
			}
			return terminal.Silent(context.Canceled) // Ctrl-C is how it ends
		},
	}
	group := terminal.Group("ssntp", "Look at the protocol of the daemons", s.printing(tap))
	configFlag(group.PersistentFlags(), &file)
	return group
}

var tapColumns = []column[daemon.TapRecord]{
	{Title: "time", Value: func(r daemon.TapRecord) string { return r.Time.Local().Format("15:04:05.000000") }},
	{Title: "from", Value: func(r daemon.TapRecord) string { return r.From }},
	{Title: "roles", Value: func(r daemon.TapRecord) string { return r.Roles }},
	{Title: "to", Value: func(r daemon.TapRecord) string { return cmp.Or(r.To, "all") }},
	{Title: "operand", Value: func(r daemon.TapRecord) string { return r.Operand }},
	{Title: "bytes", Value: func(r daemon.TapRecord) string { return strconv.Itoa(r.Bytes) }},
}
