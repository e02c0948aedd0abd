package ssntp

import (
	"cmp"
	"container/list"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// gate is where connections wait for their handshakes, which are all that is
// dear about a connection. When thousands dial at once, whatever is done for one
// that has given up makes the others wait until they give up, too. So
//
//   - a connection waits until its client has spoken (its first TLS record is
//     whole), and then in line for its turn; both cost a goroutine and a small
//     buffer. A client that hangs up meanwhile leaves the line, and nothing was
//     done for it;
//   - so many have their turn at a time as keep the processors busy, also when
//     their clients are slow, and no more of these compute at a time than there
//     are processors: what the others send, who are connected, is read in between;
//   - what counts against a client is only the time in which its handshake waits
//     for it. When others wait in line it may not pause for long, compared with
//     what is usual at the moment: the clients may have as little processor as we.
type gate struct {
	limits          *Limits
	patience, quick time.Duration // for a pause in a turn, and for one that has not spoken while there is no room
	processors      chan struct{} // holds a token for each handshake that computes
	left            chan struct{} // somebody has left

	mu      sync.Mutex
	silent  list.List     // of *visit, oldest first: they have not spoken
	line    list.List     // of *visit: they wait for their turn
	turns   list.List     // of *visit
	crowd   bool          // somebody has had to wait in line, which was not empty since
	emptied time.Time     // when such a line was empty again
	usual   time.Duration // mean of the longest pauses of handshakes that were done
	watch   *time.Timer
	watched bool // the watch looks again
	shut    bool

	begun, done, hungUp atomic.Uint64
}

// visit is a connection's way through the gate. Its goroutine uses it, and the
// gate what the gate's lock guards.
type visit struct {
	gate *gate
	link *link
	came time.Time
	turn chan struct{} // closed when its turn comes

	// Guarded by the lock of the gate.
	in    *list.List // nil when it has left, or was thrown out
	at    *list.Element
	waits time.Time     // since when its turn waits for the client; zero when it does not
	pause time.Duration // the longest such wait

	said     []byte        // by the client, and not yet taken by TLS
	patience time.Duration // what is left of the time to wait for the client
	computes bool          // it holds a token
}

var (
	errHungUp  = errors.New("the client hung up before its turn came")
	errNoRoom  = errors.New("it said nothing while others wait to be let in")
	errTooSlow = errors.New("it kept others waiting for their handshakes")
)

const (
	// helloSize is what is read before a turn: a client's hello with a
	// post-quantum key is 1.5 KiB long.
	helloSize = 2 << 10
	// helloRecord is the first byte of a TLS record of a handshake.
	helloRecord = 22
)

var hellos = sync.Pool{New: func() any { return new([helloSize]byte) }}

func (g *gate) init(limits *Limits) {
	g.limits, g.patience, g.quick = limits, limits.Handshake/5, limits.Handshake/50
	g.processors = make(chan struct{}, runtime.GOMAXPROCS(0))
	g.left = make(chan struct{}, 1)
}

// enter waits until there is room for one more that waits. One goroutine may.
// Once ctx has ended, or the gate is shut, the connection is closed.
func (g *gate) enter(ctx context.Context, l *link) *visit {
	v := &visit{gate: g, link: l, came: time.Now(), turn: make(chan struct{}), patience: g.limits.Handshake}
	for {
		wait := g.tryEnter(v)
		if wait == 0 {
			return v
		}
		timer := time.NewTimer(wait)
		select {
		case <-g.left:
		case <-timer.C:
		case <-ctx.Done():
			l.close(ErrClosed)
		}
		timer.Stop()
	}
}

// tryEnter says how long to wait at most when there is no room. Those that have
// said nothing must make some, so that they keep nobody out.
func (g *gate) tryEnter(v *visit) (wait time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut {
		v.link.close(ErrClosed)
	}
	if g.silent.Len()+g.line.Len() >= g.limits.Waiting && !v.link.closed() {
		oldest := g.silent.Front()
		if oldest == nil {
			return g.patience
		}
		if rest := g.quick - time.Since(oldest.Value.(*visit).came); rest > 0 {
			return rest
		}
		g.throwOut(oldest.Value.(*visit), errNoRoom)
	}
	g.moveTo(&g.silent, v)
	return 0
}

// moveTo puts a visit at the end of a list, or nowhere. The caller holds the lock.
func (g *gate) moveTo(to *list.List, v *visit) {
	if v.in != nil {
		v.in.Remove(v.at)
	}
	if v.in == &g.line && g.line.Len() == 0 && g.crowd {
		g.crowd, g.emptied = false, time.Now()
	}
	if v.in, v.at = to, nil; to != nil {
		v.at = to.PushBack(v)
	}
}

// throwOut is called with the lock held.
func (g *gate) throwOut(v *visit, why error) {
	v.link.close(why)
	g.moveTo(nil, v)
}

// await returns when the connection's turn has come.
func (v *visit) await() error {
	v.said = hellos.Get().(*[helloSize]byte)[:0]
	if err := v.listen(); err != nil {
		return err
	}
	if err := v.standInLine(); err != nil {
		v.gate.hungUp.Add(1)
		return err
	}
	v.gate.begun.Add(1)
	return v.compute()
}

// listen waits until the client has spoken.
func (v *visit) listen() error {
	conn, began := v.link.raw.Conn, time.Now()
	if err := conn.SetReadDeadline(began.Add(v.patience)); err != nil {
		return err
	}
	for !v.spoken() {
		n, err := conn.Read(v.said[len(v.said):cap(v.said)])
		v.said = v.said[:len(v.said)+n]
		if err != nil && !v.spoken() {
			return fmt.Errorf("wait for a hello: %w", err)
		}
	}
	v.patience = max(v.patience-time.Since(began), v.gate.patience)
	return nil
}

// spoken says that TLS can begin with what was said, or refuse it.
func (v *visit) spoken() bool {
	const header = 5
	switch {
	case len(v.said) == cap(v.said), len(v.said) > 0 && v.said[0] != helloRecord:
		return true
	case len(v.said) < header:
		return false
	}
	return len(v.said) >= header+int(v.said[3])<<8+int(v.said[4])
}

// standInLine waits for the turn. Nothing more is due from the client until then:
// what a read finds is that it has hung up.
func (v *visit) standInLine() error {
	if err := v.gate.queue(v); err != nil {
		return err
	}
	for {
		n, err := 0, error(nil)
		if len(v.said) < cap(v.said) {
			n, err = v.link.raw.Conn.Read(v.said[len(v.said):cap(v.said)])
			v.said = v.said[:len(v.said)+n]
		} else {
			select {
			case <-v.turn:
			case <-v.link.done:
			}
		}
		select {
		case <-v.turn:
			if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
				return errHungUp
			}
			v.gate.mu.Lock() // whoever has called it has done all
			defer v.gate.mu.Unlock()
			return v.link.raw.Conn.SetReadDeadline(time.Time{})
		default:
		}
		if err != nil || v.link.closed() {
			return errHungUp
		}
	}
}

