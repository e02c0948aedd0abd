package ssntp

import (
	"context"
	"fmt"
	"time"
)

// maxViolations is how many unauthorized frames end a session.
const maxViolations = 32

// route checks a frame against the authority table and passes it on.
func (s *Server) route(p *peer, f Frame) {
	if !f.Source.IsZero() && f.Source != p.identity.ID {
		s.log.Error("ended a session: it claims to speak for another", "peer", p.identity, "source", f.Source, "operand", f.Operand)
		s.end(p, fmt.Errorf("%w: a frame claims to come from %v", ErrNotAuthorized, f.Source), reasonNotAuthorized)
		return
	}
	f.Source = p.identity.ID
	s.tapped(p.identity, &f)
	rule := ruleOf(f.Operand)
	switch {
	case rule == nil:
		s.refuse(f, InvalidFrame, "unknown operand: this hub is of another version")
		return
	case rule.From&p.identity.Roles == 0:
		s.violation(p, f, fmt.Sprintf("%v may not send %v", p.identity.Roles, f.Operand))
		return
	case f.Destination.IsZero() && !rule.Multicast:
		s.refuse(f, InvalidFrame, f.Operand.String()+" needs a destination")
		return
	}
	if f.Trace != nil {
		f.Trace = f.Trace.arrived(s.identity.ID, time.Now())
		s.log.Debug("traced frame", "operand", f.Operand, "source", f.Source, "destination", f.Destination, "trace", f.Trace)
	}
	if f.Destination.IsZero() {
		s.multicast(f, rule)
		if rule.To&s.identity.Roles != 0 {
			s.config.Owner.Receive(p.ctx, f)
		}
		return
	}
	s.forward(p, f, rule)
}

// forward passes on a frame with a destination.
func (s *Server) forward(p *peer, f Frame, rule *Rule) {
	if f.Destination == s.identity.ID {
		if rule.To&s.identity.Roles == 0 {
			s.violation(p, f, fmt.Sprintf("%v is not for %v", f.Operand, s.identity.Roles))
			return
		}
		s.config.Owner.Receive(p.ctx, f)
		return
	}
	to := s.table.find(f.Destination)
	if to == nil {
		s.refuse(f, Undeliverable, "the destination is not connected")
		return
	}
	if rule.To&to.identity.Roles == 0 {
		s.violation(p, f, fmt.Sprintf("%v is not for %v", f.Operand, to.identity.Roles))
		return
	}
	if err := to.endpoint.push(f, rule.Droppable); err != nil && !rule.Droppable {
		s.refuse(f, Undeliverable, "the destination takes no more: "+err.Error())
	}
}

// violation answers a forbidden frame, and ends a session that goes on.
func (s *Server) violation(p *peer, f Frame, why string) {
	s.log.Warn("refused a frame", "peer", p.identity, "operand", f.Operand, "destination", f.Destination, "error", why)
	s.refuse(f, NotAuthorized, why)
	if p.violations++; p.violations >= maxViolations {
		s.end(p, fmt.Errorf("%w: %d forbidden frames, the last one: %s", ErrNotAuthorized, p.violations, why), reasonNotAuthorized)
	}
}

// multicast queues a frame for every peer that the rule names, but its source.
func (s *Server) multicast(f Frame, rule *Rule) {
	s.table.eachOf(rule.To, func(p *peer) {
		if p.identity.ID == f.Source {
			return
		}
		if err := p.endpoint.push(f, rule.Droppable); err != nil && !rule.Droppable {
			s.log.Warn("dropped a multicast frame: a peer is too slow", "peer", p.identity, "operand", f.Operand, "source", f.Source, "error", err)
		}
	})
}

// unicast queues a frame of the server's own.
func (s *Server) unicast(f Frame, rule *Rule) error {
	to := s.table.find(f.Destination)
	if to == nil {
		return fmt.Errorf("%w: %v for %v, which is not connected", ErrUndeliverable, f.Operand, f.Destination)
	}
	if rule.To&to.identity.Roles == 0 {
		return fmt.Errorf("%w: %v is not for %v", ErrNotAuthorized, f.Operand, to.identity)
	}
	if err := to.endpoint.push(f, rule.Droppable); err != nil && !rule.Droppable {
		return fmt.Errorf("%w: %v for %v: %w", ErrUndeliverable, f.Operand, f.Destination, err)
	}
	return nil
}

// refuse answers the sender of a frame. Errors are not answered, so that two
// peers cannot keep each other busy.
func (s *Server) refuse(f Frame, operand Operand, why string) {
	if f.Operand.Kind() == KindError {
		return
	}
	answer := refusalOf(f, operand, s.identity.ID, why, s.limits.Payload)
	s.tapped(s.identity, &answer)
	if f.Source == s.identity.ID {
		s.config.Owner.Receive(context.Background(), answer)
		return
	}
	to := s.table.find(f.Source)
	if to == nil {
		return
	}
	if err := to.endpoint.push(answer, false); err != nil {
		s.log.Warn("dropped a refusal: its receiver is too slow", "peer", to.identity, "operand", f.Operand, "error", err)
	}
}

// end takes a peer out of the table and finishes its session.
func (s *Server) end(p *peer, cause error, code reason) {
	if s.table.remove(p, cause) {
		s.finish(p, cause, code)
	}
}

// finish ends a session that is out of the table. What it did not take is
// answered to the senders.
func (s *Server) finish(p *peer, cause error, code reason) {
	p.once.Do(func() {
		close(p.ended)
		p.cancel(cause)
		for _, f := range p.endpoint.finish(cause, code) {
			if rule := ruleOf(f.Operand); !f.Destination.IsZero() && !rule.Droppable {
				s.refuse(f, Undeliverable, "the session of the destination has ended: "+cause.Error())
			}
		}
	})
}
