package simulate

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/driver"
)

var (
	_ driver.Driver   = (*Driver)(nil)
	_ driver.Attacher = (*Driver)(nil)
	_ driver.Sampler  = (*Driver)(nil)
	_ driver.Logger   = (*Driver)(nil)
	_ driver.Executor = (*Driver)(nil)
	_ driver.Consoler = (*Driver)(nil)
)

// Driver runs simulated instances. It has no state but its engine, and who has which console.
type Driver struct {
	engine *Engine
	seats  driver.Seats
}

// New makes a driver over an engine; a second one over the same engine is what a restarted launcher has.
func New(engine *Engine) *Driver { return &Driver{engine: engine} }

// Kind is that of the engine's Config.
func (d *Driver) Kind() cluster.Kind { return d.engine.config.Kind }

// Create takes its time, then notes the instance; a call that is given up before notes nothing.
func (d *Driver) Create(ctx context.Context, wanted driver.Instance, progress func(step, message string)) error {
	if wanted.Spec.Privileged && !wanted.Privileged {
		return fmt.Errorf("instance %s: the tenant may not run privileged instances; an operator can allow it: %w", wanted.Name, cluster.ErrPermission)
	}
	if _, err := parse(wanted.Spec.Command); err != nil {
		return err
	}
	if progress != nil {
		progress("create", "simulating")
	}
	return d.step(ctx, wanted.ID, Create, func(e *Engine, i *instance) error {
		if i == nil {
			i = &instance{wanted: wanted, failures: map[int]int{}}
		}
		switch {
		case i.status.Generation > wanted.Generation:
			return fmt.Errorf("instance %s is of generation %d, newer than %d: %w", wanted.Name, i.status.Generation, wanted.Generation, cluster.ErrConflict)
		case i.status.Generation == wanted.Generation && i.status.Condition != "":
			return nil
		}
		if err := e.fails(i, Create); err != nil {
			return err
		}
		if i.status.Condition == driver.Running {
			i.end(143, "stopped for a newer generation")
		}
		i.wanted, i.status = wanted, driver.Status{ID: wanted.ID, Generation: wanted.Generation, Condition: driver.Created}
		e.instances[wanted.ID] = i
		return nil
	})
}

// Start takes its time, then has the instance run, and end by itself when its command says so.
func (d *Driver) Start(ctx context.Context, id string) error {
	return d.step(ctx, id, Start, func(e *Engine, i *instance) error {
		if i == nil {
			return fmt.Errorf("start instance %s: it was not created: %w", id, cluster.ErrNotFound)
		}
		if i.status.Condition == driver.Running {
			return nil
		}
		if err := e.fails(i, Start); err != nil {
			return err
		}
		i.status = driver.Status{ID: id, Generation: i.status.Generation, Condition: driver.Running, Started: time.Now()}
		if b, _ := parse(i.wanted.Spec.Command); b.exits {
			e.endLater(i, b)
		}
		return nil
	})
}

// endLater ends one run of an instance by itself.
func (e *Engine) endLater(i *instance, b behaviour) {
	started := i.status.Started
	i.timer = time.AfterFunc(b.after, func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		if i.status.Condition == driver.Running && i.status.Started.Equal(started) {
			i.end(b.code, fmt.Sprintf("exited with code %d", b.code))
			e.tell(i.status.ID)
		}
	})
}

// Stop takes its time, and the grace time too when the command ignores it.
func (d *Driver) Stop(ctx context.Context, id string, grace time.Duration) error {
	if d.ignoresStop(id) {
		if err := pause(ctx, grace); err != nil {
			return unanswered("stop instance "+id, err)
		}
	}
	return d.step(ctx, id, Stop, func(e *Engine, i *instance) error {
		if i == nil || i.status.Condition != driver.Running {
			return nil
		}
		if err := e.fails(i, Stop); err != nil {
			return err
		}
		code := 143
		if b, _ := parse(i.wanted.Spec.Command); b.stubborn {
			code = 137
		}
		i.end(code, "stopped")
		return nil
	})
}

