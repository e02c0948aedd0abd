package simulation

import (
	"context"
	"errors"
	"net"
	"sync"
)

// wire is what connects one machine with the scheduler. It can be cut, frozen and blocked, all connections of the machine at once.
type wire struct {
	address func() string // of the scheduler; empty while there is none

	mu      sync.Mutex
	lines   map[*line]struct{}
	refused bool          // dials fail at once
	blocked chan struct{} // dials wait; nil while they do not
}

// line is one connection: two that a goroutine for each direction copies between.
type line struct {
	near, far net.Conn
	frozen    chan struct{} // closed by thaw; nil while bytes pass; wire.mu guards it
	done      chan struct{}
	once      sync.Once
}

func newWire(address func() string) *wire {
	return &wire{address: address, lines: map[*line]struct{}{}}
}

var errNoWay = errors.New("nobody listens")

// dial is a dialer.
func (w *wire) dial(ctx context.Context, _ string) (net.Conn, error) {
	w.mu.Lock()
	refused, blocked := w.refused, w.blocked
	w.mu.Unlock()
	if blocked != nil {
		select {
		case <-blocked:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	address := w.address()
	if refused || address == "" {
		return nil, errNoWay
	}
	far, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	mine, near, err := pair(ctx)
	if err != nil {
		far.Close()
		return nil, err
	}
	l := &line{near: near, far: far, done: make(chan struct{})}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.refused { // cut meanwhile
		l.end()
		mine.Close()
		return nil, errNoWay
	}
	w.lines[l] = struct{}{}
	go w.carry(l, near, far)
	go w.carry(l, far, near)
	return mine, nil
}

// pair is both ends of a TCP connection.
func pair(ctx context.Context) (a, b net.Conn, err error) {
	listener, err := listen(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer listener.Close()
	if a, err = (&net.Dialer{}).DialContext(ctx, "tcp", listener.Addr().String()); err != nil {
		return nil, nil, err
	}
	if b, err = listener.Accept(); err != nil {
		a.Close()
	}
	return a, b, err
}

func (l *line) end() {
	l.once.Do(func() {
		close(l.done)
		l.near.Close()
		l.far.Close()
	})
}

// carry copies one direction until either end is closed.
func (w *wire) carry(l *line, from, to net.Conn) {
	defer func() {
		l.end()
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.lines, l)
	}()
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if err != nil || !w.pass(l) {
			return
		}
		if _, err := to.Write(buffer[:n]); err != nil {
			return
		}
	}
}

// pass waits while a line is frozen; false when it has ended.
func (w *wire) pass(l *line) bool {
	for {
		w.mu.Lock()
		frozen := l.frozen
		w.mu.Unlock()
		if frozen == nil {
			return true
		}
		select {
		case <-frozen:
		case <-l.done:
			return false
		}
	}
}

// cut ends all connections without a farewell; with refuse new ones fail until heal.
func (w *wire) cut(refuse bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.refused = w.refused || refuse
	for l := range w.lines {
		l.end()
	}
}

// freeze lets nothing pass on the connections that there are.
func (w *wire) freeze() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for l := range w.lines {
		if l.frozen == nil {
			l.frozen = make(chan struct{})
		}
	}
}

// block lets nothing pass at all.
func (w *wire) block() {
	w.freeze()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.blocked == nil {
		w.blocked = make(chan struct{})
	}
}

// thaw ends freeze: what waited passes. A blocked wire stays as it is.
func (w *wire) thaw() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.blocked != nil {
		return
	}
	for l := range w.lines {
		if l.frozen != nil {
			close(l.frozen)
			l.frozen = nil
		}
	}
}

// heal ends everything that is wrong with a wire.
func (w *wire) heal() {
	w.mu.Lock()
	w.refused = false
	if w.blocked != nil {
		close(w.blocked)
		w.blocked = nil
	}
	w.mu.Unlock()
	w.thaw()
}
