package cli

import (
	"cmp"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ciaocloud/ciao/cluster/simulation"
	"github.com/ciaocloud/ciao/terminal"
)

// simulate measures the cluster's own daemons in this process; it needs no cluster.
func simulate() *cobra.Command {
	config := simulation.Config{}
	var output terminal.Output
	verbose := false
	command := &cobra.Command{
		Use: "simulate", Short: "Measure the real daemons with simulated instances, all in this process", Args: terminal.Arguments(),
		Example: `  ciao simulate --nodes 1000 --instances 10000 --tenants 40
  ciao simulate --nodes 20 --instances 200 --start-delay 1ms-1s --failures 0.1 -o json
  ciao simulate --nodes 1000 --instances 10000 --tenants 40 --disconnect 3s`,
		RunE: func(command *cobra.Command, _ []string) error {
			if err := output.Check(); err != nil {
				return err
			}
			if verbose {
				config.Logger = slog.New(slog.NewTextHandler(command.ErrOrStderr(), nil))
			}
			report, err := simulation.Run(command.Context(), config)
			if err != nil {
				return err
			}
			if err := terminal.Show(command.OutOrStdout(), output, report, simulationColumns); err != nil {
				return err
			}
			return simulated(report)
		},
	}
	flags := command.Flags()
	flags.IntVar(&config.Nodes, "nodes", 2, "how many nodes run instances")
	flags.IntVar(&config.Instances, "instances", 4, "how many instances the tenants create")
	flags.IntVar(&config.Tenants, "tenants", 1, "how many tenants share them evenly")
	flags.TextVar(&config.StartDelay, "start-delay", simulation.Delay{}, "how long an instance takes to start: 1ms, or from 1ms to 1s as 1ms-1s")
	flags.Float64Var(&config.Failures, "failures", 0, "share of starts that fail, from 0 to less than 1; such an instance goes to another node")
	flags.Uint64Var(&config.Seed, "seed", 1, "decides delays and failures")
	flags.DurationVar(&config.Disconnect, "disconnect", 0, "cut the connections of all nodes at once, so long after the first request, and measure until all are back")
	flags.Float64Var(&config.TimeScale, "time-scale", 1, "multiplies the daemons' deadlines, for a machine that has much else to do")
	flags.BoolVar(&config.Memory, "memory", false, "keep the store in memory, not in an embedded etcd")
	flags.BoolVar(&verbose, "verbose", false, "log what the daemons say")
	output.Flags(flags)
	return command
}

// simulated is an error when not all instances came to run.
func simulated(report simulation.Report) error {
	if report.Failed == 0 {
		return nil
	}
	return fmt.Errorf("%d of %d instances have failed for good; `--verbose` shows why", report.Failed, report.Failed+report.Active)
}

var simulationColumns = []column[simulation.Report]{
	{Title: "active", Value: func(r simulation.Report) string { return fmt.Sprint(r.Active) }},
	{Title: "failed", Value: func(r simulation.Report) string { return fmt.Sprint(r.Failed) }},
	{Title: "refused", Value: func(r simulation.Report) string { return fmt.Sprint(r.Refused) }},
	{Title: "nodes connected", Value: func(r simulation.Report) string { return r.Connected.String() }},
	{Title: "api answered", Value: func(r simulation.Report) string { return r.Answered.String() }},
	{Title: "total", Value: func(r simulation.Report) string { return r.Total.String() }},
	{Title: "placed", Value: func(r simulation.Report) string { return r.Placed.String() }},
	{Title: "started", Value: func(r simulation.Report) string { return r.Started.String() }},
	{Title: "activated", Value: func(r simulation.Report) string { return r.Activated.String() }},
	{Title: "whole", Value: func(r simulation.Report) string { return r.Whole.String() }},
	{Title: "processor", Value: func(r simulation.Report) string { return r.Cost.CPU.String() }},
	{Title: "commits", Value: func(r simulation.Report) string { return fmt.Sprintf("%d, busy %s", r.Cost.Commits, r.Cost.CommitBusy) }},
	{Title: "sent again", Value: func(r simulation.Report) string {
		return strings.TrimSuffix(fmt.Sprintf("%d: %s", r.Cost.Retries, counts(r.Cost.Repeated)), ": ")
	}},
	{Title: "nodes asked", Value: func(r simulation.Report) string {
		return fmt.Sprintf("%d times what became of starts", r.Cost.Questions)
	}},
	{Title: "storm", Value: func(r simulation.Report) string { return r.Storm.String() }},
	{Title: "frames sent", Value: func(r simulation.Report) string { return counts(r.Cost.Sent) }},
	{Title: "frames received", Value: func(r simulation.Report) string { return counts(r.Cost.Received) }},
	{Title: "heap", Value: func(r simulation.Report) string {
		return fmt.Sprintf("%d MiB, before %d MiB", r.Cost.HeapMiB, r.Cost.NodesMiB)
	}},
	{Title: "resident", Value: func(r simulation.Report) string { return fmt.Sprintf("%d MiB at most", r.Cost.PeakMiB) }},
	{Title: "goroutines", Value: func(r simulation.Report) string { return fmt.Sprint(r.Cost.Goroutines) }},
}

// counts lists numbers by name, largest first.
func counts(numbers map[string]uint64) string {
	names := slices.SortedFunc(maps.Keys(numbers), func(a, b string) int {
		return cmp.Or(cmp.Compare(numbers[b], numbers[a]), strings.Compare(a, b))
	})
	for i, name := range names {
		names[i] = fmt.Sprintf("%d %s", numbers[name], name)
	}
	return strings.Join(names, ", ")
}
