package placement_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/payload"
	"github.com/ciaocloud/ciao/cluster/scheduler/placement"
)

// BenchmarkPlace decides, and has the node report, on 1,000 and on 5,000 nodes of which every second one is full. The peer is the cheapest thing that
// could be called a decision: looking the instance up in a map of all of them and storing it.
func BenchmarkPlace(b *testing.B) {
	halfFull := func(i int) int { return i % 2 * 1_000_000 }
	b.Run("half full", func(b *testing.B) { benchmark(b, placement.FirstFit{}, 1000, halfFull) })
	b.Run("half full, 5,000 nodes", func(b *testing.B) { benchmark(b, placement.FirstFit{}, 5000, halfFull) })
	b.Run("half full, spread", func(b *testing.B) { benchmark(b, placement.Spread{}, 1000, halfFull) })
	b.Run("last node free", func(b *testing.B) {
		benchmark(b, placement.FirstFit{}, 1000, func(i int) int {
			if i == 999 {
				return 0
			}
			return 1_000_000
		})
	})
	b.Run("nothing free", func(b *testing.B) { benchmark(b, placement.FirstFit{}, 1000, func(int) int { return 1_000_000 }) })
	b.Run("map", func(b *testing.B) {
		held := map[string]payload.Decision{}
		for i := 0; b.Loop(); i++ {
			r := want(fmt.Sprint("i", i), 1, 100)
			if _, found := held[r.Instance]; !found {
				held[r.Instance] = payload.Decision{Instance: r.Instance, Node: "n1"}
			}
			delete(held, r.Instance)
		}
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "decisions/s")
	})
}

func benchmark(b *testing.B, policy placement.Policy, nodes int, taken func(node int) int) {
	c := placement.New(placement.Config{
		Overcommit: cluster.DefaultOvercommit(), Policy: policy, Reservation: 30 * time.Second, Settled: epoch,
	})
	for i := range nodes {
		s := status(fmt.Sprint("host-", i))
		s.Capacity = cluster.Resources{CPU: 64 * cluster.VCPU, MemoryMiB: 1_000_000}
		join(c, fmt.Sprint("n", i), s, report(fmt.Sprint("x", i), 1, cluster.Active, int64(taken(i))))
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		instance := fmt.Sprint("i", i)
		decision, failure := c.Place(want(instance, 1, 100), epoch)
		if failure != nil {
			continue
		}
		c.Report(decision.Node, report(instance, 1, cluster.Active, 100))
		c.Report(decision.Node, report(instance, 1, cluster.Gone, 0))
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "decisions/s")
}
