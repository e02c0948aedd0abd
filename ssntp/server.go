package ssntp

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Owner is what a server calls. Connected and Disconnected come one at a time,
// in the order in which the routing table changed, so an owner that answers
// Connected from Peers misses nobody. Receive comes in order for each source,
// from several goroutines for several sources; Connected of a peer returns
// before its first Receive. None may block for long: while Receive does, its
// source is slowed down; while Connected or Disconnected does, so are all that
// connect.
type Owner interface {
	// Connected: a process with this identity has a new session.
	Connected(ctx context.Context, peer Identity)
	// Disconnected: its session has ended: it said goodbye, was superseded, or
	// did not return within Limits.Resume.
	Disconnected(ctx context.Context, peer Identity, reason error)
	// Receive gets the frames that are for the server's own roles, and
	// refusals of frames that the server sent itself.
	Receive(ctx context.Context, f Frame)
}

// ServerConfig says how a server works. Certificate, Roots and Owner are
// required.
type ServerConfig struct {
	// Certificate returns the server's own certificate. It is asked for every
	// handshake, so a renewed file takes effect without a restart. Its identity
	// must stay the same.
	Certificate func() (*tls.Certificate, error)
	// Roots are the authorities whose certificates peers may show.
	Roots *x509.CertPool
	Owner Owner
	// Admit, when set, may refuse a verified peer, for revocation. It is asked at
	// every handshake, and every Limits.Recheck about those who are connected,
	// from several goroutines.
	Admit  func(peer Identity, certificate *x509.Certificate) error
	Limits Limits
	Logger *slog.Logger // nil logs nothing
}

// Server accepts peers and is their hub. Its methods may be called from any
// goroutine.
type Server struct {
	config   ServerConfig
	limits   Limits
	identity Identity
	log      *slog.Logger
	table    table
	gate     gate

	handshake atomic.Pointer[tls.Config] // of the latest one
	tap       atomic.Pointer[func(Tapped)]
}

// NewServer checks the configuration and loads the certificate once.
func NewServer(config ServerConfig) (*Server, error) {
	if config.Certificate == nil || config.Roots == nil || config.Owner == nil {
		return nil, errors.New("ssntp: a server needs Certificate, Roots and Owner")
	}
	if err := config.Limits.withDefaults().validate(); err != nil {
		return nil, err
	}
	_, identity, err := loadCertificate(config.Certificate)
	if err != nil {
		return nil, err
	}
	if identity.Roles&hubs == 0 {
		return nil, fmt.Errorf("ssntp: the certificate is for %v: a server needs the role %v or %v", identity, RoleScheduler, RoleServer)
	}
	identity.Roles &= hubs
	s := &Server{config: config, limits: config.Limits.withDefaults(), identity: identity, log: loggerOr(config.Logger)}
	s.gate.init(&s.limits)
	s.table.init()
	return s, nil
}

func loggerOr(logger *slog.Logger) *slog.Logger {
	if logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return logger
}

// Identity is the server's own.
func (s *Server) Identity() Identity { return s.identity }

// Run serves a listener (plain TCP or alike; TLS is added) until ctx ends, then
// says goodbye to all peers and waits for all its goroutines. It closes the
// listener. It returns nil when ctx ended it. It may be called once.
func (s *Server) Run(ctx context.Context, listener net.Listener) error {
	var announcer sync.WaitGroup
	announcer.Go(func() { s.table.announce(s.config.Owner) })
	var rechecker sync.WaitGroup
	rechecking, stopRechecking := context.WithCancel(ctx)
	rechecker.Go(func() { s.recheck(rechecking) })

	var connections sync.WaitGroup
	stop := context.AfterFunc(ctx, func() { listener.Close() })
	err := s.acceptAll(ctx, listener, &connections)
	stop()
	listener.Close()
	stopRechecking()
	rechecker.Wait()
	s.endAll(fmt.Errorf("%w: the server stops", ErrClosed))
	s.gate.closeAll()
	connections.Wait()
	s.table.close()
	announcer.Wait()
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func (s *Server) acceptAll(ctx context.Context, listener net.Listener, connections *sync.WaitGroup) error {
	for {
		conn, err := listener.Accept()
		if ctx.Err() != nil {
			if err == nil {
				conn.Close()
			}
			return nil
		}
		if errors.Is(err, net.ErrClosed) {
			return fmt.Errorf("ssntp: listen: %w", err)
		}
		if err != nil {
			// Out of file descriptors, say: peers retry, and so do we.
			s.log.Warn("cannot accept a connection, trying again", "error", err)
			select {
			case <-time.After(acceptPause):
			case <-ctx.Done():
			}
			continue
		}
		l := newLink(conn, &s.limits)
		v := s.gate.enter(ctx, l)
		connections.Go(func() { s.serve(ctx, l, v) })
	}
}

const acceptPause = 100 * time.Millisecond

// Send sends a frame of the server's own: to its destination, or without one to
// every connected peer that the rule names. It never blocks. ErrUndeliverable
// means that the destination is not connected or its queue is full; a multicast
// reaches those it can and does not fail.
func (s *Server) Send(f Frame) error {
	rule := ruleOf(f.Operand)
	if rule == nil {
		return fmt.Errorf("%w: unknown operand %v", ErrInvalidFrame, f.Operand)
	}
	if rule.From&s.identity.Roles == 0 {
		return fmt.Errorf("%w: %v may not send %v", ErrNotAuthorized, s.identity.Roles, f.Operand)
	}
	if len(f.Payload) > s.limits.Payload {
		return fmt.Errorf("%w: %v of %d bytes, the limit is %d", ErrTooLarge, f.Operand, len(f.Payload), s.limits.Payload)
	}
	f.Source, f.Message = s.identity.ID, 0
	f.Trace = f.Trace.arrived(s.identity.ID, time.Now())
	s.tapped(s.identity, &f)
	if f.Destination.IsZero() {
		if !rule.Multicast {
			return fmt.Errorf("%w: %v needs a destination", ErrInvalidFrame, f.Operand)
		}
		s.multicast(f, rule)
		return nil
	}
	return s.unicast(f, rule)
}

// Peers returns the identities of all sessions, in no order.
func (s *Server) Peers() []Identity { return s.table.identities() }

// Connected returns the identities of the sessions that have a connection now,
// in no order.
func (s *Server) Connected() (connected []Identity) {
	for _, p := range s.table.all() {
		p.endpoint.mu.Lock()
		if p.endpoint.link != nil {
			connected = append(connected, p.identity)
		}
		p.endpoint.mu.Unlock()
	}
	return connected
}

// Handshakes returns what was counted at the gate.
func (s *Server) Handshakes() Handshakes { return s.gate.counts() }

// Disconnect ends the session of a peer, as after revocation of its
// certificate. It reports whether there was one, and returns before the owner
// is told.
func (s *Server) Disconnect(id ID, why string) bool {
	p := s.table.find(id)
	if p == nil {
		return false
	}
	s.end(p, fmt.Errorf("%w: cut by the operator: %s", ErrNotAuthorized, why), reasonRevoked)
	return true
}

// endAll ends every session when the server stops.
func (s *Server) endAll(cause error) {
	s.table.refuseNew()
	for _, p := range s.table.all() {
		s.end(p, cause, reasonShutdown)
	}
}
