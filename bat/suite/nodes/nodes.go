// Package nodes judges the life of nodes: instances on several of them, nodes that are emptied, break, and come back. What it breaks it
// breaks where singlevm made the nodes, and nowhere else.
package nodes

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ciaocloud/ciao/bat"
	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/api"
	"github.com/ciaocloud/ciao/cluster/client"
)

// Time limits: a silent node is missing after its heartbeats have failed to come, and its instances after the grace time.
const (
	testTime    = 5 * time.Minute
	missingTime = 90 * time.Second
	moveTime    = time.Minute
)

// Suite lists the tests.
func Suite() bat.Suite {
	return bat.Suite{Name: "nodes", Summary: "several nodes: emptied, broken, and back again", Alone: true, Tests: []bat.Test{
		{
			Name:        "Straight",
			Summary:     "Instances on different nodes reach each other as those on one do.",
			Description: "Starts an instance on each of two nodes and has them talk, by address, by name, and with full packets.",
			Expected:    "Everything arrives.",
			Run:         straight,
		},
		{
			Name:        "Evacuate",
			Summary:     "An evacuated node is left by everything, and takes nothing until it is restored.",
			Description: "Starts four instances, stops one, evacuates the node of the first, creates more, starts the stopped one, restores the node.",
			Expected:    "Nothing is left on the node, which is in maintenance; all instances are active elsewhere with the identity they had; the restored node is ready.",
			Timeout:     testTime,
			Run:         evacuate,
		},
		{
			Name:        "Together",
			Summary:     "A group that is together stays on one node, and moves as a whole.",
			Description: "Creates three instances with requirements.together and one more later, and evacuates their node.",
			Expected:    "All are on one node before and on one other node afterwards; while they move, no two nodes are recorded.",
			Timeout:     testTime,
			Run:         together,
		},
		{
			Name:        "StartFirst",
			Summary:     "A service that starts elsewhere first answers throughout an evacuation.",
			Description: "Has a client ask a web server with drain: start-first ten times a second, by the addresses of the server and its replacement, while the server's node is evacuated.",
			Expected:    "No request fails at both addresses; the server is replaced on another node, and its quota is given back.",
			Timeout:     testTime,
			Run:         startFirst,
		},
		{
			Name:        "CNCIMoves",
			Summary:     "A CNCI leaves an evacuated node, and its subnet's names, ports and external IPs come along.",
			Description: "Starts an instance that requires its node, with a published port and an external IP, and evacuates the node of its CNCI.",
			Expected:    "The CNCI is active on another node, and answers for the instance's name; the external IP is mapped and reached again, the port is shown at the new address; the instance runs on undisturbed; no event tells of an error.",
			Timeout:     testTime,
			Run:         cnciMoves,
		},
		{
			Name:        "Stays",
			Summary:     "What no other node will do for stays on an evacuated node, and the command says why.",
			Description: "Evacuates a node with an instance that requires it.",
			Expected:    "It runs on undisturbed and is named with the reason, exit code 4 with --wait; new instances go elsewhere.",
			Timeout:     testTime,
			Run:         stays,
		},
		{
			Name:        "Refusals",
			Summary:     "What cannot be done to a node is refused, and says what to do instead.",
			Description: "Evacuates and deletes nodes that are not there, that are connected, and as a tenant's user.",
			Expected:    "3 for what is not there, 4 for what the node's state forbids; nothing has changed.",
			Run:         refusals,
		},
		{
			Name:        "Partition",
			Summary:     "Instances of a node that cannot be reached are missing, and active again when it is back, without having been started twice.",
			Description: "Starts an instance on a node, cuts the node off (singlevm), waits until both are missing, heals it.",
			Expected:    "Node and instance are missing; afterwards the instance is active in the same generation on the same node.",
			Timeout:     testTime,
			Run:         partition,
		},
		{
			Name:        "Lost",
			Summary:     "Instances of a node that is given up start elsewhere, and what is left of them is removed when the node returns after all.",
			Description: "Starts instances, pulls the plug of the node of one of them (singlevm), if possible that of their CNCI, evacuates it as lost, heals and restores it.",
			Expected:    "The instances are active on other nodes with the identity they had, each exactly once, and so is their CNCI, which knows their names.",
			Timeout:     testTime,
			Run:         lost,
		},
		{
			Name:        "LostGroups",
			Summary:     "Groups stay together and spread when a node that cannot be reached is given up, and each of their instances has one copy when it is back.",
			Description: "Starts a group that is together, and one that is spread over all nodes, parts the node of the first (singlevm), evacuates it as lost, deletes one of the spread group elsewhere, heals the node, and watches the groups all the time.",
			Expected:    "The group that is together goes to another node as a whole; the instance that no node is left for waits, says why, and starts where the deleted one was. A group that is together is never recorded on two nodes, one that is spread never twice on one. The copies that the healed node had are ended, and each instance has exactly one.",
			Timeout:     testTime,
			Run:         lostGroups,
		},
	}}
}

