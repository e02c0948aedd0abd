package concentrator

import (
	"context"
	"sync"
	"time"

	"github.com/ciaocloud/ciao/cluster/driver"
)

// upkeep is how often outputs are bounded and certificates looked at.
const upkeep = time.Minute

// Watch implements driver.Driver. While somebody watches, the driver also keeps outputs bounded and renews certificates.
func (d *Driver) Watch(ctx context.Context) <-chan string {
	changes, out := make(chan string, 64), make(chan string)
	d.mu.Lock()
	d.watchers[changes] = true
	d.mu.Unlock()
	go d.watch(ctx, changes, out)
	return out
}

func (d *Driver) watch(ctx context.Context, changes chan string, out chan<- string) {
	defer close(out)
	vigil := vigil{ctx: ctx, driver: d, awaited: map[string]process{}}
	defer vigil.group.Wait()
	defer d.unwatch(changes)
	vigil.all()
	tick := time.NewTicker(upkeep)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			d.keep(ctx)
		case id := <-changes:
			vigil.look(id)
			select {
			case out <- id:
			case <-ctx.Done():
				return
			}
		}
	}
}

func (d *Driver) unwatch(changes chan string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.watchers, changes)
}

// keep does the upkeep of every concentrator.
func (d *Driver) keep(ctx context.Context) {
	all, err := d.List(ctx)
	if err != nil {
		d.logger.Warn("upkeep put off", "error", err)
		return
	}
	for _, status := range all {
		c := d.carrier(status.ID)
		if status.Condition != driver.Running {
			continue
		}
		c.bound()
		if err := d.identify(ctx, c); err != nil {
			d.logger.Error("certificate not renewed", "cnci", c.id, "error", err)
		}
	}
}

// changed tells the watchers. One that does not keep up is told that it missed something.
func (d *Driver) changed(id string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for changes := range d.watchers {
		if len(changes) == cap(changes)-1 {
			id = ""
		}
		select {
		case changes <- id:
		default: // it is full and ends with what was missed
		}
	}
}

// vigil waits for the ends of agents, whoever started them: one goroutine for each, parked in the poller.
type vigil struct {
	ctx     context.Context // of the watch
	driver  *Driver
	awaited map[string]process // by instance
	group   sync.WaitGroup
}

// look begins to wait for an agent that is new; an empty id is all of them.
func (v *vigil) look(id string) {
	if id == "" {
		v.all()
		return
	}
	c := v.driver.carrier(id)
	script, _ := c.processes()
	if script.pid == 0 {
		delete(v.awaited, id)
		return
	}
	if v.awaited[id] == script {
		return
	}
	v.awaited[id] = script
	v.group.Go(func() {
		if script.wait(v.ctx) == nil {
			v.driver.changed(id)
		}
	})
}

func (v *vigil) all() {
	all, err := v.driver.List(v.ctx)
	if err != nil {
		v.driver.logger.Warn("ends of agents not awaited", "error", err)
		return
	}
	for _, status := range all {
		if status.Condition == driver.Running {
			v.look(status.ID)
		}
	}
}
