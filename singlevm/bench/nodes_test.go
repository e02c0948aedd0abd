package bench

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/api"
	"github.com/ciaocloud/ciao/cluster/client"
)

// evacuated is how many containers leave their node.
const evacuated = 20

// BenchmarkNodes times a cluster of three nodes: setup, the evacuation of a node with twenty containers until all of them run elsewhere, and
// cleanup with everything there. One kind ends when it is asked to; the other does not, and takes its whole grace of 2 s.
func BenchmarkNodes(b *testing.B) {
	m := newMachine(b)
	var took medians
	for b.Loop() {
		took.add("setup-s", m.run(m.program("singlevm"), "setup", "--nodes", "3").Seconds())
		took.add("evacuate-s", m.evacuate("willing", "trap 'exit 0' TERM; while :; do sleep 3600 & wait $!; done").Seconds())
		took.add("evacuate-deaf-s", m.evacuate("deaf", "trap '' TERM; while :; do sleep 1; done").Seconds())
		took.add("cleanup-s", m.singlevm("cleanup").Seconds())
	}
	took.report(b)
}

// evacuate moves containers of one script off their node, and says how long it took from the request until all run elsewhere.
func (m *machine) evacuate(name, script string) time.Duration {
	m.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), commandLimit)
	defer cancel()
	operator := m.operator()
	defer operator.Close()
	need := func(err error) {
		m.Helper()
		if err != nil {
			m.Fatal(err)
		}
	}
	tenant, err := operator.CreateTenant(ctx, api.CreateTenant{Name: name})
	need(err)
	c := operator.ForTenant(tenant.ID)
	_, err = c.CreateWorkload(ctx, api.CreateWorkload{
		Name: name, Kind: cluster.KindContainer, Image: "ciao-busybox:local", Pull: cluster.PullNever, Command: []string{"sh", "-c", script},
		StopGrace: "2s", Requirements: api.Requirements{VCPUs: 0.05, MemoryMiB: 16},
	})
	need(err)
	made, err := c.CreateInstances(ctx, api.CreateInstances{Workload: name, Count: evacuated, Name: name})
	need(err)
	made, err = c.Wait(ctx, made, client.Active, nil)
	need(err)
	leaving := made[0].Node
	begun := time.Now()
	_, err = operator.EvacuateNode(ctx, leaving, false)
	need(err)
	_, err = c.Wait(ctx, made, func(i api.Instance, gone bool) (bool, error) {
		if gone || i.State == cluster.Failed {
			return false, errors.New(i.Name + " is lost: " + i.Reason)
		}
		return i.State == cluster.Active && i.Node != leaving, nil
	}, nil)
	need(err)
	took := time.Since(begun)
	if !slices.ContainsFunc(made, func(i api.Instance) bool { return i.Node == leaving }) {
		m.Fatal("nothing was on the node")
	}
	_, err = operator.RestoreNode(ctx, leaving)
	need(err)
	return took
}
