package ssntp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"
)

// keepConnected dials, serves the connection, and dials again.
func (c *Client) keepConnected(ctx context.Context) error {
	wait := backoff{limits: &c.limits}
	for ctx.Err() == nil {
		link, err := c.dial(ctx)
		if err == nil {
			wait.connected()
			for link != nil && err == nil {
				link, err = c.hold(ctx, link)
			}
		} else if ctx.Err() == nil {
			c.log.Warn("cannot connect to a server, trying again", "error", err)
		}
		if errors.Is(err, ErrSuperseded) {
			return err
		}
		wait.pause(ctx)
	}
	return nil
}

// hold serves a connection. It returns the connection that has taken over from
// it, or nil when it is lost.
func (c *Client) hold(ctx context.Context, l *link) (*link, error) {
	ended := make(chan error, 1)
	go func() { ended <- c.endpoint.pump(l) }()
	renewal := l.renewal()
	look := time.NewTimer(renewal.next(c.limits.Recheck))
	defer look.Stop()
	for {
		select {
		case err := <-ended:
			c.lost(l, err)
			return nil, err
		case <-look.C:
			if err := c.admit(l); err != nil {
				l.close(err)
				continue
			}
			next, err := c.renew(ctx, l, &renewal)
			if next != nil {
				<-ended
				return next, nil
			}
			if err != nil {
				c.log.Warn("cannot renew the connection, trying again", "expires", l.expires, "error", err)
			}
			look.Reset(max(renewal.next(c.limits.Recheck), min(c.limits.Recheck, time.Second)))
		case <-ctx.Done():
			c.drain(l, ended)
			return nil, nil
		}
	}
}

// lost reports the end of a connection.
func (c *Client) lost(l *link, cause error) {
	e := c.endpoint
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.link != l {
		return
	}
	e.link = nil
	c.log.Warn("lost the connection to the server", "server", l.peer, "error", cause)
	e.notifyLocked(func(ctx context.Context) { c.config.Handler.Disconnected(ctx, cause) })
}

// drain waits until everything is acknowledged, and says goodbye.
func (c *Client) drain(l *link, ended <-chan error) {
	limit := time.NewTimer(c.limits.Drain)
	defer limit.Stop()
	poll := time.NewTicker(max(c.limits.Drain/100, time.Millisecond))
	defer poll.Stop()
	for c.endpoint.unacknowledged() > 0 {
		select {
		case <-poll.C:
			continue
		case <-limit.C:
			c.log.Warn("stopped with frames that no server has acknowledged", "frames", c.endpoint.unacknowledged())
		case <-ended:
			return
		}
		break
	}
	l.part(reasonShutdown, "the process stops")
	<-ended
}

// dial tries the next address: TCP, TLS, hello, welcome. The connection it
// returns is attached to the session.
func (c *Client) dial(ctx context.Context) (*link, error) {
	address := c.config.Addresses[c.attempt%len(c.config.Addresses)]
	c.attempt++
	c.failures++
	dialling, cancel := context.WithTimeout(ctx, c.limits.Handshake)
	raw, err := c.config.Dial(dialling, address)
	cancel()
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", address, err)
	}
	ctx, cancel = context.WithTimeout(ctx, c.handshakeTime())
	defer cancel()
	l := newLink(raw, &c.limits)
	stop := context.AfterFunc(ctx, func() { raw.SetDeadline(time.Unix(1, 0)) })
	err = c.shakeHands(ctx, l, address)
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		c.abandon(l, err)
		return nil, fmt.Errorf("connect to %s: %w", address, err)
	}
	c.attempt-- // a server that works is the first to be tried again
	c.failures = 0
	return l, nil
}

// handshakeTime is how long an attempt may wait for its turn at a server that
// has taken the connection. It doubles with every round of failures: when
// thousands of clients come at once and each gives up before its turn, the
// server works for those alone that have given up.
func (c *Client) handshakeTime() time.Duration {
	rounds := (c.failures - 1) / len(c.config.Addresses)
	return c.limits.Handshake << min(rounds, 3)
}

// abandon closes a connection whose handshake failed, also when the session had
// it already.
func (c *Client) abandon(l *link, err error) {
	l.refuse(err)
	c.lost(l, err)
}

func (c *Client) shakeHands(ctx context.Context, l *link, address string) error {
	own, err := ownCertificate(c.config.Certificate, c.identity)
	if err != nil {
		return err
	}
	name := c.config.ServerName
	if name == "" {
		name, _, _ = net.SplitHostPort(address) // checked by NewClient
	}
	conn := tls.Client(l.raw, clientTLS(own, c.config.Roots, name))
	if err := conn.HandshakeContext(ctx); err != nil {
		return fmt.Errorf("TLS handshake: %w", err)
	}
	if err := l.secured(conn, own.Leaf); err != nil {
		return err
	}
	if l.peer.Roles&hubs == 0 {
		return fmt.Errorf("%w: the server's certificate is for %v", ErrNotAuthorized, l.peer)
	}
	if err := c.admit(l); err != nil {
		return err
	}
	hi := c.hello()
	if err := l.writeControl(hello, hi); err != nil {
		return fmt.Errorf("write hello: %w", err)
	}
	answer, err := l.readControl(welcome)
	if err != nil {
		return err
	}
	if err := answer.check(l.peer, c.limits.Payload); err != nil {
		return err
	}
	l.setHeartbeat(answer.heartbeat)
	return c.attach(l, answer)
}

// admit asks whether the server of a connection is wanted.
func (c *Client) admit(l *link) error {
	if c.config.Admit == nil {
		return nil
	}
	if err := c.config.Admit(l.peer, l.shown); err != nil {
		return fmt.Errorf("%w: the server %v: %w", ErrNotAuthorized, l.peer, err)
	}
	return nil
}

func (c *Client) hello() greeting {
	c.epoch++
	e := c.endpoint
	e.mu.Lock()
	defer e.mu.Unlock()
	return greeting{
		identity:    c.identity,
		session:     c.session,
		incarnation: c.incarnation,
		epoch:       c.epoch,
		received:    e.session.received,
		consumed:    e.session.consumed,
		frames:      c.limits.WindowFrames,
		bytes:       c.limits.WindowBytes,
		payload:     c.limits.Payload,
		heartbeat:   c.limits.Heartbeat,
	}
}

// attach continues the session on a connection, or begins it anew with a server
// that does not know it.
func (c *Client) attach(l *link, answer greeting) error {
	if answer.session != c.session || answer.epoch != c.epoch || answer.resumed && answer.incarnation != c.incarnation {
		return fmt.Errorf("%w: the welcome is for another session", ErrInvalidFrame)
	}
	e := c.endpoint
	e.mu.Lock()
	defer e.mu.Unlock()
	if !answer.resumed {
		e.session.restart()
	}
	if err := e.session.resume(answer.received); err != nil {
		return err
	}
	if answer.resumed {
		if _, err := e.session.acknowledge(answer.consumed); err != nil {
			return err
		}
		e.wakeSenders()
	}
	c.incarnation = answer.incarnation
	renewed := e.link != nil && answer.resumed
	e.attach(l, answer)
	if err := l.established(); err != nil {
		return err
	}
	server := answer.identity
	c.log.Info("connected", "server", server, "resumed", answer.resumed)
	if !renewed {
		resumed := answer.resumed
		e.notifyLocked(func(ctx context.Context) { c.config.Handler.Connected(ctx, server, resumed) })
	}
	return nil
}
