package image

import (
	"context"
	"sync"
)

// flights lets many callers in this process share one piece of work. Each caller's context ends only its own wait; the work is
// cancelled when nobody waits any more.
type flights struct {
	mu   sync.Mutex
	list map[string]*flight
}

type flight struct {
	done   chan struct{}
	result Image
	err    error

	cancel  context.CancelFunc
	mu      sync.Mutex
	waiting map[*Report]struct{} // one for each caller
}

// send passes progress on to everybody who waits.
func (f *flight) send(p Progress) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for r := range f.waiting {
		r.send(p)
	}
}

// join returns the flight of that name, started if need be.
func (fs *flights) join(ctx context.Context, name string, me *Report, do func(context.Context, Report) (Image, error)) *flight {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	f := fs.list[name]
	if f == nil {
		work, cancel := context.WithCancel(context.WithoutCancel(ctx))
		f = &flight{done: make(chan struct{}), cancel: cancel, waiting: make(map[*Report]struct{})}
		if fs.list == nil {
			fs.list = make(map[string]*flight)
		}
		fs.list[name] = f
		go func() {
			defer close(f.done)
			f.result, f.err = do(work, f.send)
			cancel()
			fs.remove(name, f)
		}()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.waiting[me] = struct{}{}
	return f
}

func (fs *flights) remove(name string, f *flight) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if fs.list[name] == f {
		delete(fs.list, name)
	}
}

// leave takes a caller away, and the work with the last one.
func (fs *flights) leave(name string, f *flight, me *Report) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.waiting, me)
	if len(f.waiting) == 0 {
		f.cancel()
		if fs.list[name] == f {
			delete(fs.list, name) // who comes now starts anew
		}
	}
}

// alone runs do once for all concurrent callers in this process, and under the lock of name against other processes.
func (s *Store) alone(ctx context.Context, name string, report Report, do func(context.Context, Report) (Image, error)) (Image, error) {
	me := &report
	f := s.flights.join(ctx, name, me, func(ctx context.Context, all Report) (Image, error) {
		unlock, err := s.lock(ctx, name, all)
		if err != nil {
			return Image{}, err
		}
		defer unlock()
		return do(ctx, all)
	})
	defer s.flights.leave(name, f, me)
	select {
	case <-f.done:
		return f.result, f.err
	case <-ctx.Done():
		return Image{}, context.Cause(ctx)
	}
}
