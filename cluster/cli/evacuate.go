package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/api"
	"github.com/ciaocloud/ciao/cluster/client"
	"github.com/ciaocloud/ciao/terminal"
)

func (s *session) evacuate() *cobra.Command {
	var lost bool
	var wait waitFlags
	command := s.printing(&cobra.Command{
		Use: "evacuate NODE", Short: "Move everything off a node, and nothing new onto it, until it is restored (operator)",
		Args: terminal.Arguments(nodes.argument), ValidArgsFunction: s.complete(nodes),
		RunE: s.operator(func(ctx context.Context, c *client.Client, args []string, streams terminal.Streams) error {
			node, err := c.EvacuateNode(ctx, args[0], lost)
			if err != nil {
				return nodes.hint(ctx, c, args[0], err)
			}
			if wait.wait {
				if node, err = wait.untilEmpty(ctx, c, streams, node.ID); err != nil {
					return err
				}
			}
			if err := staying(node); err != nil && wait.wait {
				return err
			} else if err != nil {
				fmt.Fprintln(streams.Err, err)
			}
			return terminal.Show(streams.Out, s.output, node, nodeColumns)
		}),
	})
	command.Flags().BoolVar(&lost, "lost", false, "the node is gone for good: start its instances elsewhere although it cannot say that they do not run")
	wait.add(command.Flags())
	return command
}

// maxNamed is how many of those that stay are named in a message.
const maxNamed = 5

// staying says what cannot leave a node, why, and what can be done about it; nil when everything can.
func staying(node api.Node) error {
	if len(node.Staying) == 0 {
		return nil
	}
	var named []string
	for _, stay := range node.Staying[:min(maxNamed, len(node.Staying))] {
		named = append(named, fmt.Sprintf("%s of tenant %s stays: %s", stay.Name, stay.Tenant, stay.Reason))
	}
	if more := len(node.Staying) - len(named); more > 0 {
		named = append(named, fmt.Sprintf("%d more stay, which `ciao show node -o json` names", more))
	}
	return fmt.Errorf("node %s: %w: %s; add or restore a node that will do, or delete what stays", node.Hostname, cluster.ErrConflict, strings.Join(named, "; "))
}

func (s *session) restore() *cobra.Command {
	return s.printing(&cobra.Command{
		Use: "restore NODE", Short: "Let an evacuated node take instances again (operator)",
		Args: terminal.Arguments(nodes.argument), ValidArgsFunction: s.complete(nodes),
		RunE: s.operator(func(ctx context.Context, c *client.Client, args []string, streams terminal.Streams) error {
			node, err := c.RestoreNode(ctx, args[0])
			if err != nil {
				return nodes.hint(ctx, c, args[0], err)
			}
			return terminal.Show(streams.Out, s.output, node, nodeColumns)
		}),
	})
}

// lookAgain is how often a node is looked at while it empties.
const lookAgain = 100 * time.Millisecond

// untilEmpty waits until nothing is recorded on a node, instances of the cluster itself included, but what stays.
func (w *waitFlags) untilEmpty(ctx context.Context, c *client.Client, streams terminal.Streams, id string) (api.Node, error) {
	ctx, cancel := context.WithTimeout(ctx, w.timeout)
	defer cancel()
	live := terminal.Interactive(streams.Err)
	for {
		node, err := c.Node(ctx, id)
		if err != nil && ctx.Err() == nil && !errors.Is(err, cluster.ErrUnavailable) { // a controller that restarts is waited for
			return api.Node{}, err
		}
		if err == nil && emptied(node) {
			if live {
				fmt.Fprint(streams.Err, "\r\x1b[K")
			}
			return node, nil
		}
		if err == nil && live {
			fmt.Fprintf(streams.Err, "\r\x1b[Kwaiting for %s to leave %s", plural(node.Instances, "instance"), node.Hostname)
		}
		select {
		case <-ctx.Done():
			return api.Node{}, fmt.Errorf("%w: node %s is not empty yet; `ciao list events` tells more", cluster.ErrTimeout, id)
		case <-time.After(lookAgain):
		}
	}
}

// emptied says whether nothing more will leave a node for now. What is allocated includes the cluster's own instances.
func emptied(node api.Node) bool {
	if len(node.Staying) > 0 {
		return node.State == cluster.NodeMaintenance && node.Instances <= len(node.Staying)
	}
	return node.Instances == 0 && node.VCPUsAllocated == 0 && node.MemoryMiBAllocated == 0
}