func (g *gate) queue(v *visit) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := v.link.raw.Conn.SetReadDeadline(time.Time{}); err != nil || v.in == nil {
		return errHungUp
	}
	g.moveTo(&g.line, v)
	g.callNext()
	g.crowd = g.crowd || v.in == &g.line
	return nil
}

// callNext gives turns. The caller holds the lock.
func (g *gate) callNext() {
	for g.turns.Len() < g.limits.Handshakes && g.line.Len() > 0 {
		v := g.line.Front().Value.(*visit)
		g.moveTo(&g.turns, v)
		close(v.turn)
		_ = v.link.raw.Conn.SetReadDeadline(time.Unix(1, 0)) // it is reading, or closed
	}
	if g.line.Len() == 0 || g.watched || g.shut {
		return
	}
	g.watched = true
	if g.watch == nil {
		g.watch = time.AfterFunc(g.patience/4, g.look)
	} else {
		g.watch.Reset(g.patience / 4)
	}
}

// muchLonger than usual may a client pause.
const muchLonger = 4

// look throws those out who let the others wait.
func (g *gate) look() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.watched = false
	if g.line.Len() == 0 {
		return
	}
	patience := max(g.patience, muchLonger*g.usual)
	for e := g.turns.Front(); e != nil; {
		v := e.Value.(*visit)
		e = e.Next()
		if !v.waits.IsZero() && time.Since(v.waits) >= patience {
			g.throwOut(v, errTooSlow)
		}
	}
	g.callNext()
}

