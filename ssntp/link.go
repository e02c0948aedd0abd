package ssntp

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// link is one connection. A session has at most one at a time.
type link struct {
	raw       *gatherer
	conn      *tls.Conn
	decoder   *decoder
	limits    *Limits
	heartbeat time.Duration
	silence   time.Duration
	expires   time.Time // of the certificate that expires first
	own       *x509.Certificate
	shown     *x509.Certificate // by the peer, verified
	peer      Identity          // from that certificate

	lastRead atomic.Int64 // nanoseconds since opened, so that clock steps do no harm
	opened   time.Time
	looked   time.Duration // since opened, when the writer looked last
	seen     time.Duration // lastRead at that time
	listened time.Duration // since seen, as far as this process did

	turn        sync.Mutex // of writing, the handshake's until the pump works; whoever has it owns the next four
	deadlineSet time.Time
	wrote       bool             // since the writer last looked
	stuck       bool             // the gatherer holds what tryWrite could not send
	sign        [headerSize]byte // a sign of life

	wake    chan struct{}   // there may be something to write
	parting chan goodbyeMsg // asks the writer to say goodbye
	done    chan struct{}   // closed with the connection
	once    sync.Once
	blamed  sync.Once
	limit   atomic.Pointer[time.Timer] // of a goodbye
	cause   error                      // why it ended; read after done
	ackNow  bool                       // an acknowledgement is late; guarded by the endpoint

	inline    inline
	readEnded chan struct{} // closed by the last reader
}

type goodbyeMsg struct {
	code reason
	text string
}

// partingTime is how long the other side has to take a goodbye.
const partingTime = time.Second

func newLink(raw net.Conn, limits *Limits) *link {
	l := &link{
		raw: newGatherer(raw), limits: limits, opened: time.Now(),
		wake:    make(chan struct{}, 1),
		parting: make(chan goodbyeMsg, 1),
		done:    make(chan struct{}),

		readEnded: make(chan struct{}),
	}
	l.turn.Lock()
	return l
}

// secured takes over the connection after the TLS handshake: it reads the
// peer's identity from its verified certificate.
func (l *link) secured(conn *tls.Conn, own *x509.Certificate) error {
	state := conn.ConnectionState()
	if state.NegotiatedProtocol != alpn {
		return fmt.Errorf("%w: the peer does not speak %s", ErrRefused, alpn)
	}
	peer, err := IdentityOf(state.PeerCertificates[0])
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotAuthorized, err)
	}
	l.conn, l.peer, l.own, l.expires = conn, peer, own, own.NotAfter
	l.shown = state.PeerCertificates[0]
	for _, cert := range state.VerifiedChains[0] {
		if cert.NotAfter.Before(l.expires) {
			l.expires = cert.NotAfter
		}
	}
	l.decoder = newDecoder(conn, l.limits.Payload, l.alive)
	return nil
}

func (l *link) alive() { l.lastRead.Store(int64(time.Since(l.opened))) }

// check finds the connection dead, or at its end. The writer calls it for every
// half heartbeat that it sees, which was due at a time. A peer is not silent
// because this process could not listen: of the time between two looks that was
// longer than it should have been, stopped or without a processor, only the usual
// length counts; and as late as this look is, the reader may be.
func (l *link) check(due time.Time) error {
	now := time.Now()
	at, read := now.Sub(l.opened), time.Duration(l.lastRead.Load())
	if read != l.seen {
		l.seen, l.listened = read, 0
	}
	l.listened += min(at-l.looked, at-read, l.heartbeat/2)
	l.looked = at
	if l.listened-max(now.Sub(due), 0) > l.silence {
		return fmt.Errorf("%w for %v", ErrSilent, (at - read).Round(time.Millisecond))
	}
	if !now.Round(0).Before(l.expires) {
		return fmt.Errorf("%w at %v: issue a new one", ErrExpired, l.expires.Format(time.RFC3339))
	}
	return nil
}

// setHeartbeat applies what the welcome says, within reason.
func (l *link) setHeartbeat(interval time.Duration) {
	l.heartbeat = min(max(interval, 10*time.Millisecond), time.Minute)
	l.silence = max(l.limits.Silence, l.heartbeat*5/2)
	l.alive()
}

// established lifts the deadline of the handshake.
func (l *link) established() error {
	l.deadlineSet = time.Time{}
	l.alive()
	return l.raw.SetDeadline(time.Time{})
}