func (d *Driver) ignoresStop(id string) bool {
	d.engine.mu.Lock()
	defer d.engine.mu.Unlock()
	i, ok := d.engine.instances[id]
	if !ok || i.status.Condition != driver.Running {
		return false
	}
	b, _ := parse(i.wanted.Spec.Command)
	return b.stubborn
}

// Delete takes its time, then forgets the instance.
func (d *Driver) Delete(ctx context.Context, id string) error {
	return d.step(ctx, id, Delete, func(e *Engine, i *instance) error {
		if i == nil {
			return nil
		}
		if err := e.fails(i, Delete); err != nil {
			return err
		}
		if i.timer != nil {
			i.timer.Stop()
		}
		delete(e.instances, id)
		return nil
	})
}

// Status looks one instance up.
func (d *Driver) Status(ctx context.Context, id string) (driver.Status, error) {
	if err := d.engine.answer(ctx); err != nil {
		return driver.Status{}, unanswered("look up instance "+id, err)
	}
	d.engine.mu.Lock()
	defer d.engine.mu.Unlock()
	if i, ok := d.engine.instances[id]; ok {
		return i.status, nil
	}
	return driver.Status{ID: id, Condition: driver.Absent}, nil
}

// List gives all instances of the engine, in the order of their ids.
func (d *Driver) List(ctx context.Context) ([]driver.Status, error) {
	if err := d.engine.answer(ctx); err != nil {
		return nil, unanswered("list the instances", err)
	}
	d.engine.mu.Lock()
	defer d.engine.mu.Unlock()
	list := make([]driver.Status, 0, len(d.engine.instances))
	for _, i := range d.engine.instances {
		list = append(list, i.status)
	}
	slices.SortFunc(list, func(a, b driver.Status) int { return strings.Compare(a.ID, b.ID) })
	return list, nil
}

// Statistics says that every running instance uses a tenth of what it asked for.
func (d *Driver) Statistics(ctx context.Context, ids []string) ([]cluster.InstanceStatistics, error) {
	if err := d.engine.answer(ctx); err != nil {
		return nil, unanswered("sample the instances", err)
	}
	d.engine.mu.Lock()
	defer d.engine.mu.Unlock()
	var list []cluster.InstanceStatistics
	for _, id := range ids {
		if i, ok := d.engine.instances[id]; ok && i.status.Condition == driver.Running {
			asked := i.wanted.Spec.Requirements
			list = append(list, cluster.InstanceStatistics{
				Instance: id, CPU: float64(asked.VCPUs) / 10 / float64(cluster.VCPU), MemoryMiB: asked.MemoryMiB / 10, DiskMiB: -1, Pids: 1,
			})
		}
	}
	return list, nil
}

// step waits as long as a step takes, then does it at one instant; do gets nil for an instance that is not there.
func (d *Driver) step(ctx context.Context, id string, step Step, do func(*Engine, *instance) error) error {
	doing := fmt.Sprintf("%s instance %s", step, id)
	if err := pause(ctx, d.engine.takes(id, step)); err != nil {
		return unanswered(doing, err)
	}
	if err := d.engine.answer(ctx); err != nil {
		return unanswered(doing, err)
	}
	d.engine.mu.Lock()
	defer d.engine.mu.Unlock()
	if err := do(d.engine, d.engine.instances[id]); err != nil {
		return err
	}
	d.engine.tell(id)
	return nil
}

// answer waits while the engine is frozen.
func (e *Engine) answer(ctx context.Context) error {
	e.mu.Lock()
	frozen := e.frozen
	e.mu.Unlock()
	if frozen == nil {
		return ctx.Err()
	}
	select {
	case <-frozen:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func pause(ctx context.Context, length time.Duration) error {
	if length <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(length)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// unanswered is the error of a call that was given up: the caller's own cancellation stays what it is.
func unanswered(doing string, err error) error {
	if err == context.Canceled {
		return fmt.Errorf("%s: %w", doing, err)
	}
	return fmt.Errorf("%s: the simulated engine did not answer in time: %w: %w", doing, cluster.ErrUnavailable, err)
}
