package simulation

import (
	"context"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/api"
	"github.com/ciaocloud/ciao/cluster/client"
	"github.com/ciaocloud/ciao/cluster/controller"
)

// measure has the tenants create their instances, all at the same time, and follows them until they are settled.
func (s *simulation) measure(ctx context.Context) (Report, error) {
	operator, err := s.operator()
	if err != nil {
		return Report{}, err
	}
	defer operator.Close()
	tenants, err := s.createTenants(ctx, operator)
	if err != nil {
		return Report{}, err
	}
	before, err := s.read()
	if err != nil {
		return Report{}, err
	}
	report, err := s.createAll(ctx, operator, tenants)
	if err != nil {
		return Report{}, err
	}
	after, err := s.read()
	if err != nil {
		return Report{}, err
	}
	report.Connected = s.connected
	report.Cost, err = cost(before, after)
	return report, err
}

func (s *simulation) createAll(ctx context.Context, operator *client.Client, tenants []string) (Report, error) {
	late := fmt.Errorf("%w: not all instances are settled after %s", cluster.ErrTimeout, s.config.Patience)
	ctx, cancel := context.WithTimeoutCause(ctx, s.config.Patience, late)
	defer cancel()
	changes := s.controller.Watch(ctx, controller.Operator, controller.ChangeInstance)
	m := newMoments(s.config.Instances)
	begun := time.Now()
	creating, calling := errgroup.WithContext(ctx)
	answered := make([]time.Time, len(tenants))
	for i, tenant := range tenants {
		creating.Go(func() error {
			defer func() { answered[i] = time.Now() }()
			return s.createInstances(calling, operator.ForTenant(tenant), i)
		})
	}
	var storm *Storm
	if s.config.Disconnect > 0 {
		creating.Go(func() (err error) {
			storm, err = s.storm(calling, begun)
			return err
		})
	}
	followed := s.follow(ctx, changes, m)
	if err := creating.Wait(); err != nil {
		return Report{}, err
	}
	if followed != nil {
		return Report{}, fmt.Errorf("%w; they are %v", followed, m.counts)
	}
	report := m.report(begun)
	report.Storm = storm
	report.Answered = seconds(slices.MaxFunc(answered, time.Time.Compare).Sub(begun))
	return report, nil
}

// createTenants makes the tenants and what all their instances run.
func (s *simulation) createTenants(ctx context.Context, operator *client.Client) ([]string, error) {
	if _, err := operator.CreateWorkload(ctx, api.CreateWorkload{
		Name: workload, Visibility: cluster.Public, Kind: cluster.KindContainer, Image: "none",
		Requirements: api.Requirements{VCPUs: float64(size.CPU) / float64(cluster.VCPU), MemoryMiB: size.MemoryMiB},
	}); err != nil {
		return nil, err
	}
	tenants := make([]string, s.config.Tenants)
	for i := range tenants {
		tenant, err := operator.CreateTenant(ctx, api.CreateTenant{Name: fmt.Sprintf("tenant-%d", i+1)})
		if err != nil {
			return nil, err
		}
		tenants[i] = tenant.ID
	}
	return tenants, nil
}

// workload is the name of the recipe.
const workload = "simulated"

func (s *simulation) createInstances(ctx context.Context, tenant *client.Client, number int) error {
	_, err := tenant.CreateInstances(ctx, api.CreateInstances{Workload: workload, Count: s.config.perTenant(number)})
	return err
}

// follow notes the moments of instances until all are settled.
func (s *simulation) follow(ctx context.Context, changes <-chan controller.Change, m *moments) error {
	for !m.settled() {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case change, open := <-changes:
			switch {
			case !open && ctx.Err() != nil:
				return context.Cause(ctx)
			case !open:
				return fmt.Errorf("%w: the store gave up: %w", cluster.ErrUnavailable, s.store.Err())
			case change.Kind == controller.ChangeResync:
				list, _, err := s.controller.Instances(ctx, controller.Operator, controller.InstanceFilter{})
				if err != nil {
					return err
				}
				for _, instance := range list {
					m.see(instance)
				}
			case change.Instance != nil:
				m.see(*change.Instance)
			}
		}
	}
	return nil
}
