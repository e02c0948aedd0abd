package bench

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	engine "github.com/docker/docker/api/types/container"
	docker "github.com/docker/docker/client"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/api"
	"github.com/ciaocloud/ciao/cluster/client"
)

// recipe is what both sides start.
var recipe = api.CreateWorkload{
	Name: "bench", Visibility: cluster.Public, Kind: cluster.KindContainer, Image: "ciao-busybox:local", Pull: cluster.PullNever,
	Command: []string{"sleep", "3600"}, Requirements: api.Requirements{VCPUs: 0.1, MemoryMiB: 16, Pids: 64}, StopGrace: "1s",
}

// BenchmarkStart50 compares 50 containers from one request, from the request to all active as a watcher sees it, with the same 50 on
// the bare engine's default bridge, 1, 2, 4, 8 and 16 at one time. The tenant's CNCI is up.
func BenchmarkStart50(b *testing.B) { benchmarkStart(b, 50, 1, 2, 4, 8, 16) }

// BenchmarkStart1 compares one container.
func BenchmarkStart1(b *testing.B) { benchmarkStart(b, 1, 1) }

func benchmarkStart(b *testing.B, count int, parallel ...int) {
	m := newMachine(b)
	m.singlevm("setup")
	ctx := b.Context()
	operator := m.operator()
	if _, err := operator.CreateWorkload(ctx, recipe); err != nil {
		b.Fatal(err)
	}
	ours := starter{b, m.tenant(ctx, operator, recipe.Name), recipe.Name}
	bare := newBare(b)
	var took medians
	for b.Loop() {
		for phase, seconds := range ours.start(ctx, count) {
			took.add(phase, seconds)
		}
		for _, p := range parallel {
			took.add(bareName(p), bare.start(ctx, count, p))
		}
	}
	best := took.of(bareName(parallel[0]))
	for _, p := range parallel {
		best = min(best, took.of(bareName(p)))
	}
	took.add("above-bare-s", took.of("active-s")-best)
	took.add("x-of-bare", took.of("active-s")/best)
	took.report(b)
}

func bareName(parallel int) string { return "bare-" + strconv.Itoa(parallel) + "-s" }

// starter starts instances through the API.
type starter struct {
	*testing.B
	tenant   *client.Client
	workload string
}

// start returns the seconds from the request to its answer, and to when a watcher has seen the last instance in each state.
func (s starter) start(ctx context.Context, count int) map[string]float64 {
	watching := make(chan struct{})
	last := map[string]time.Time{}
	seen := make(chan error, 1)
	go func() { seen <- s.watch(ctx, count, watching, last) }()
	<-watching
	begun := time.Now()
	made, err := s.tenant.CreateInstances(ctx, api.CreateInstances{Workload: s.workload, Count: count, Name: "bench"})
	answered := time.Now()
	if err == nil {
		err = <-seen
	}
	if err != nil {
		s.Fatal(err)
	}
	s.remove(ctx, made)
	took := map[string]float64{"answer-s": answered.Sub(begun).Seconds()}
	for state, at := range last {
		took[state+"-s"] = at.Sub(begun).Seconds()
	}
	return took
}

// watch follows until so many instances are active; last is when the last came into each state.
func (s starter) watch(ctx context.Context, count int, watching chan<- struct{}, last map[string]time.Time) error {
	active := map[string]bool{}
	states := map[string]cluster.State{}
	for change, err := range s.tenant.Watch(ctx, api.ChangeInstance) {
		switch {
		case err != nil:
			return err
		case change.Type == api.ChangeResync:
			if watching == nil {
				return fmt.Errorf("the watch was interrupted: measure again")
			}
			close(watching)
			watching = nil
		case change.Instance != nil && change.Instance.Name != "keeper" && states[change.ID] != change.Instance.State:
			state := change.Instance.State
			states[change.ID], last[string(state)] = state, time.Now()
			if active[change.ID] = state == cluster.Active; len(active) == count && all(active) {
				return nil
			}
		}
	}
	return context.Cause(ctx)
}

func all(active map[string]bool) bool {
	for _, is := range active {
		if !is {
			return false
		}
	}
	return true
}

func (s starter) remove(ctx context.Context, made []api.Instance) {
	s.Helper()
	for _, instance := range made {
		if _, err := s.tenant.DeleteInstance(ctx, instance.ID); err != nil {
			s.Fatal(err)
		}
	}
	if _, err := s.tenant.Wait(ctx, made, client.Deleted, nil); err != nil {
		s.Fatal(err)
	}
}

// bare is the engine itself.
type bare struct {
	*testing.B
	engine *docker.Client
}

func newBare(b *testing.B) bare {
	b.Helper()
	c, err := docker.NewClientWithOpts(docker.FromEnv)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { c.Close() })
	ping, err := c.Ping(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	c.NegotiateAPIVersionPing(ping)
	return bare{b, c}
}

// start returns the seconds that the engine takes for the same containers, as many at one time.
func (e bare) start(ctx context.Context, count, parallel int) float64 {
	pids := recipe.Requirements.Pids
	config := &engine.Config{Image: recipe.Image, Cmd: recipe.Command}
	host := &engine.HostConfig{Resources: engine.Resources{
		Memory: recipe.Requirements.MemoryMiB << 20, MemorySwap: recipe.Requirements.MemoryMiB << 20,
		NanoCPUs: int64(recipe.Requirements.VCPUs * 1e9), PidsLimit: &pids,
	}}
	name := func(i int) string { return "ciao-bench-" + strconv.Itoa(i) }
	remove := func(ctx context.Context, i int) error {
		return e.engine.ContainerRemove(ctx, name(i), engine.RemoveOptions{Force: true})
	}
	begun := time.Now()
	err := each(count, parallel, func(i int) error {
		made, err := e.engine.ContainerCreate(ctx, config, host, nil, nil, name(i))
		if err != nil {
			return err
		}
		return e.engine.ContainerStart(ctx, made.ID, engine.StartOptions{})
	})
	took := time.Since(begun)
	if failed := each(count, 8, func(i int) error { return remove(context.WithoutCancel(ctx), i) }); err == nil {
		err = failed
	}
	if err != nil {
		e.Fatal(err)
	}
	return took.Seconds()
}

// each does something for 0 to count-1, so many at one time; it returns the first error.
func each(count, parallel int, do func(i int) error) error {
	var workers sync.WaitGroup
	next := make(chan int)
	failed := make(chan error, count)
	for range parallel {
		workers.Go(func() {
			for i := range next {
				failed <- do(i)
			}
		})
	}
	for i := range count {
		next <- i
	}
	close(next)
	workers.Wait()
	close(failed)
	for err := range failed {
		if err != nil {
			return err
		}
	}
	return nil
}
