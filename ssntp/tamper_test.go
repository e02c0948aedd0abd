package ssntp_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ciaocloud/ciao/ssntp"
	"github.com/ciaocloud/ciao/ssntp/ssntptest"
)

// inTheMiddle is a connection on which somebody writes something else in place
// of what a client sends.
type inTheMiddle struct {
	net.Conn
	attack func(m *inTheMiddle, b []byte) [][]byte
	writes int
	held   []byte
	all    *atomic.Int64 // writes on all connections
}

func (m *inTheMiddle) Write(b []byte) (int, error) {
	m.writes++
	defer m.all.Add(1)
	for _, part := range m.attack(m, b) {
		if _, err := m.Conn.Write(part); err != nil {
			return 0, err
		}
	}
	return len(b), nil
}

// flipper changes one bit of a stream.
type flipper struct {
	at     int // the byte; -1 is none
	passed atomic.Int64
}

func (f *flipper) flip(b []byte) {
	if i := f.at - int(f.passed.Load()); i >= 0 && i < len(b) {
		b[i] ^= 1 << (f.at % 8)
	}
	f.passed.Add(int64(len(b)))
}

// flipped is a connection with one bit changed, of what is sent or of what is received.
type flipped struct {
	net.Conn
	sent, received flipper
}

func (c *flipped) Write(b []byte) (int, error) {
	b = append([]byte(nil), b...)
	c.sent.flip(b)
	return c.Conn.Write(b)
}

func (c *flipped) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.received.flip(b[:n])
	return n, err
}

// recordVersion says that a byte is of the version of the first record of a
// stream, the only one that TLS 1.3 neither authenticates nor looks at.
func recordVersion(at int) bool { return at == 1 || at == 2 }

// TestEveryByteOfTheHandshake: somebody in the middle changes one byte, of all
// that a client and a hub send each other until the client's first frame has
// arrived. Wherever it is, the connection fails, in time, and nothing arrives.
func TestEveryByteOfTheHandshake(t *testing.T) {
	for name, tamper := range map[string]func(*flipped) *flipper{
		"to the hub":    func(c *flipped) *flipper { return &c.sent },
		"to the client": func(c *flipped) *flipper { return &c.received },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				arrived := make(chan ssntp.Frame, 1)
				hub := ssntptest.NewHub(t, func(c *ssntp.ServerConfig) {
					c.Owner = arrivals(arrived)
					c.Limits.Handshake = 100 * time.Millisecond // of the bubble: the certificates last an hour
				})
				certificate := hub.CA.Certificate(ssntp.NewID(), ssntp.RoleAgent)
				at := 0
				for ; ; at++ {
					middle := &flipped{sent: flipper{at: -1}, received: flipper{at: -1}}
					flipper := tamper(middle)
					flipper.at = at
					start := time.Now()
					frame, passed := attempt(t, hub, certificate, middle, flipper, arrived)
					if took := time.Since(start); took > 8*time.Second { // Silence, for a length in the first frame
						t.Errorf("byte %d: the connection failed after %v", at, took)
					}
					if frame != nil && string(frame.Payload) != "intact" {
						t.Errorf("byte %d: %q arrived", at, frame.Payload)
					}
					if passed <= at {
						if frame == nil {
							t.Errorf("byte %d: the connection failed before it, after %d bytes", at, passed)
						}
						break
					}
					if (frame != nil) != recordVersion(at) {
						t.Errorf("byte %d: a frame arrived: %v", at, frame != nil)
					}
				}
				if at < 1000 {
					t.Errorf("a handshake of %d bytes", at)
				}
				t.Logf("%d bytes", at)
			})
		})
	}
}

// attempt lets a client connect once, over conn, to send one frame. It returns
// the frame if it has arrived, and how much has passed the flipper until then.
func attempt(
	t *testing.T, hub *ssntptest.Hub, certificate *tls.Certificate, conn *flipped, flipper *flipper, arrived <-chan ssntp.Frame,
) (frame *ssntp.Frame, passed int) {
	t.Helper()
	failed := make(chan struct{})
	fail := sync.OnceFunc(func() { close(failed) })
	config := hub.ClientConfigFor(certificate, new(ssntptest.Log).Handler())
	dial := config.Dial
	config.Dial = func(ctx context.Context, address string) (net.Conn, error) {
		if conn.Conn != nil {
			fail()
			return nil, errors.New("one connection is enough")
		}
		raw, err := dial(ctx, address)
		conn.Conn = raw
		return conn, err
	}
	client, stop := ssntptest.RunClient(t, config)
	defer stop()
	send(t, client, ssntp.Frame{Operand: ssntp.Ready, Payload: []byte("intact")})
	select {
	case f := <-arrived:
		return &f, int(flipper.passed.Load())
	case <-failed:
		return nil, int(flipper.passed.Load())
	}
}

// arrivals is an owner that passes on what it receives.
type arrivals chan<- ssntp.Frame

func (arrivals) Connected(context.Context, ssntp.Identity)           {}
func (arrivals) Disconnected(context.Context, ssntp.Identity, error) {}
func (a arrivals) Receive(_ context.Context, f ssntp.Frame)          { a <- f }

// TestReplayedAndReorderedRecords: somebody in the middle sends a client's
// records twice, or in another order. TLS finds out; the session goes on with
// the next connection, and each frame arrives once, in order.
func TestReplayedAndReorderedRecords(t *testing.T) {
	const frames, attacked = 20, 12 // the handshake takes fewer writes
	for name, attack := range map[string]func(m *inTheMiddle, b []byte) [][]byte{
		"replayed": func(m *inTheMiddle, b []byte) [][]byte {
			if m.writes == attacked {
				return [][]byte{b, b}
			}
			return [][]byte{b}
		},
		"reordered": func(m *inTheMiddle, b []byte) [][]byte {
			switch m.writes {
			case attacked:
				m.held = append([]byte(nil), b...)
				return nil
			case attacked + 1:
				return [][]byte{b, m.held}
			}
			return [][]byte{b}
		},
	} {
		t.Run(name, func(t *testing.T) {
			hub := ssntptest.NewHub(t, quick)
			log := new(ssntptest.Log)
			config := hub.ClientConfig(ssntp.RoleAgent, log.Handler())
			dial, writes := config.Dial, new(atomic.Int64)
			config.Dial = func(ctx context.Context, address string) (net.Conn, error) {
				raw, err := dial(ctx, address)
				middle := &inTheMiddle{Conn: raw, attack: attack, all: writes}
				if hub.Network.Dialled() > 1 {
					middle.writes = attacked + 1 // over
				}
				return middle, err
			}
			client, _ := ssntptest.RunClient(t, config)
			log.Connected(t)
			for i := range frames {
				before := writes.Load()
				send(t, client, ssntp.Frame{Operand: ssntp.Ready, Payload: fmt.Append(nil, i)})
				waitFor(t, func() bool { return writes.Load() > before }) // a record for each
			}
			for i := range frames {
				if f := hub.Log.Frame(t, ssntp.Ready); string(f.Payload) != fmt.Sprint(i) {
					t.Fatalf("got %q, want %d", f.Payload, i)
				}
			}
			if reason := log.Disconnected(t).Reason; reason == nil || !log.Connected(t).Resumed {
				t.Errorf("the session was not resumed after %v", reason)
			}
		})
	}
}
