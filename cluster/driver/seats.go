package driver

import (
	"context"
	"fmt"
	"sync"

	"github.com/ciaocloud/ciao/cluster"
)

// Seats are who has which console, for drivers whose consoles serve one user at a time. The zero value is ready to use; all methods may
// be called from many goroutines.
type Seats struct {
	mu sync.Mutex
	by map[string]*taken
}

type taken struct {
	lose context.CancelCauseFunc
	left chan struct{}
}

var (
	errOccupied  = fmt.Errorf("%w: somebody else is at this console; `ciao console --force` takes it over, and `ciao logs --follow` shows what is printed there", cluster.ErrConflict)
	errTakenOver = fmt.Errorf("%w: somebody else has taken this console over", cluster.ErrConflict)
)

// Take gives an instance's console to the caller until leave is called. The context that it returns ends when another takes it over.
func (s *Seats) Take(ctx context.Context, id string, takeover bool) (context.Context, func(), error) {
	for {
		other, mine, leave := s.sit(ctx, id)
		if other == nil {
			return mine, leave, nil
		}
		if !takeover {
			return nil, nil, errOccupied
		}
		other.lose(errTakenOver)
		select {
		case <-other.left:
		case <-ctx.Done():
			return nil, nil, context.Cause(ctx)
		}
	}
}

// sit takes a free console, or returns who has it.
func (s *Seats) sit(ctx context.Context, id string) (other *taken, mine context.Context, leave func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if other = s.by[id]; other != nil {
		return other, nil, nil
	}
	if s.by == nil {
		s.by = map[string]*taken{}
	}
	own := &taken{left: make(chan struct{})}
	mine, own.lose = context.WithCancelCause(ctx)
	s.by[id] = own
	return nil, mine, func() {
		own.lose(nil)
		s.mu.Lock()
		delete(s.by, id)
		s.mu.Unlock()
		close(own.left)
	}
}
