package ssntp

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
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
	// Admit, when set, may refuse a verified peer, for revocation. To cut those
	// already connected, use Server.Disconnect.
	Admit  func(peer Identity, certificate *x509.Certificate) error
	Limits Limits
	Logger *slog.Logger // nil logs nothing
}

// Server accepts peers and is their hub. Its methods may be called from any
// goroutine.
type Server struct {
	config   ServerConfig
	identity Identity
}

// NewServer checks the configuration and loads the certificate once.
func NewServer(config ServerConfig) (*Server, error) {
	return nil, ErrClosed
}

// Identity is the server's own.
func (s *Server) Identity() Identity { return s.identity }

// Run serves a listener (plain TCP or alike; TLS is added) until ctx ends, then
// says goodbye to all peers and waits for all its goroutines. It closes the
// listener. It returns nil when ctx ended it. It may be called once.
func (s *Server) Run(ctx context.Context, listener net.Listener) error { return ErrClosed }

// Send sends a frame of the server's own: to its destination, or without one to
// every connected peer that the rule names. It never blocks. ErrUndeliverable
// means that the destination is not connected or its queue is full; a multicast
// reaches those it can and does not fail.
func (s *Server) Send(f Frame) error { return ErrClosed }

// Peers returns the identities of all sessions, in no order.
func (s *Server) Peers() []Identity { return nil }

// Disconnect ends the session of a peer, as after revocation of its
// certificate. It reports whether there was one, and returns before the owner
// is told.
func (s *Server) Disconnect(peer ID, reason string) bool { return false }
