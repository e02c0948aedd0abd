package ssntp

import (
	"context"
	"fmt"
	"time"
)

// recheck asks Admit now and then about those who are connected, and cuts those
// whom it refuses by now.
func (s *Server) recheck(ctx context.Context) {
	if s.config.Admit == nil {
		return
	}
	tick := time.NewTicker(s.limits.Recheck)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		s.Reconsider()
	}
}

// Reconsider asks Admit about all who are connected, now, as after a change of
// what it knows.
func (s *Server) Reconsider() {
	if s.config.Admit == nil {
		return
	}
	for _, p := range s.table.all() {
		s.reconsider(p)
	}
}

// reconsider ends a session whose connection would not be admitted any more. One
// without a connection is looked at when it has the next.
func (s *Server) reconsider(p *peer) {
	p.endpoint.mu.Lock()
	l := p.endpoint.link
	p.endpoint.mu.Unlock()
	if l == nil {
		return
	}
	if err := s.config.Admit(l.peer, l.shown); err != nil {
		s.log.Warn("ended a session: its peer is admitted no more", "peer", p.identity, "error", err)
		s.end(p, fmt.Errorf("%w: %w", ErrNotAuthorized, err), reasonRevoked)
	}
}
