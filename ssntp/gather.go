package ssntp

import (
	"net"
	"slices"
	"sync"
	"syscall"
)

// gatherer sits below TLS, which writes every record of 16 KiB by itself, and
// turns the records of one large write into one system call. Between gather and
// flush nothing goes out but what tryFlush could send without waiting.
type gatherer struct {
	net.Conn
	visit  *visit          // in the handshake of a server, else nil
	direct syscall.RawConn // nil when the connection has none
	mu     sync.Mutex      // TLS may write an answer of its own from the reader
	buffer *[]byte         // nil when not gathering

	try    func(fd uintptr) bool // one write that does not wait, and what became of it
	sent   int
	failed error
}

func newGatherer(conn net.Conn) *gatherer {
	g := &gatherer{Conn: conn}
	if c, ok := conn.(syscall.Conn); ok {
		if direct, err := c.SyscallConn(); err == nil {
			g.direct = direct
			g.try = func(fd uintptr) bool {
				g.sent, g.failed = syscall.Write(int(fd), *g.buffer)
				return true
			}
		}
	}
	return g
}

var gatherBuffers = sync.Pool{New: func() any {
	b := make([]byte, 0, writeSize+8192)
	return &b
}}

func (g *gatherer) gather() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.buffer == nil {
		g.buffer = gatherBuffers.Get().(*[]byte)
	}
}

// Read implements [net.Conn].
func (g *gatherer) Read(b []byte) (int, error) {
	if g.visit != nil {
		return g.visit.read(g.Conn, b)
	}
	return g.Conn.Read(b)
}

// Write implements [net.Conn].
func (g *gatherer) Write(b []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.visit != nil:
		return g.visit.write(g.Conn, b)
	case g.buffer == nil:
		return g.Conn.Write(b)
	}
	*g.buffer = append(*g.buffer, b...)
	return len(b), nil
}

func (g *gatherer) flush() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.buffer == nil {
		return nil
	}
	_, err := g.Conn.Write(*g.buffer)
	g.done()
	return err
}

// tryFlush sends what goes without waiting, and says whether that was all. The
// rest waits for flush.
func (g *gatherer) tryFlush() (all bool, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.direct == nil {
		return false, nil
	}
	if err := g.direct.Write(g.try); err != nil {
		return false, err
	}
	if g.sent == len(*g.buffer) {
		g.done()
		return true, nil
	}
	*g.buffer = slices.Delete(*g.buffer, 0, max(g.sent, 0))
	if g.failed == syscall.EAGAIN || g.failed == syscall.EINTR {
		g.failed = nil
	}
	return false, g.failed
}

// done gives the buffer back; what follows is not gathered.
func (g *gatherer) done() {
	b := g.buffer
	g.buffer = nil
	if cap(*b) <= 2*writeSize {
		*b = (*b)[:0]
		gatherBuffers.Put(b)
	}
}
