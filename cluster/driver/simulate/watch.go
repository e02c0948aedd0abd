package simulate

import (
	"context"

	"github.com/ciaocloud/ciao/cluster/driver"
)

// watcher is one receiver of changes; Engine.mu guards waiting and known.
type watcher struct {
	waiting []string
	known   map[string]bool
	wake    chan struct{} // holds one token while ids may wait
}

// tell lets it be known that an instance has changed, or with an empty id that all may have: it queues the id, each once, for every
// watcher. The caller holds Engine.mu.
func (e *Engine) tell(id string) {
	e.show(id)
	for w := range e.watchers {
		if !w.known[id] {
			w.known[id] = true
			w.waiting = append(w.waiting, id)
		}
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
}

// show tells Config.Changed.
func (e *Engine) show(id string) {
	if e.config.Changed == nil {
		return
	}
	if id == "" {
		for _, i := range e.instances {
			e.config.Changed(i.status)
		}
		return
	}
	if i := e.instances[id]; i != nil {
		e.config.Changed(i.status)
		return
	}
	e.config.Changed(driver.Status{ID: id, Condition: driver.Absent})
}

// Watch sends what changes from now on.
func (d *Driver) Watch(ctx context.Context) <-chan string {
	e, out := d.engine, make(chan string)
	w := &watcher{known: map[string]bool{}, wake: make(chan struct{}, 1)}
	e.mu.Lock()
	e.watchers[w] = struct{}{}
	e.mu.Unlock()
	go func() {
		defer close(out)
		defer e.forget(w)
		for {
			select {
			case <-w.wake:
			case <-ctx.Done():
				return
			}
			for _, id := range e.take(w) {
				select {
				case out <- id:
				case <-ctx.Done():
					return
				}
			}
		}
	}()
	return out
}

func (e *Engine) take(w *watcher) []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	ids := w.waiting
	w.waiting = nil
	clear(w.known)
	return ids
}

func (e *Engine) forget(w *watcher) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.watchers, w)
}
