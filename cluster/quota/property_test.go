package quota

import (
	"math/rand/v2"
	"testing"

	"github.com/ciaocloud/ciao/cluster"
)

// TestAnyOrderKeepsTheBooks reserves and releases in random order and compares with the sum of what is held: usage is exact after
// every step, within the quota, and a refusal is given if and only if one of the sums would pass its limit or one instance its own.
func TestAnyOrderKeepsTheBooks(t *testing.T) {
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 1))
		limit := func(most int64) cluster.Limit {
			if random.IntN(4) == 0 {
				return cluster.Unlimited
			}
			return cluster.Limit(random.Int64N(most))
		}
		b := books{quota: cluster.Quota{
			Instances: limit(30), VCPUs: limit(40), MemoryMiB: limit(8192), DiskMiB: limit(8192),
			InstanceVCPUs: limit(5), InstanceMemoryMiB: limit(2048), InstanceDiskMiB: limit(2048),
		}}
		for step := range 200 {
			if !b.step(random) {
				t.Fatalf("seed %d, step %d: with %+v, held %v, the usage is %+v", seed, step, b.quota, b.held, b.usage)
			}
		}
	}
}

// books are a tenant's usage beside what it really holds.
type books struct {
	quota cluster.Quota
	usage cluster.Usage
	held  []group
}

type group struct {
	each cluster.Resources
	n    int
}

// step reserves or releases once, and says whether the books are right afterwards.
func (b *books) step(random *rand.Rand) bool {
	if len(b.held) > 0 && random.IntN(3) == 0 {
		at := random.IntN(len(b.held))
		b.usage = Release(b.usage, b.held[at].each, b.held[at].n)
		b.held = append(b.held[:at], b.held[at+1:]...)
		return b.usage == b.sum()
	}
	asked := group{cluster.Resources{CPU: cluster.CPU(random.IntN(4001)), MemoryMiB: random.Int64N(1025), DiskMiB: random.Int64N(2) * random.Int64N(1025)}, 1 + random.IntN(4)}
	after, err := Reserve(b.quota, b.usage, asked.each, asked.n)
	b.held = append(b.held, asked)
	fits := b.within(b.sum(), asked)
	if !fits {
		b.held = b.held[:len(b.held)-1]
	}
	b.usage = after
	return (err == nil) == fits && b.usage == b.sum()
}

// sum counts what is held one instance at a time.
func (b *books) sum() (total cluster.Usage) {
	for _, g := range b.held {
		for range g.n {
			total.Instances++
			total.CPU += g.each.CPU
			total.MemoryMiB += g.each.MemoryMiB
			total.DiskMiB += g.each.DiskMiB
		}
	}
	return total
}

// within compares in thousandths of vCPUs, where Reserve rounds up to whole ones.
func (b *books) within(u cluster.Usage, asked group) bool {
	under := func(limit cluster.Limit, value, unit int64) bool {
		return limit == cluster.Unlimited || value <= int64(limit)*unit
	}
	return under(b.quota.Instances, u.Instances, 1) && under(b.quota.VCPUs, int64(u.CPU), int64(cluster.VCPU)) &&
		under(b.quota.MemoryMiB, u.MemoryMiB, 1) && under(b.quota.DiskMiB, u.DiskMiB, 1) &&
		under(b.quota.InstanceVCPUs, int64(asked.each.CPU), int64(cluster.VCPU)) &&
		under(b.quota.InstanceMemoryMiB, asked.each.MemoryMiB, 1) && under(b.quota.InstanceDiskMiB, asked.each.DiskMiB, 1)
}
