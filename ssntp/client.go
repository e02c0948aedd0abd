package ssntp

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"
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
	// dial and every Limits.Recheck; a connection with a new one takes over the
	// session without a gap. Two thirds into the life of the one in use a new
	// one is missed. Its identity must stay the same.
	Certificate func() (*tls.Certificate, error)
	// Roles to appear in, of those in the certificate; zero means all of them.
	Roles Role
	Roots *x509.CertPool
	// Admit, when set, may refuse a verified server, for revocation. It is asked
	// at every handshake, and every Limits.Recheck about the connection there is.
	Admit   func(server Identity, certificate *x509.Certificate) error
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
	limits   Limits
	identity Identity
	session  ID
	log      *slog.Logger
	endpoint *endpoint

	// Only for the goroutine of Run, and for dial while Run waits for it.
	incarnation ID
	epoch       uint64
	attempt     int // for the choice of the address
	failures    int // to connect, since the last connection, and the attempt that goes on
}

// NewClient checks the configuration and loads the certificate once.
func NewClient(config ClientConfig) (*Client, error) {
	if config.Certificate == nil || config.Roots == nil || config.Handler == nil {
		return nil, errors.New("ssntp: a client needs Certificate, Roots and Handler")
	}
	if len(config.Addresses) == 0 {
		return nil, errors.New("ssntp: a client needs the address of a server, as host:port")
	}
	for _, address := range config.Addresses {
		if _, _, err := net.SplitHostPort(address); err != nil {
			return nil, fmt.Errorf("ssntp: server address %q is not host:port: %w", address, err)
		}
	}
	limits := config.Limits.withDefaults()
	if err := limits.validate(); err != nil {
		return nil, err
	}
	_, identity, err := loadCertificate(config.Certificate)
	if err != nil {
		return nil, err
	}
	if config.Roles&^identity.Roles != 0 {
		return nil, fmt.Errorf("ssntp: cannot appear as %v: the certificate is for %v", config.Roles, identity)
	}
	if config.Roles != 0 {
		identity.Roles = config.Roles
	}
	c := &Client{config: config, limits: limits, identity: identity, session: NewID(), log: loggerOr(config.Logger)}
	c.endpoint = newEndpoint(identity.ID, &c.limits)
	if c.config.Dial == nil {
		c.config.Dial = dialTCP
	}
	return c, nil
}

func dialTCP(ctx context.Context, address string) (net.Conn, error) {
	var dialer net.Dialer
	return dialer.DialContext(ctx, "tcp", address)
}

// Identity is the client's own.
func (c *Client) Identity() Identity { return c.identity }

// Run keeps the session until ctx ends; then it sends what is queued, for at
// most Limits.Drain, says goodbye, waits for all its goroutines and returns
// nil. It returns ErrSuperseded when another process with the same identity
// has taken over; every other trouble is retried. It may be called once.
func (c *Client) Run(ctx context.Context) error {
	handling, stop := context.WithCancel(context.WithoutCancel(ctx))
	c.endpoint.begin(func(a *arrival) { c.handle(handling, a) })
	err := c.keepConnected(ctx)
	c.endpoint.finish(ErrClosed, 0)
	stop()
	c.endpoint.awaitRest()
	return err
}

// Send queues a frame. It blocks while the queue is full, until ctx ends, and
// works without a connection: the frame goes out with the next one. A frame
// without a destination goes to whoever the rule names. A droppable frame
// replaces the one of its operand that still waits, and is dropped when the
// queue is full. Nil means queued; if the hub cannot pass it on, Receive gets
// an Undeliverable. Errors: ErrNotAuthorized, ErrTooLarge, ErrClosed, or the
// cause of ctx.
func (c *Client) Send(ctx context.Context, f Frame) error {
	rule := ruleOf(f.Operand)
	switch {
	case rule == nil:
		return fmt.Errorf("%w: unknown operand %v", ErrInvalidFrame, f.Operand)
	case rule.From&c.identity.Roles == 0:
		return fmt.Errorf("%w: %v may not send %v", ErrNotAuthorized, c.identity.Roles, f.Operand)
	case f.Destination.IsZero() && !rule.Multicast:
		return fmt.Errorf("%w: %v needs a destination", ErrInvalidFrame, f.Operand)
	case len(f.Payload) > c.limits.Payload:
		return fmt.Errorf("%w: %v of %d bytes, the limit is %d", ErrTooLarge, f.Operand, len(f.Payload), c.limits.Payload)
	}
	// The hub knows who we are; leaving the source out saves bytes.
	f.Source, f.Message = ID{}, 0
	if f.Trace != nil {
		f.Trace = f.Trace.arrived(c.identity.ID, time.Now())
	}
	if rule.Droppable {
		if err := c.endpoint.push(f, true); err != errQueueFull {
			return err
		}
		return nil
	}
	return c.endpoint.pushWait(ctx, f)
}

// handle is called for one arrival at a time.
func (c *Client) handle(ctx context.Context, a *arrival) {
	if a.change != nil {
		a.change(ctx)
		return
	}
	f := a.frame
	rule := ruleOf(f.Operand)
	switch {
	case rule == nil:
		c.log.Debug("skipped a frame of an unknown operand", "operand", f.Operand, "source", f.Source)
	case rule.To&c.identity.Roles == 0, !f.Destination.IsZero() && f.Destination != c.identity.ID:
		c.log.Warn("skipped a frame that is not for this client", "operand", f.Operand, "source", f.Source, "destination", f.Destination)
	default:
		if f.Trace != nil {
			f.Trace = f.Trace.arrived(c.identity.ID, time.Now())
		}
		c.config.Handler.Receive(ctx, f)
	}
}
