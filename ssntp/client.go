package ssntp

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
)

// Handler is what a client calls, always from one goroutine, in the order in
// which things happened. While it blocks, the hub holds frames back, and then
// answers their senders Undeliverable.
type Handler interface {
	// Connected: a connection is there. When resumed is false the server knew
	// nothing of this client (it restarted, or is another one): tell it the
	// whole state again.
	Connected(ctx context.Context, server Identity, resumed bool)
	// Disconnected: the connection is lost; the client dials again by itself.
	Disconnected(ctx context.Context, reason error)
	// Receive gets every frame for this client.
	Receive(ctx context.Context, f Frame)
}

// ClientConfig says how a client works. Addresses, Certificate, Roots and
// Handler are required.
type ClientConfig struct {
	// Addresses are servers as host:port, tried in turn. The host must be a
	// name in the server's certificate, unless ServerName is given.
	Addresses  []string
	ServerName string
	// Certificate returns the client's own certificate. It is asked at every
	// dial, and again when two thirds of the lifetime of the one in use have
	// passed; a new one then takes over the session without a gap. Its identity
	// must stay the same.
	Certificate func() (*tls.Certificate, error)
	// Roles to appear in, of those in the certificate; zero means all of them.
	Roles   Role
	Roots   *x509.CertPool
	Handler Handler
	Limits  Limits
	Logger  *slog.Logger // nil logs nothing
	// Dial opens the transport; nil dials TCP.
	Dial func(ctx context.Context, address string) (net.Conn, error)
}

// Client keeps a session with one of its servers. Its methods may be called
// from any goroutine.
type Client struct {
	config   ClientConfig
	identity Identity
}

// NewClient checks the configuration and loads the certificate once.
func NewClient(config ClientConfig) (*Client, error) { return nil, ErrClosed }

// Identity is the client's own.
func (c *Client) Identity() Identity { return c.identity }

// Run keeps the session until ctx ends; then it sends what is queued, for at
// most Limits.Drain, says goodbye, waits for all its goroutines and returns
// nil. It returns ErrSuperseded when another process with the same identity
// has taken over; every other trouble is retried. It may be called once.
func (c *Client) Run(ctx context.Context) error { return ErrClosed }

// Send queues a frame. It blocks while the queue is full, until ctx ends, and
// works without a connection: the frame goes out with the next one. A frame
// without a destination goes to whoever the rule names. A droppable frame
// replaces the one of its operand that still waits, and is dropped when the
// queue is full. Nil means queued; if the hub cannot pass it on, Receive gets
// an Undeliverable. Errors: ErrNotAuthorized, ErrTooLarge, ErrClosed, or the
// cause of ctx.
func (c *Client) Send(ctx context.Context, f Frame) error { return ErrClosed }
