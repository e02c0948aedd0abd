package ssntp

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"
)

var (
	errOtherRun = errors.New("the session belongs to an earlier conversation")
	errStale    = errors.New("a newer connection of this session exists")
)

// serve takes a connection from the gate to its end.
func (s *Server) serve(ctx context.Context, l *link, v *visit) {
	p, err := s.letIn(ctx, l, v)
	if p == nil {
		if l.closed() { // by the gate, which knows why
			err = l.cause
		}
		level := slog.LevelWarn
		if errors.Is(err, errHungUp) { // thousands may, and dial again
			level = slog.LevelDebug
		}
		s.log.Log(ctx, level, "refused a connection", "remote", l.raw.RemoteAddr().String(), "peer", l.peer, "error", err)
		l.refuse(err)
		return
	}
	<-p.ready
	p.endpoint.begin(func(a *arrival) { s.route(p, a.frame) })
	if err != nil {
		l.close(err)
	} else {
		err = p.endpoint.pump(l)
	}
	s.lost(p, l, err)
}

// letIn takes a connection through the gate. With an error and a peer it broke
// after it was given to the peer's session.
func (s *Server) letIn(ctx context.Context, l *link, v *visit) (*peer, error) {
	defer s.gate.leave(v)
	if err := v.await(); err != nil {
		return nil, err
	}
	l.raw.visit = v
	p, err := s.welcome(ctx, l)
	l.raw.visit = nil
	if p != nil && err == nil {
		s.gate.passed(v)
	}
	return p, err
}

// welcome does the handshake: TLS, hello, routing table, welcome.
func (s *Server) welcome(ctx context.Context, l *link) (*peer, error) {
	if err := l.raw.SetWriteDeadline(time.Now().Add(s.limits.Handshake)); err != nil {
		return nil, err
	}
	hi, err := s.readHello(ctx, l)
	if err != nil {
		return nil, err
	}
	p, answer, err := s.admit(ctx, l, hi)
	if err != nil {
		return nil, err
	}
	answer.identity = s.identity
	if err := l.writeControl(welcome, answer); err != nil {
		return p, fmt.Errorf("write welcome: %w", err)
	}
	return p, l.established()
}

func (s *Server) readHello(ctx context.Context, l *link) (greeting, error) {
	config, err := s.handshakeConfig()
	if err != nil {
		return greeting{}, err
	}
	conn := tls.Server(l.raw, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		return greeting{}, fmt.Errorf("TLS handshake: %w", err)
	}
	if err := l.secured(conn, config.Certificates[0].Leaf); err != nil {
		return greeting{}, err
	}
	if s.config.Admit != nil {
		if err := s.config.Admit(l.peer, conn.ConnectionState().PeerCertificates[0]); err != nil {
			return greeting{}, fmt.Errorf("%w: %w", ErrNotAuthorized, err)
		}
	}
	hi, err := l.readControl(hello)
	if err != nil {
		return greeting{}, fmt.Errorf("read hello: %w", err)
	}
	if l.peer.ID == s.identity.ID {
		return greeting{}, fmt.Errorf("%w: this is the server's own id: give each process its own certificate", ErrNotAuthorized)
	}
	l.setHeartbeat(s.limits.Heartbeat)
	return hi, hi.check(l.peer, s.limits.Payload)
}

// handshakeConfig is for one handshake. While the certificate stays the same it
// is the same one, which all connections hold together.
func (s *Server) handshakeConfig() (*tls.Config, error) {
	own, err := ownCertificate(s.config.Certificate, s.identity)
	if err != nil {
		return nil, err
	}
	last := s.handshake.Load()
	if last != nil && slices.EqualFunc(last.Certificates[0].Certificate, own.Certificate, bytes.Equal) {
		return last, nil
	}
	config := serverTLS(own, s.config.Roots)
	s.handshake.Store(config)
	return config, nil
}

// admit finds or makes the session that a hello asks for.
func (s *Server) admit(ctx context.Context, l *link, hi greeting) (*peer, greeting, error) {
	for {
		old := s.table.find(hi.identity.ID)
		if old != nil && old.session == hi.session && old.identity == hi.identity {
			answer, err := old.attach(l, hi)
			if !errors.Is(err, errOtherRun) {
				if err != nil {
					return nil, greeting{}, err
				}
				return old, answer, nil
			}
		}
		if old != nil && slices.Contains(old.former, hi.session) {
			return nil, greeting{}, ErrSuperseded
		}
		p := newPeer(ctx, hi.identity, hi.session, s.identity.ID, &s.limits)
		if old != nil && old.session != hi.session {
			p.supersedes(old)
		}
		answer, err := p.attach(l, greeting{
			epoch: hi.epoch, frames: hi.frames, bytes: hi.bytes,
		})
		if err != nil {
			return nil, greeting{}, err
		}
		if !s.table.replace(old, p) {
			p.cancel(errOtherRun)
			if s.table.isClosed() {
				return nil, greeting{}, fmt.Errorf("%w: the server stops", ErrClosed)
			}
			continue
		}
		if old != nil {
			s.finish(old, ErrSuperseded, reasonSuperseded)
		}
		return p, answer, nil
	}
}

// lost deals with the end of a connection. The session waits a while for the
// next one, unless its process has said that it is over.
func (s *Server) lost(p *peer, l *link, cause error) {
	returned := p.detach(l)
	if returned == nil {
		return
	}
	s.log.Info("lost a connection", "peer", p.identity, "error", cause)
	if bye := (*farewell)(nil); errors.As(cause, &bye) && bye.code == reasonShutdown {
		s.end(p, cause, 0)
		return
	}
	if !s.awaitReturn(p, returned) {
		s.end(p, fmt.Errorf("not back within %v: %w", s.limits.Resume, cause), 0)
	}
}

// crowdPatience is how many times as long a session may wait for its next
// connection at most, since others wait at the gate.
const crowdPatience = 8

// awaitReturn waits for a lost connection to come back. It is false when
// Limits.Resume has passed, in which nobody had to wait at the gate: the one who
// is missed could be among them.
func (s *Server) awaitReturn(p *peer, returned <-chan struct{}) bool {
	lost := time.Now()
	last := lost.Add(crowdPatience * s.limits.Resume)
	for due := lost.Add(s.limits.Resume); ; {
		if p.awaitReturn(returned, time.Until(due)) {
			return true
		}
		next := s.gate.crowded().Add(s.limits.Resume)
		if next.After(last) {
			next = last
		}
		if !next.After(due) {
			return false
		}
		due = next
	}
}
