package controller

import (
	"context"
	"slices"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/store"
)

// InstanceUsage is what an active instance uses.
type InstanceUsage struct {
	Instance cluster.Instance
	Sample   cluster.InstanceStatistics
	Time     time.Time // of the sample
}

// InstanceUsages lists what the active instances of a scope use, in order of ids. One that was not sampled yet is left out.
func (c *Controller) InstanceUsages(ctx context.Context, scope string, p Page) (list []InstanceUsage, next string, err error) {
	sampled := c.samples.byInstance()
	err = c.view(ctx, func(r store.Reader) error {
		for instance := range visible(r, scope) {
			usage, found := sampled[placed{instance.Node, instance.ID}]
			if found && instance.State == cluster.Active {
				usage.Instance = instance
				list = append(list, usage)
			}
		}
		return nil
	})
	slices.SortFunc(list, func(a, b InstanceUsage) int { return compareText(a.Instance.ID, b.Instance.ID) })
	list, next = Paged(list, p, func(u InstanceUsage) string { return u.Instance.ID })
	return list, next, err
}

// placed is an instance on a node: what another node says of it is nothing.
type placed struct{ node, instance string }

// byInstance is the latest sample of each instance; which instance it is only the key says.
func (s *samples) byInstance() map[placed]InstanceUsage {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := map[placed]InstanceUsage{}
	for node, latest := range s.latest {
		for _, sample := range latest.Instances {
			all[placed{node, sample.Instance}] = InstanceUsage{Sample: sample, Time: latest.Time}
		}
	}
	return all
}
