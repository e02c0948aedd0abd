package controller

import (
	"sync"
	"time"

	"github.com/ciaocloud/ciao/cluster"
)

// samples keeps the latest statistics of each node in memory; they never reach the store.
type samples struct {
	mu     sync.Mutex
	latest map[string]cluster.NodeStatistics
	heard  map[string]time.Time
}

func newSamples() *samples {
	return &samples{latest: map[string]cluster.NodeStatistics{}, heard: map[string]time.Time{}}
}

func (s *samples) put(node string, sample cluster.NodeStatistics) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sample.Node = node
	s.latest[node] = sample
}

// hear notes a sign of life.
func (s *samples) hear(node string, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.heard[node] = now
}

func (s *samples) seen(node string) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.heard[node]
}

func (s *samples) node(node string) (cluster.NodeStatistics, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sample, ok := s.latest[node]
	return sample, ok
}
