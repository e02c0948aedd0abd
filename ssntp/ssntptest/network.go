package ssntptest

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
)

// Network is a listener and its dialer in memory. It works inside
// testing/synctest. Its connections can be cut, as by a reset, and frozen, as
// by a peer whose machine has lost power.
type Network struct {
	pending chan net.Conn
	closed  chan struct{}
	once    sync.Once

	mu    sync.Mutex
	open  map[*wire]struct{}
	down  bool
	total int
}

// NewNetwork returns a network without connections.
func NewNetwork() *Network {
	return &Network{pending: make(chan net.Conn), closed: make(chan struct{}), open: make(map[*wire]struct{})}
}

// Dial connects to the listener; the address does not matter.
func (n *Network) Dial(ctx context.Context, _ string) (net.Conn, error) {
	n.mu.Lock()
	if n.down {
		n.mu.Unlock()
		return nil, errors.New("the test's network is down")
	}
	a, b := net.Pipe()
	near, far := newWire(a, n), newWire(b, n)
	n.open[near], n.open[far] = struct{}{}, struct{}{}
	n.total++
	n.mu.Unlock()
	select {
	case n.pending <- far:
		return near, nil
	case <-n.closed:
		return nil, errors.Join(net.ErrClosed, near.Close(), far.Close())
	case <-ctx.Done():
		return nil, errors.Join(ctx.Err(), near.Close(), far.Close())
	}
}

// Accept implements [net.Listener].
func (n *Network) Accept() (net.Conn, error) {
	select {
	case conn := <-n.pending:
		return conn, nil
	case <-n.closed:
		return nil, net.ErrClosed
	}
}

// Close implements [net.Listener].
func (n *Network) Close() error {
	n.once.Do(func() { close(n.closed) })
	return nil
}

// Addr implements [net.Listener].
func (n *Network) Addr() net.Addr { return n }

// Network implements [net.Addr].
func (n *Network) Network() string { return "memory" }

// String implements [net.Addr].
func (n *Network) String() string { return Address }

// Dialled counts the connections so far.
func (n *Network) Dialled() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.total
}

// Cut ends all open connections and returns how many there were.
func (n *Network) Cut() int {
	wires := n.wires()
	for _, w := range wires {
		w.Close()
	}
	return len(wires) / 2
}

// Freeze makes all open connections half-open: writes seem to succeed, nothing
// arrives. New connections work.
func (n *Network) Freeze() {
	for _, w := range n.wires() {
		w.frozen.Store(true)
	}
}

// SetDown makes dialling fail, or work again.
func (n *Network) SetDown(down bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.down = down
}

func (n *Network) wires() []*wire {
	n.mu.Lock()
	defer n.mu.Unlock()
	var all []*wire
	for w := range n.open {
		all = append(all, w)
	}
	return all
}

// wire is one end of a connection.
type wire struct {
	net.Conn
	network *Network
	frozen  atomic.Bool
	closed  chan struct{}
	once    sync.Once
}

func newWire(conn net.Conn, n *Network) *wire {
	return &wire{Conn: conn, network: n, closed: make(chan struct{})}
}

func (w *wire) Write(b []byte) (int, error) {
	if w.frozen.Load() {
		return len(b), nil
	}
	return w.Conn.Write(b)
}

func (w *wire) Read(b []byte) (int, error) {
	for {
		n, err := w.Conn.Read(b)
		if !w.frozen.Load() {
			return n, err
		}
		if err == io.EOF { // the other end has closed: that does not get through either
			<-w.closed
			return 0, net.ErrClosed
		}
		if err != nil {
			return n, err
		}
	}
}

func (w *wire) Close() error {
	w.network.mu.Lock()
	delete(w.network.open, w)
	w.network.mu.Unlock()
	w.once.Do(func() { close(w.closed) })
	return w.Conn.Close()
}