// ready are the nodes that can take instances; the test is skipped when there are fewer than wanted.
func ready(ctx context.Context, t *bat.T, wanted int) []api.Node {
	all, err := t.Cluster.Operator.Nodes(ctx, "")
	t.Need(err, "list nodes")
	usable := slices.DeleteFunc(all, func(n api.Node) bool { return n.State != cluster.NodeReady || len(n.Roles) < 2 })
	if len(usable) < wanted {
		t.Skipf("%d nodes are ready, and this needs %d: `singlevm setup --nodes 3` makes them", len(usable), wanted)
	}
	return usable
}

// pinned starts an instance that waits on a node.
func pinned(ctx context.Context, t *bat.T, tenant *bat.Tenant, node api.Node, name string) api.Instance {
	workload := t.Cluster.Sleeper(name)
	workload.Requirements.Node = node.ID
	tenant.Workload(ctx, workload)
	return tenant.Active(ctx, tenant.Create(ctx, api.CreateInstances{Workload: name, Name: name}))[0]
}

func straight(ctx context.Context, t *bat.T) {
	usable := ready(ctx, t, 2)
	tenant := t.Tenant(ctx)
	there := pinned(ctx, t, tenant, usable[0], "there")
	prober := t.Cluster.Container("prober", "")
	prober.Requirements.Node = usable[1].ID
	tenant.ProbeIn(ctx, prober,
		bat.Works("its address is reached", "ping -c 1 -W 2 "+there.Addresses[0].String()),
		bat.Works("its name is known", "ping -c 1 -W 2 there"),
		bat.Works("packets of 1,400 bytes arrive", "ping -c 1 -W 2 -s 1372 there"))
}

func evacuate(ctx context.Context, t *bat.T) {
	ready(ctx, t, 2)
	tenant := t.Tenant(ctx)
	created := tenant.ManySleepers(ctx, "mover", 4)
	tenant.Stop(ctx, created[3])
	leaving := created[0].Node
	restored(t, leaving)
	_, err := t.Cluster.Operator.EvacuateNode(ctx, leaving, false)
	t.Need(err, "evacuate node %s", leaving)
	empty(ctx, t, leaving)
	moved(ctx, t, tenant, created[:3], leaving)
	for _, i := range tenant.ManySleepers(ctx, "newcomer", 3) {
		if i.Node == leaving {
			t.Errorf("%s was placed on the evacuated node", i.Name)
		}
	}
	if started := tenant.Start(ctx, created[3]); started.Node == leaving {
		t.Errorf("the instance that had been stopped was started on the evacuated node")
	}
	tenant.Probe(ctx, bat.Works("a moved instance answers by its name", "ping -c 1 -W 2 mover-1"))
	if now, err := t.Cluster.Operator.Node(ctx, leaving); err != nil || now.State != cluster.NodeMaintenance || !now.Evacuated {
		t.Errorf("the evacuated node is %s (%v), expected maintenance", now.State, err)
	}
}

func startFirst(ctx context.Context, t *bat.T) {
	usable := ready(ctx, t, 2)
	tenant := t.Tenant(ctx)
	server := t.Cluster.Container("server", "mkdir -p /www && echo ciao > /www/file && exec httpd -f -h /www")
	server.Drain, server.StopGrace = cluster.StartFirst, "2s"
	tenant.Workload(ctx, server)
	old := tenant.Active(ctx, tenant.Create(ctx, api.CreateInstances{Workload: "server", Name: "server"}))[0]
	// Addresses are given out in order: the client gets the next, and the replacement the one after that. Names would not do: the node may be that
	// of the CNCI, which moves, too.
	address := old.Addresses[0]
	after := address.Next().Next()
	client := t.Cluster.Container("client", fmt.Sprintf(`ask() { timeout 2 wget -q -O /dev/null "http://$1/file"; }
one=%s; other=%s
n=0; until ask $one; do n=$((n+1)); [ $n -lt 50 ] || exit 2; sleep 0.2; done
n=0; while [ $n -lt 100 ]; do
	ask $one || { ask $other || exit 3; last=$one; one=$other; other=$last; }
	n=$((n+1)); sleep 0.1
done`, address, after))
	for _, node := range usable {
		if node.ID != old.Node {
			client.Requirements.Node = node.ID
		}
	}
	tenant.Workload(ctx, client)
	asking := tenant.Active(ctx, tenant.Create(ctx, api.CreateInstances{Workload: "client", Name: "client"}))
	restored(t, old.Node)
	_, err := t.Cluster.Operator.EvacuateNode(ctx, old.Node, false)
	t.Need(err, "evacuate node %s", old.Node)
	t.Until(ctx, moveTime, "the server is replaced", func(ctx context.Context) (bool, string) {
		var names []string
		for _, i := range tenant.List(ctx) {
			names = append(names, i.Name+" "+string(i.State))
		}
		slices.Sort(names)
		return slices.Contains(names, "server-r1 active") && len(names) == 2, strings.Join(names, ", ")
	})
	tenant.Await(ctx, asking, moveTime, bat.In(cluster.Exited))
	if now := tenant.Get(ctx, asking[0].ID); now.ExitCode == nil || *now.ExitCode != 0 {
		t.Errorf("the client ended with %s: a request was answered by neither", now.Reason)
	}
	if now := tenant.Get(ctx, "server-r1"); !slices.Contains(now.Addresses, after) {
		t.Errorf("the replacement has %v, and the client asked %s", now.Addresses, after)
	}
	if used := tenant.Usage(ctx)[api.QuotaInstances]; used != 2 {
		t.Errorf("%g instances are used, expected 2", used)
	}
}

