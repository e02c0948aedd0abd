package simulate_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/driver"
	"github.com/ciaocloud/ciao/cluster/driver/drivertest"
	"github.com/ciaocloud/ciao/cluster/driver/simulate"
)

func newInstance(name string, command ...string) driver.Instance {
	return driver.Instance{
		ID: uuid.NewString(), Generation: 1, Name: name, Kind: cluster.KindContainer,
		Spec: cluster.WorkloadSpec{Kind: cluster.KindContainer, Image: "none", Command: command}.WithDefaults(),
	}
}

func TestConformance(t *testing.T) {
	drivertest.Run(t, func(t *testing.T) drivertest.Harness {
		engine := simulate.NewEngine(simulate.Config{Seed: 1, Takes: map[simulate.Step]simulate.Range{
			simulate.Create: {Min: time.Millisecond, Max: 20 * time.Millisecond},
			simulate.Start:  {Min: time.Millisecond, Max: 5 * time.Millisecond},
		}})
		return drivertest.Harness{
			Driver:    simulate.New(engine),
			Reopen:    func(*testing.T) driver.Driver { return simulate.New(engine) },
			Instance:  func(*testing.T) driver.Instance { return newInstance("sim") },
			Port:      func(*testing.T, driver.Instance) {},
			Exit:      func(code int) []string { return []string{fmt.Sprintf("exit %d", code)} },
			Stubborn:  []string{"ignore stop"},
			Echo:      func(instance driver.Instance) driver.Instance { return instance },
			Interrupt: func(*testing.T) { engine.Interrupt() },
			Freeze: func(*testing.T) func() {
				engine.Freeze()
				return engine.Thaw
			},
		}
	})
}

// startAll starts instances with fixed ids, each in a goroutine of its own, and tells when each was started.
func startAll(t *testing.T, seed uint64, count int) map[string]time.Duration {
	engine := simulate.NewEngine(simulate.Config{Seed: seed, Takes: map[simulate.Step]simulate.Range{
		simulate.Create: {Min: 10 * time.Millisecond, Max: time.Second},
		simulate.Start:  {Max: time.Second},
	}})
	d, begun := simulate.New(engine), time.Now()
	var all sync.WaitGroup
	for i := range count {
		instance := newInstance("sim")
		instance.ID = fmt.Sprint(i)
		all.Go(func() {
			if err := errors.Join(d.Create(t.Context(), instance, nil), d.Start(t.Context(), instance.ID)); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	list, err := d.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	started := map[string]time.Duration{}
	for _, status := range list {
		started[status.ID] = status.Started.Sub(begun)
	}
	return started
}

func TestSeedDecides(t *testing.T) {
	var first, second, other map[string]time.Duration
	synctest.Test(t, func(t *testing.T) { first = startAll(t, 7, 5000) })
	synctest.Test(t, func(t *testing.T) { second = startAll(t, 7, 5000) })
	synctest.Test(t, func(t *testing.T) { other = startAll(t, 8, 5000) })
	if len(first) != 5000 {
		t.Fatalf("%d of 5000 were started", len(first))
	}
	if diff := cmp.Diff(first, second); diff != "" {
		t.Errorf("the same seed gave another run:\n%s", diff)
	}
	if cmp.Equal(first, other) {
		t.Error("another seed gave the same run")
	}
}

func TestFailures(t *testing.T) {
	d := simulate.New(simulate.NewEngine(simulate.Config{Failures: []simulate.Failure{
		{Name: "bad-*", Step: simulate.Create, Err: cluster.ErrNotFound},
		{Name: "slow-*", Step: simulate.Start, Err: cluster.ErrUnavailable, Times: 2},
	}}))
	bad, slow := newInstance("bad-1"), newInstance("slow-1")
	for range 3 {
		if err := d.Create(t.Context(), bad, nil); !errors.Is(err, cluster.ErrNotFound) {
			t.Errorf("create of %s: %v", bad.Name, err)
		}
	}
	if err := d.Create(t.Context(), slow, nil); err != nil {
		t.Fatal(err)
	}
	for attempt := range 3 {
		err := d.Start(t.Context(), slow.ID)
		if failed := errors.Is(err, cluster.ErrUnavailable); failed != (attempt < 2) {
			t.Errorf("attempt %d to start %s: %v", attempt, slow.Name, err)
		}
	}
}

func TestEndsByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := simulate.New(simulate.NewEngine(simulate.Config{}))
		instance := newInstance("job", "exit", "3", "after", "1h")
		if err := errors.Join(d.Create(t.Context(), instance, nil), d.Start(t.Context(), instance.ID)); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		if id := <-d.Watch(ctx); id != instance.ID {
			t.Errorf("told of %q", id)
		}
		status, err := d.Status(ctx, instance.ID)
		if err != nil || status.Condition != driver.Ended || *status.ExitCode != 3 || status.Finished.Sub(status.Started) != time.Hour {
			t.Errorf("after an hour: %+v, %v", status, err)
		}
	})
}

func TestBadCommand(t *testing.T) {
	d := simulate.New(simulate.NewEngine(simulate.Config{}))
	for _, command := range []string{"run", "exit", "exit x", "exit 1 after", "exit 1 after tea"} {
		if err := d.Create(t.Context(), newInstance("sim", command), nil); !errors.Is(err, cluster.ErrInvalid) {
			t.Errorf("command %q: %v", command, err)
		}
	}
}

// A share of the starts fails, the same one for the same seed, whatever instances there are beside.
func TestShareOfStartsFails(t *testing.T) {
	failed := func(seed uint64) (count int, which string) {
		d := simulate.New(simulate.NewEngine(simulate.Config{Seed: seed, Failures: []simulate.Failure{
			{Step: simulate.Start, Err: cluster.ErrNoCapacity, Share: 0.1},
		}}))
		for n := range 1000 {
			i := newInstance("sim")
			i.ID = uuid.NewSHA1(uuid.Nil, fmt.Append(nil, n)).String()
			if err := d.Create(t.Context(), i, nil); err != nil {
				t.Fatal(err)
			}
			if err := d.Start(t.Context(), i.ID); errors.Is(err, cluster.ErrNoCapacity) {
				count, which = count+1, which+" "+i.ID
			}
		}
		return count, which
	}
	count, which := failed(1)
	if count < 60 || count > 140 {
		t.Errorf("%d of 1000 starts failed, want about 100", count)
	}
	if _, again := failed(1); again != which {
		t.Error("the same seed made other starts fail")
	}
	if _, other := failed(2); other == which {
		t.Error("another seed made the same starts fail")
	}
}

// Whoever asked for it is told of every change when it happens.
func TestChanged(t *testing.T) {
	var seen []driver.Condition
	engine := simulate.NewEngine(simulate.Config{Changed: func(s driver.Status) { seen = append(seen, s.Condition) }})
	d, one := simulate.New(engine), newInstance("one")
	for _, err := range []error{d.Create(t.Context(), one, nil), d.Start(t.Context(), one.ID)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	engine.Interrupt()
	if err := d.Delete(t.Context(), one.ID); err != nil {
		t.Fatal(err)
	}
	want := []driver.Condition{driver.Created, driver.Running, driver.Ended, driver.Absent}
	if diff := cmp.Diff(want, seen); diff != "" {
		t.Error(diff)
	}
}
