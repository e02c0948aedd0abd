package shim

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// upkeep is how often Source.Upkeep is called.
const upkeep = time.Minute

// Watchers tells those who watch a driver's instances of changes, and of the ends of their programs. The zero value is ready.
type Watchers struct {
	mu       sync.Mutex
	watchers map[chan string]bool
}

// Source is what is watched.
type Source struct {
	// Running lists the ids of the instances whose programs run.
	Running func(ctx context.Context) ([]string, error)
	// Shim is an instance's.
	Shim func(id string) Shim
	// Upkeep is called once a minute while somebody watches.
	Upkeep func(ctx context.Context)
	Logger *slog.Logger
}

// Watch sends the id of every instance of which Changed is called or whose program ends, until ctx ends; then it closes the channel. An
// empty id says that something was missed.
func (w *Watchers) Watch(ctx context.Context, source Source) <-chan string {
	changes, out := make(chan string, 64), make(chan string)
	w.mu.Lock()
	if w.watchers == nil {
		w.watchers = map[chan string]bool{}
	}
	w.watchers[changes] = true
	w.mu.Unlock()
	go w.watch(ctx, source, changes, out) // until ctx ends
	return out
}

func (w *Watchers) watch(ctx context.Context, source Source, changes chan string, out chan<- string) {
	defer close(out)
	vigil := vigil{ctx: ctx, source: source, watchers: w, awaited: map[string]process{}}
	defer vigil.group.Wait()
	defer w.unwatch(changes)
	vigil.all()
	tick := time.NewTicker(upkeep)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			source.Upkeep(ctx)
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

func (w *Watchers) unwatch(changes chan string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.watchers, changes)
}

// Changed tells the watchers of an instance. One that does not keep up is told that it missed something.
func (w *Watchers) Changed(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for changes := range w.watchers {
		if len(changes) == cap(changes)-1 {
			id = ""
		}
		select {
		case changes <- id:
		default: // it is full and ends with what was missed
		}
	}
}

// vigil waits for the ends of programs, whoever started them: one goroutine for each, parked in the poller.
type vigil struct {
	ctx      context.Context // of the watch
	source   Source
	watchers *Watchers
	awaited  map[string]process // by instance
	group    sync.WaitGroup
}

// look begins to wait for a program that is new; an empty id is all of them.
func (v *vigil) look(id string) {
	if id == "" {
		v.all()
		return
	}
	script, _ := v.source.Shim(id).processes()
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
			v.watchers.Changed(id)
		}
	})
}

func (v *vigil) all() {
	running, err := v.source.Running(v.ctx)
	if err != nil {
		v.source.Logger.Warn("ends of programs not awaited", "error", err)
		return
	}
	for _, id := range running {
		v.look(id)
	}
}
