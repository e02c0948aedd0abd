package controller

import (
	"sync"
)

// progress passes on how far starts have come; a reader that is too slow misses some.
type progress struct {
	mu      sync.Mutex
	readers map[chan Change]struct{}
}

func newProgress() *progress { return &progress{readers: map[chan Change]struct{}{}} }

func (p *progress) subscribe() (changes <-chan Change, cancel func()) {
	reader := make(chan Change, 64)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.readers[reader] = struct{}{}
	return reader, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.readers, reader)
	}
}

func (p *progress) publish(change Change) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for reader := range p.readers {
		select {
		case reader <- change:
		default:
		}
	}
}

// idle says that nobody reads.
func (p *progress) idle() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.readers) == 0
}
