package launcher

import (
	"context"
	"slices"
	"sync"
	"time"
)

// starts lets as many instances be created and started at one time as the pace says, in the order in which they ask.
type starts struct {
	mu      sync.Mutex
	pace    pace
	running int
	waiting []chan struct{} // closed when its turn has come
}

func newStarts(most int) *starts { return &starts{pace: newPace(most)} }

// acquire waits for a turn, which release ends.
func (s *starts) acquire(ctx context.Context) error {
	s.mu.Lock()
	if len(s.waiting) == 0 && s.pace.may(s.running) {
		s.running++
		s.mu.Unlock()
		return nil
	}
	turn := make(chan struct{})
	s.waiting = append(s.waiting, turn)
	s.mu.Unlock()
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	if i := slices.Index(s.waiting, turn); i >= 0 {
		s.waiting = slices.Delete(s.waiting, i, i+1)
		s.mu.Unlock()
		return context.Cause(ctx)
	}
	s.mu.Unlock()
	s.release() // the turn came at the same moment
	return context.Cause(ctx)
}

func (s *starts) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running--
	for len(s.waiting) > 0 && s.pace.may(s.running) {
		s.running++
		close(s.waiting[0])
		s.waiting = s.waiting[1:]
	}
}

// learn tells the pace of work that has succeeded and was not interrupted by a wait for others.
func (s *starts) learn(w work, begun time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pace.done(w, time.Since(begun), s.running)
}