// quiet says whether nothing has been written since it was last asked.
func (l *link) quiet() bool {
	l.turn.Lock()
	defer l.turn.Unlock()
	quiet := !l.wrote
	l.wrote = false
	return quiet
}

func (l *link) closed() bool {
	select {
	case <-l.done:
		return true
	default:
		return false
	}
}

// signal wakes the writer.
func (l *link) signal() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// part asks the writer to send what is queued, say goodbye and end the
// connection, and ends it anyway soon after.
func (l *link) part(code reason, text string) {
	select {
	case l.parting <- goodbyeMsg{code, text}:
		l.limit.Store(time.AfterFunc(2*partingTime, func() { l.close(ErrClosed) }))
	default:
	}
}

// blame notes why the connection ends, before an ending that takes time.
func (l *link) blame(cause error) { l.blamed.Do(func() { l.cause = cause }) }

// close ends the connection at once. The first cause stays. It does not use
// tls.Conn.Close, which may wait for a peer that does not read.
func (l *link) close(cause error) {
	l.blame(cause)
	l.once.Do(func() {
		l.raw.Close()
		close(l.done)
		if limit := l.limit.Load(); limit != nil {
			limit.Stop()
		}
	})
}

// write writes in one go, within the time that a live peer needs, once nothing
// is stuck before it. The caller has the turn.
func (l *link) write(b []byte) error {
	if err := l.extend(); err != nil {
		return err
	}
	if len(b) <= maxRecord && !l.stuck {
		_, err := l.conn.Write(b)
		return err
	}
	l.raw.gather()
	l.stuck = false
	_, err := l.conn.Write(b)
	return errors.Join(err, l.raw.flush())
}

// tryWrite writes as much as goes without waiting; the rest is stuck until the
// next write. The caller has the turn, and nothing is stuck.
func (l *link) tryWrite(b []byte) error {
	if err := l.extend(); err != nil {
		return err
	}
	l.raw.gather()
	if _, err := l.conn.Write(b); err != nil {
		return err
	}
	all, err := l.raw.tryFlush()
	l.stuck = !all
	return err
}

// extend moves the deadline of writing. That costs as much as a small write:
// it is done now and then.
func (l *link) extend() error {
	now := time.Now()
	if now.Sub(l.deadlineSet) <= l.limits.Silence/4 {
		return nil
	}
	l.deadlineSet = now
	return l.raw.SetWriteDeadline(now.Add(l.limits.Silence))
}

// maxRecord is what fits into one TLS record.
const maxRecord = 16 << 10

// writeControl writes a greeting.
func (l *link) writeControl(operand Operand, g greeting) error {
	f := Frame{Operand: operand, Payload: g.encode()}
	b := f.appendHeader(nil, 0, g.consumed, ID{}, time.Time{})
	return l.write(append(b, f.Payload...))
}

// readControl reads one control frame of the handshake; a goodbye is an error.
func (l *link) readControl(want Operand) (greeting, error) {
	l.decoder.limit = min(maxGreeting, l.limits.Payload)
	defer func() { l.decoder.limit = l.limits.Payload }()
	var f Frame
	h, err := l.decoder.next(&f)
	if err != nil {
		return greeting{}, err
	}
	switch f.Operand {
	case want:
		g, err := parseGreeting(f.Payload)
		g.consumed = h.ack
		return g, err
	case goodbye:
		return greeting{}, parseGoodbye(f.Payload)
	}
	return greeting{}, fmt.Errorf("%w: %v instead of %v", ErrInvalidFrame, f.Operand, want)
}

// maxGreeting bounds frames of peers whose greeting was not checked yet.
const maxGreeting = 4096

// refuse tells the other side why, as far as it is its business, and closes.
func (l *link) refuse(err error) {
	l.blame(err)
	if code := reasonFor(err); code != 0 && l.conn != nil {
		l.raw.SetWriteDeadline(time.Now().Add(partingTime))
		f := goodbyeFrame(code, err.Error())
		b := f.appendHeader(nil, 0, 0, ID{}, time.Time{})
		// The cause is reported by the caller; this is a courtesy.
		_, _ = l.conn.Write(append(b, f.Payload...))
		_ = l.raw.flush()
	}
	l.close(err)
}

var errReplaced = errors.New("ssntp: replaced by a newer connection of the same session")