// passed notes that a handshake is done.
func (g *gate) passed(v *visit) {
	g.done.Add(1)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.usual += (v.pause - g.usual) / 8
}

// leave ends a visit.
func (g *gate) leave(v *visit) {
	v.yield()
	v.forget()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.moveTo(nil, v)
	g.callNext()
	select {
	case g.left <- struct{}{}:
	default:
	}
}

// forget gives the buffer back.
func (v *visit) forget() {
	if cap(v.said) == helloSize {
		hellos.Put((*[helloSize]byte)(v.said[:helloSize]))
	}
	v.said = nil
}

func (g *gate) closeAll() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = true
	if g.watch != nil {
		g.watch.Stop()
	}
	for _, all := range []*list.List{&g.silent, &g.line, &g.turns} {
		for e := all.Front(); e != nil; e = e.Next() {
			e.Value.(*visit).link.close(ErrClosed)
		}
	}
}

// crowded is when somebody last had to wait in line: now, or earlier; zero is
// never.
func (g *gate) crowded() time.Time {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.line.Len() > 0 {
		return time.Now()
	}
	return g.emptied
}

// compute waits for a processor.
func (v *visit) compute() error {
	select {
	case v.gate.processors <- struct{}{}:
		v.computes = true
		return nil
	case <-v.link.done:
		return net.ErrClosed
	}
}

// yield gives the processor away.
func (v *visit) yield() {
	if v.computes {
		<-v.gate.processors
		v.computes = false
	}
}

// waiting notes that the turn begins to wait for the client.
func (v *visit) waiting(since time.Time) {
	v.gate.mu.Lock()
	defer v.gate.mu.Unlock()
	v.waits = since
}

// waited notes that it does no more.
func (v *visit) waited(length time.Duration) {
	v.patience -= length
	v.gate.mu.Lock()
	defer v.gate.mu.Unlock()
	v.waits, v.pause = time.Time{}, max(v.pause, length)
}

// read is how a handshake reads: others compute meanwhile, and the client's time
// runs.
func (v *visit) read(conn net.Conn, b []byte) (n int, err error) {
	if len(v.said) > 0 {
		n = copy(b, v.said)
		v.said = v.said[:copy(v.said, v.said[n:])]
		return n, nil
	}
	v.yield()
	began := time.Now()
	v.waiting(began)
	if err = conn.SetReadDeadline(began.Add(v.patience)); err == nil {
		n, err = conn.Read(b)
	}
	v.waited(time.Since(began))
	return n, cmp.Or(err, v.compute())
}

// write is how a handshake writes.
func (v *visit) write(conn net.Conn, b []byte) (n int, err error) {
	v.yield()
	n, err = conn.Write(b)
	return n, cmp.Or(err, v.compute())
}

// Handshakes are what a server has counted since it began.
type Handshakes struct {
	Waiting int    // connections that wait for their turn now
	Begun   uint64 // turns
	Done    uint64 // of them, those that ended with a connection
	HungUp  uint64 // clients that gave up before their turn: nothing was done for them
}

func (g *gate) counts() Handshakes {
	g.mu.Lock()
	waiting := g.line.Len()
	g.mu.Unlock()
	return Handshakes{Waiting: waiting, Begun: g.begun.Load(), Done: g.done.Load(), HungUp: g.hungUp.Load()}
}