func stays(ctx context.Context, t *bat.T) {
	node := ready(ctx, t, 2)[0]
	tenant := t.Tenant(ctx)
	anchor := pinned(ctx, t, tenant, node, "anchor")
	restored(t, node.ID)
	t.Ciao(ctx, tenant.ID, "evacuate", node.ID, "--wait").Refuses(t, "a node that something stays on", 4, "anchor of tenant "+tenant.ID+" stays: no other node will do")
	if now := tenant.Get(ctx, anchor.ID); now.State != cluster.Active || now.Generation != anchor.Generation {
		t.Errorf("what stays is %s in generation %d, expected active in %d", now.State, now.Generation, anchor.Generation)
	}
	if mover := tenant.ManySleepers(ctx, "mover", 1)[0]; mover.Node == node.ID {
		t.Errorf("an instance was placed on the evacuated node")
	}
}

// restored has a node take instances again when the test ends, and waits until it does.
func restored(t *bat.T, node string) {
	t.Cleanup(func(ctx context.Context) {
		if _, err := t.Cluster.Operator.RestoreNode(ctx, node); err != nil {
			t.Errorf("restore node %s: %v", node, err)
		}
		state(ctx, t, node, cluster.NodeReady, moveTime)
	})
}

func state(ctx context.Context, t *bat.T, node string, wanted cluster.NodeState, limit time.Duration) {
	t.Until(ctx, limit, fmt.Sprintf("node %s is %s", node, wanted), func(ctx context.Context) (bool, string) {
		now, err := t.Cluster.Operator.Node(ctx, node)
		if err != nil {
			return false, err.Error()
		}
		return now.State == wanted, string(now.State)
	})
}

// empty waits until nothing is recorded on a node, CNCIs included.
func empty(ctx context.Context, t *bat.T, node string) {
	t.Until(ctx, moveTime, "the node is empty", func(ctx context.Context) (bool, string) {
		now, err := t.Cluster.Operator.Node(ctx, node)
		if err != nil {
			return false, err.Error()
		}
		return now.Instances == 0 && now.MemoryMiBAllocated == 0, fmt.Sprintf("%d instances, %d MiB", now.Instances, now.MemoryMiBAllocated)
	})
}

// moved waits until instances are active elsewhere, and compares what they must keep.
func moved(ctx context.Context, t *bat.T, tenant *bat.Tenant, before []api.Instance, left string) {
	tenant.Await(ctx, before, moveTime, func(i api.Instance, gone bool) (bool, error) {
		if i.Node == left {
			return false, nil
		}
		return client.Active(i, gone)
	})
	for _, then := range before {
		now := tenant.Get(ctx, then.ID)
		if now.Name != then.Name || now.MAC != then.MAC || !slices.Equal(now.Addresses, then.Addresses) {
			t.Errorf("%s with %s %v became %s with %s %v", then.Name, then.MAC, then.Addresses, now.Name, now.MAC, now.Addresses)
		}
	}
}

