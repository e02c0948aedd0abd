package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ciaocloud/ciao/cluster/api"
	"github.com/ciaocloud/ciao/cluster/client"
	"github.com/ciaocloud/ciao/terminal"
)

func (s *session) trace() *cobra.Command {
	return terminal.Group("trace", "Show the ways of commands through the cluster",
		s.printing(&cobra.Command{
			Use: instances.singular() + " " + instances.argument, Short: "Show which way the latest commands to an instance took, and where the time went",
			Long: `Show which way the latest commands to an instance took from the controller to its node. Behind each daemon stands how long it kept the
command, and between two of them how long it was under way, which compares the clocks of two machines. The controller remembers the
latest 4096 commands to all instances, until it ends; an operator may ask for an instance that is gone, by its id.`,
			Args: terminal.Arguments(instances.argument), ValidArgsFunction: s.complete(instances),
			RunE: s.user(func(ctx context.Context, c *client.Client, args []string, streams terminal.Streams) error {
				items, err := c.Traces(ctx, args[0])
				if err != nil {
					return instances.hint(ctx, c, args[0], err)
				}
				return terminal.List(streams.Out, s.output, items, traceColumns)
			}),
		}))
}

var traceColumns = []column[api.Trace]{
	{Title: "time", Value: func(t api.Trace) string { return clock(t.Hops[0].Received) }},
	{Title: "command", Value: func(t api.Trace) string { return t.Command }},
	{Title: "generation", Value: func(t api.Trace) string { return fmt.Sprint(t.Generation) }},
	{Title: "total", Value: func(t api.Trace) string { return short(t.Hops[len(t.Hops)-1].Received.Sub(t.Hops[0].Received)) }},
	{Title: "way", Value: way},
}

// way is such as "controller 12µs → 85µs → scheduler 30µs → 90µs → node-1".
func way(t api.Trace) string {
	var parts []string
	for i, hop := range t.Hops {
		if i > 0 {
			parts = append(parts, short(hop.Received.Sub(t.Hops[i-1].Sent)))
		}
		part := hop.Name
		if !hop.Sent.IsZero() {
			part += " " + short(hop.Sent.Sub(hop.Received))
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, " → ")
}

func short(d time.Duration) string { return d.Round(time.Microsecond).String() }
