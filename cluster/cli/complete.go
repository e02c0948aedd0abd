package cli

import (
	"context"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/ciaocloud/ciao/cluster/client"
)

// completeIn is how long a shell waits for names.
const completeIn = 2 * time.Second

// namesOf lists the names that an argument may have.
type namesOf func(context.Context, *client.Client) ([]string, error)

func instanceNames(ctx context.Context, c *client.Client) ([]string, error) {
	items, err := c.Instances(ctx, client.InstanceFilter{})
	names := make([]string, len(items))
	for i, item := range items {
		names[i] = item.Name
	}
	return names, err
}

func workloadNames(ctx context.Context, c *client.Client) ([]string, error) {
	items, err := c.Workloads(ctx)
	names := make([]string, len(items))
	for i, item := range items {
		names[i] = item.Name
	}
	return names, err
}

// complete asks the cluster for names; without one there are none, and no error disturbs the line.
func (s *session) complete(names namesOf) cobra.CompletionFunc {
	return func(command *cobra.Command, given []string, _ string) ([]string, cobra.ShellCompDirective) {
		ctx, cancel := context.WithTimeout(command.Context(), completeIn)
		defer cancel()
		c, err := s.client(false)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		defer c.Close()
		known, err := names(ctx, c)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return slices.DeleteFunc(known, func(name string) bool { return slices.Contains(given, name) }), cobra.ShellCompDirectiveNoFileComp
	}
}
