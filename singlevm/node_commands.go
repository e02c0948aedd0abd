package singlevm

import (
	"context"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/ciaocloud/ciao/terminal"
)

// NodeStatus is how one node is.
type NodeStatus struct {
	Number   int    `json:"number"`
	Hostname string `json:"hostname"`
	ID       string `json:"id"`
	Daemon   string `json:"daemon"`
	Fault    fault  `json:"fault,omitempty"` // what was done to it
	State    string `json:"state"`           // what the cluster says of it
}

var nodeColumns = []terminal.Column[NodeStatus]{
	{Title: "node", Value: func(n NodeStatus) string { return strconv.Itoa(n.Number) }},
	{Title: "hostname", Value: func(n NodeStatus) string { return n.Hostname }},
	{Title: "id", Value: func(n NodeStatus) string { return n.ID }},
	{Title: "daemon", Value: func(n NodeStatus) string { return n.Daemon }},
	{Title: "state", Value: func(n NodeStatus) string { return n.State }},
	{Title: "fault", Value: func(n NodeStatus) string { return string(n.Fault) }},
}

func (c *commands) node() *cobra.Command {
	group := terminal.Group("node", "Break nodes and make them whole, add and remove them, to see what the cluster does",
		c.nodeList(), c.nodeAdd(), c.nodeRemove(),
		c.nodeFault("stop", "Pull a node's plug: launcher, CNCIs and running containers are gone at once, its network with them", stopped),
		c.nodeFault("freeze", "Let everything of a node stand still", frozen),
		c.nodeFault("partition", "Let no packet of a node through", partitioned),
		c.nodeHeal(),
	)
	group.Example = `  singlevm setup --nodes 3
  singlevm node partition 2      # ciao list nodes: after a while it is missing
  singlevm node heal 2`
	return group
}

func (c *commands) nodeList() *cobra.Command {
	var output terminal.Output
	command := &cobra.Command{
		Use: "list", Short: "List the nodes", Args: terminal.Arguments(),
		RunE: c.harness(func(ctx context.Context, s *Setup) error {
			if err := output.Check(); err != nil {
				return err
			}
			nodes, err := s.Nodes(ctx)
			if err != nil {
				return err
			}
			return terminal.List(c.streams.Out, output, nodes, nodeColumns)
		}),
	}
	output.Flags(command.Flags())
	return command
}

func (c *commands) nodeAdd() *cobra.Command {
	return &cobra.Command{
		Use: "add", Short: "Add a node, and wait until it is ready", Args: terminal.Arguments(),
		RunE: c.harness(func(ctx context.Context, s *Setup) error {
			if err := root(ctx); err != nil {
				return err
			}
			number, err := s.AddNode(ctx)
			if err != nil {
				return err
			}
			s.progress.say("Node %d is ready.", number)
			return nil
		}),
	}
}

func (c *commands) nodeRemove() *cobra.Command {
	var force bool
	command := c.onNode("remove", "Take a node away for good: what it has goes to others first", func(ctx context.Context, s *Setup, number int) error {
		if err := s.RemoveNode(ctx, number, force); err != nil {
			return err
		}
		s.progress.say("Node %d is gone.", number)
		return nil
	})
	command.Flags().BoolVar(&force, "force", false, "pull its plug first: what it has is started elsewhere as that of a lost node")
	return command
}

func (c *commands) nodeFault(name, short string, wanted fault) *cobra.Command {
	return c.onNode(name, short, func(ctx context.Context, s *Setup, number int) error {
		if err := s.Break(ctx, number, wanted); err != nil {
			return err
		}
		s.progress.say("Node %d is %s; `singlevm node heal %d` makes it whole.", number, wanted, number)
		return nil
	})
}

func (c *commands) nodeHeal() *cobra.Command {
	command := c.onNode("heal", "Undo whatever was done to a node", func(ctx context.Context, s *Setup, number int) error {
		if err := s.Heal(ctx, number); err != nil {
			return err
		}
		s.progress.say("Node %d is whole again.", number)
		return nil
	})
	command.Aliases = []string{"start"}
	return command
}

// onNode makes a command about one node.
func (c *commands) onNode(name, short string, do func(context.Context, *Setup, int) error) *cobra.Command {
	return &cobra.Command{
		Use: name + " N", Short: short, Args: terminal.Arguments("N"),
		RunE: func(command *cobra.Command, args []string) error {
			number, err := strconv.Atoi(args[0])
			if err != nil || number < 1 {
				return terminal.Usage("%q is not the number of a node; `singlevm node list` shows them", args[0])
			}
			return c.harness(func(ctx context.Context, s *Setup) error {
				if err := root(ctx); err != nil {
					return err
				}
				return do(ctx, s, number)
			})(command, args)
		},
	}
}

// Nodes says how the nodes are.
func (s *Setup) Nodes(ctx context.Context) ([]NodeStatus, error) {
	all, err := s.nodes()
	if err != nil {
		return nil, err
	}
	if len(all) == 0 {
		return nil, errNoCluster
	}
	known, err := s.knownNodes(ctx)
	if err != nil {
		return nil, err
	}
	list := make([]NodeStatus, len(all))
	for i, n := range all {
		id, err := n.id()
		if err != nil {
			return nil, err
		}
		hostname, err := n.hostname()
		if err != nil {
			return nil, err
		}
		list[i] = NodeStatus{Number: n.number, Hostname: hostname, ID: id, Daemon: n.daemon(), Fault: n.fault(), State: stateText(known[id].State)}
	}
	return list, nil
}

// AddNode adds one node to the cluster that runs.
func (s *Setup) AddNode(ctx context.Context) (number int, err error) {
	unlock, err := s.lock(ctx)
	if err != nil {
		return 0, err
	}
	defer unlock()
	before, err := s.nodes()
	if err != nil {
		return 0, err
	}
	if len(before) == 0 {
		return 0, errNoCluster
	}
	number, s.config.Nodes = freeNumber(before), len(before)+1
	if s.config.Nodes > maxNodes {
		return 0, terminal.Usage("there are %d nodes, which is as many as one machine carries; `singlevm node remove` makes room", maxNodes)
	}
	return number, s.steps(ctx, []step{
		{fmt.Sprintf("certificate and cluster file of node %d", number), s.makeFiles},
		{"its launcher", s.startDaemons},
		{"it is ready", s.waitReady},
	})
}
