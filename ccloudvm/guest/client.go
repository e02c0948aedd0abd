package guest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

var (
	// ErrUnreachable says that the guest's SSH server did not answer in time.
	ErrUnreachable = errors.New("the guest does not answer on SSH")

	// ErrLost says that an established connection went dead.
	ErrLost = errors.New("the connection to the guest was lost")

	// ErrIdentity says that something answered that is not the guest: its host key is another one.
	ErrIdentity = errors.New("the host key is not the guest's")

	// ErrRefused says that the guest answered and refused the key or the user.
	ErrRefused = errors.New("the guest refused the login")
)

// Limits of a connection.
const (
	handshakeLimit = 20 * time.Second // a guest under emulation needs seconds for its cryptography
	keepalive      = 15 * time.Second

	// DeadAfter is how long a connection may be silent, keepalives included, before it counts as lost.
	DeadAfter = 4 * keepalive
)

// Client is a connection to a guest. It may be used concurrently.
type Client struct {
	ssh  *ssh.Client
	stop chan struct{}
	once sync.Once
	wait sync.WaitGroup

	mu   sync.Mutex
	dead error
}

// Dial connects once. Its error is one of [ErrUnreachable], [ErrIdentity], [ErrRefused], or the cause of ctx.
func Dial(ctx context.Context, a Access) (*Client, error) { return dial(ctx, a, handshakeLimit) }

// dial gives up when the server has not said its first word within patience, or the whole takes too long.
func dial(ctx context.Context, a Access, patience time.Duration) (*Client, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeLimit)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", a.Address.String())
	if err != nil {
		return nil, unreachable(ctx, a, err)
	}
	// ssh.ClientConfig.Timeout ends with the TCP connection; a server that accepts and stays silent would hold the handshake.
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	var stranger bool
	c, channels, requests, err := ssh.NewClientConn(&impatient{Conn: conn, patience: patience}, a.Address.String(), &ssh.ClientConfig{
		User: a.User,
		Auth: []ssh.AuthMethod{ssh.PublicKeys(a.Key)},
		HostKeyCallback: func(host string, remote net.Addr, key ssh.PublicKey) error {
			err := ssh.FixedHostKey(a.HostKey)(host, remote, key)
			stranger = err != nil
			return err
		},
		HostKeyAlgorithms: []string{a.HostKey.Type()},
	})
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		conn.Close()
		return nil, explain(ctx, a, err, stranger)
	}
	g := &Client{ssh: ssh.NewClient(c, channels, requests), stop: make(chan struct{})}
	g.wait.Go(g.keepAlive)
	return g, nil
}

// impatient is a connection whose first read has a limit of its own.
type impatient struct {
	net.Conn
	patience time.Duration
	heard    bool
}

func (c *impatient) Read(b []byte) (int, error) {
	if c.heard {
		return c.Conn.Read(b)
	}
	watchdog := time.AfterFunc(c.patience, func() { c.Conn.Close() })
	n, err := c.Conn.Read(b)
	c.heard = watchdog.Stop() && n > 0
	return n, err
}

func unreachable(ctx context.Context, a Access, err error) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return context.Cause(ctx)
	}
	return fmt.Errorf("%w (%s): %w", ErrUnreachable, a.Address, err)
}

func explain(ctx context.Context, a Access, err error, stranger bool) error {
	switch {
	case stranger:
		return fmt.Errorf("%w (%s): something else may be listening there", ErrIdentity, a.Address)
	case isAuthFailure(err):
		return fmt.Errorf("%w of %q: %w", ErrRefused, a.User, err)
	}
	return unreachable(ctx, a, err)
}

// Wait dials until the guest lets us in. It gives up when ctx ends, saying what happened last, and at once when something that is
// not the guest answers. A refused login is tried again: cloud-init starts sshd before it has installed the key.
func Wait(ctx context.Context, a Access) (*Client, error) {
	// QEMU's user network accepts connections when the guest has no network yet, and then tries to reach it for minutes with ever
	// longer pauses, so a new attempt finds the guest sooner than an old one. Every sixth is patient, for a server that is slow.
	patience := []time.Duration{time.Second, time.Second, 2 * time.Second, time.Second, time.Second, 8 * time.Second}
	pause := 50 * time.Millisecond
	for try := 0; ; try++ {
		c, err := dial(ctx, a, patience[try%len(patience)])
		if err == nil {
			return c, nil
		}
		if errors.Is(err, ErrIdentity) {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for the guest (%w): %w", context.Cause(ctx), err)
		case <-time.After(pause):
		}
		pause = min(pause*3/2, 500*time.Millisecond)
	}
}

// Close ends the connection and every command on it.
func (c *Client) Close() error {
	c.once.Do(func() { close(c.stop) })
	err := c.ssh.Close()
	c.wait.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// keepAlive closes the connection when the guest has not answered for DeadAfter, which ends everything that waits on it.
func (c *Client) keepAlive() {
	answered := make(chan error, 1)
	waiting, silent := false, time.Duration(0)
	tick := time.NewTicker(keepalive)
	defer tick.Stop()
	for {
		select {
		case <-c.stop:
			return
		case err := <-answered:
			waiting, silent = false, 0
			if err != nil {
				c.fail(err)
				return
			}
		case <-tick.C:
			if !waiting {
				waiting = true
				c.wait.Go(func() {
					_, _, err := c.ssh.SendRequest("keepalive@openssh.com", true, nil)
					answered <- err
				})
				continue
			}
			if silent += keepalive; silent+keepalive >= DeadAfter {
				c.fail(fmt.Errorf("no answer for %v", DeadAfter))
				return
			}
		}
	}
}

func (c *Client) fail(err error) {
	c.mu.Lock()
	c.dead = fmt.Errorf("%w: %w", ErrLost, err)
	c.mu.Unlock()
	c.ssh.Close()
}

// lost prefers the reason why the connection went dead to its consequences.
func (c *Client) lost(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dead != nil {
		return c.dead
	}
	return err
}