func refusals(ctx context.Context, t *bat.T) {
	node := ready(ctx, t, 1)[0]
	tenant := t.Tenant(ctx)
	t.Ciao(ctx, tenant.ID, "evacuate", "nobody").Refuses(t, "evacuate of an unknown node", 3, "nobody")
	t.Ciao(ctx, tenant.ID, "restore", "nobody").Refuses(t, "restore of an unknown node", 3, "nobody")
	t.Ciao(ctx, tenant.ID, "delete", "node", "nobody").Refuses(t, "delete of an unknown node", 3, "nobody")
	t.Ciao(ctx, tenant.ID, "evacuate", "--lost", node.ID).Refuses(t, "a connected node is not lost", 4, "without --lost")
	t.Ciao(ctx, tenant.ID, "delete", "node", node.ID).Refuses(t, "a connected node is not deleted", 4, "evacuate")
	t.Ciao(ctx, tenant.ID, "evacuate").Refuses(t, "no node is named", 2, "NODE")
	if now, err := t.Cluster.Operator.Node(ctx, node.ID); err != nil || now.State != cluster.NodeReady || now.Evacuated {
		t.Errorf("after all refusals the node is %s, evacuated: %t (%v)", now.State, now.Evacuated, err)
	}
}

// number is what singlevm calls a node.
func number(ctx context.Context, t *bat.T, id string) string {
	said := t.Singlevm(ctx, "node", "list", "-o", "json").Works(t, "singlevm node list")
	var list struct {
		Items []struct {
			Number int
			ID     string
		}
	}
	t.Need(json.Unmarshal([]byte(said.Out), &list), "read what singlevm says of its nodes")
	for _, one := range list.Items {
		if one.ID == id {
			return fmt.Sprint(one.Number)
		}
	}
	t.Skipf("singlevm did not make node %s", id)
	return ""
}

// broken does a fault to a node, which is healed when the test ends, if not before.
func broken(ctx context.Context, t *bat.T, fault, node string) (heal func(context.Context)) {
	heal = func(ctx context.Context) {
		if said := t.Singlevm(ctx, "node", "heal", node); said.Code != 0 && !strings.Contains(said.Err, "is whole") {
			t.Errorf("singlevm node heal %s ended with %d: %s", node, said.Code, said.Err)
		}
	}
	t.Cleanup(heal)
	t.Singlevm(ctx, "node", fault, node).Works(t, "singlevm node "+fault)
	return heal
}

func partition(ctx context.Context, t *bat.T) {
	usable := ready(ctx, t, 2)
	t.Daemons(ctx) // or the test is skipped
	tenant := t.Tenant(ctx)
	pinned(ctx, t, tenant, usable[0], "anchor") // its CNCI has been placed when the node is cut off
	there := pinned(ctx, t, tenant, usable[1], "there")
	heal := broken(ctx, t, "partition", number(ctx, t, usable[1].ID))
	state(ctx, t, usable[1].ID, cluster.NodeMissing, missingTime)
	tenant.Await(ctx, []api.Instance{there}, missingTime, bat.In(cluster.Missing))
	heal(ctx)
	state(ctx, t, usable[1].ID, cluster.NodeReady, missingTime)
	now := tenant.Active(ctx, []api.Instance{there})[0]
	if now.Generation != there.Generation || now.Node != there.Node {
		t.Errorf("it was generation %d on %s and is generation %d on %s", there.Generation, there.Node, now.Generation, now.Node)
	}
	tenant.Probe(ctx, bat.Works("it answers", "ping -c 1 -W 2 there"))
}

func lost(ctx context.Context, t *bat.T) {
	ready(ctx, t, 2)
	t.Daemons(ctx) // or the test is skipped
	tenant := t.Tenant(ctx)
	created := tenant.ManySleepers(ctx, "survivor", 3)
	left := created[0].Node
	if home := cnci(ctx, t, tenant).Node; slices.ContainsFunc(created, func(i api.Instance) bool { return i.Node == home }) {
		left = home
	}
	restored(t, left)
	heal := broken(ctx, t, "stop", number(ctx, t, left))
	state(ctx, t, left, cluster.NodeMissing, missingTime)
	t.Ciao(ctx, tenant.ID, "evacuate", left).Refuses(t, "a silent node is not evacuated as if it answered", 4, "--lost")
	_, err := t.Cluster.Operator.EvacuateNode(ctx, left, true)
	t.Need(err, "evacuate the lost node")
	moved(ctx, t, tenant, created, left)
	heal(ctx)
	state(ctx, t, left, cluster.NodeMaintenance, missingTime)
	empty(ctx, t, left)
	for _, then := range created {
		if now := tenant.Get(ctx, then.ID); now.State != cluster.Active || now.Node == left {
			t.Errorf("after the node's return %s is %s on %s", now.Name, now.State, now.Node)
		}
	}
	if now := cnci(ctx, t, tenant); now.State != cluster.Active || now.Node == left {
		t.Errorf("after the node's return the CNCI is %s on %s", now.State, now.Node)
	}
	tenant.Probe(ctx,
		bat.Works("a survivor answers by its name", "ping -c 1 -W 2 survivor-1"),
		bat.Works("the CNCI knows its name", `resolves survivor-1 "$gateway" `+created[0].Addresses[0].String()))
}
