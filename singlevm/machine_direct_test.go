package singlevm

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/api"
	"github.com/ciaocloud/ciao/cluster/client"
	"github.com/ciaocloud/ciao/cluster/network"
	"github.com/ciaocloud/ciao/singlevm/machinetest"
)

// A tenant on two nodes of a whole cluster: each node has an entry for each instance of the other, what they send to each other does
// not pass the CNCI, and the entry of an instance goes with it.
func TestMachineNodesForwardStraight(t *testing.T) {
	m := newMachine(t)
	ctx, cancel := context.WithTimeout(t.Context(), commandLimit)
	defer cancel()
	m.must("setup", "--nodes", "2")
	blue := m.user("blue")
	nodes, err := m.user("admin").Nodes(ctx, "")
	if err != nil || len(nodes) != 2 {
		t.Fatalf("nodes are %v, %v", nodes, err)
	}
	here, there := m.createOn(ctx, blue, nodes[0]), m.createOn(ctx, blue, nodes[1])
	underlay := map[string]string{here.Node: nodes[0].Underlay[0].String(), there.Node: nodes[1].Underlay[0].String()}
	for _, way := range [][2]api.Instance{{here, there}, {there, here}} {
		machinetest.Eventually(t, "an entry for "+way[1].Name, time.Minute, func() bool {
			return strings.Contains(m.entries(way[0]), way[1].MAC+" dst "+underlay[way[1].Node])
		})
	}
	m.passesBy(ctx, here, there)

	if _, err := blue.DeleteInstance(ctx, there.ID); err != nil {
		t.Fatal(err)
	}
	machinetest.Eventually(t, "the entry of a deleted instance to go", time.Minute, func() bool {
		return !strings.Contains(m.entries(here), there.MAC+" dst ")
	})
	m.cleanup()
	m.restored("a cluster of two nodes")
}

// createOn makes an instance on a node.
func (m *machine) createOn(ctx context.Context, c *client.Client, node api.Node) api.Instance {
	m.Helper()
	name := "on-" + node.ID[:8]
	_, err := c.CreateWorkload(ctx, api.CreateWorkload{Name: name, Kind: cluster.KindContainer, Image: busyboxImage, Pull: cluster.PullNever,
		Command: []string{"sleep", "3600"}, StopGrace: "1s",
		Requirements: api.Requirements{VCPUs: 0.1, MemoryMiB: 32, Node: node.ID}})
	if err != nil {
		m.Fatal(err)
	}
	made, err := c.CreateInstances(ctx, api.CreateInstances{Workload: name, Name: name})
	if err == nil {
		made, err = c.Wait(ctx, made, client.Active, nil)
	}
	if err != nil {
		m.Fatalf("create an instance on node %s: %v", node.ID, err)
	}
	return made[0]
}

// entries are the forwarding entries of the instance's subnet on its node.
func (m *machine) entries(instance api.Instance) string {
	m.Helper()
	return m.tool("bridge", "-n", network.NodeNamespace(ClusterName, instance.Node), "fdb", "show", "dev", network.VXLANName(instance.Subnet))
}

func (m *machine) tool(name string, args ...string) string {
	m.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		m.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// passesBy has one instance ping another, and fails the test if the CNCI's tunnel received that.
func (m *machine) passesBy(ctx context.Context, from, to api.Instance) {
	m.Helper()
	const pings = 50
	cncis, err := m.user("admin").CNCIs(ctx)
	if err != nil || len(cncis) == 0 {
		m.Fatalf("CNCIs are %v, %v", cncis, err)
	}
	for _, cnci := range cncis {
		if cnci.Subnet != from.Subnet {
			continue
		}
		before := m.received(cnci)
		if err := m.probe().judge(ctx, from, works("ping -c %d -i 0.1 -W 5 %s", pings, to.Addresses[0])); err != nil {
			m.Fatal(err)
		}
		if got := m.received(cnci) - before; got >= pings {
			m.Errorf("the CNCI received %d frames while %d pings went between two nodes", got, pings)
		}
	}
}

// received counts the frames that have come to a CNCI from its subnet.
func (m *machine) received(cnci api.CNCI) (frames int) {
	m.Helper()
	out := m.tool("ip", "-n", network.ConcentratorNamespace(ClusterName, cnci.ID), "-s", "-j", "link", "show", "dev", network.VXLANName(cnci.Subnet))
	var links []struct {
		Statistics struct {
			Received struct{ Packets int } `json:"rx"`
		} `json:"stats64"`
	}
	if err := json.Unmarshal([]byte(out), &links); err != nil || len(links) != 1 {
		m.Fatal(fmt.Errorf("statistics of the CNCI: %w: %s", err, out))
	}
	return links[0].Statistics.Received.Packets
}
