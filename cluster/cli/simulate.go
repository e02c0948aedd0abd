package cli

import (
	"fmt"
	"log/slog"

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
  ciao simulate --nodes 20 --instances 200 --start-delay 1ms-1s --failures 0.1 -o json`,
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
			return terminal.Show(command.OutOrStdout(), output, report, simulationColumns)
		},
	}
	flags := command.Flags()
	flags.IntVar(&config.Nodes, "nodes", 2, "how many nodes run instances")
	flags.IntVar(&config.Instances, "instances", 4, "how many instances the tenants create")
	flags.IntVar(&config.Tenants, "tenants", 1, "how many tenants share them evenly")
	flags.TextVar(&config.StartDelay, "start-delay", simulation.Delay{}, "how long an instance takes to start: 1ms, or from 1ms to 1s as 1ms-1s")
	flags.Float64Var(&config.Failures, "failures", 0, "share of starts that fail, from 0 to 1; such an instance goes to another node")
	flags.Uint64Var(&config.Seed, "seed", 1, "decides delays and failures")
	flags.BoolVar(&config.Memory, "memory", false, "keep the store in memory, not in an embedded etcd")
	flags.BoolVar(&verbose, "verbose", false, "log what the daemons say")
	output.Flags(flags)
	return command
}

var simulationColumns = []column[simulation.Report]{
	{Title: "active", Value: func(r simulation.Report) string { return fmt.Sprint(r.Active) }},
	{Title: "failed", Value: func(r simulation.Report) string { return fmt.Sprint(r.Failed) }},
	{Title: "total", Value: func(r simulation.Report) string { return r.Total.String() }},
}
