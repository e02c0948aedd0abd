package ssntp

import (
	"net"
	"sync"
)

// gatherer sits below TLS, which writes every record of 16 KiB by itself, and
// turns the records of one large write into one system call. Between gather and
// flush nothing goes out.
type gatherer struct {
	net.Conn
	mu     sync.Mutex // TLS may write an answer of its own from the reader
	buffer *[]byte    // nil when not gathering
}

var gatherBuffers = sync.Pool{New: func() any {
	b := make([]byte, 0, writeSize+8192)
	return &b
}}

func (g *gatherer) gather() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.buffer = gatherBuffers.Get().(*[]byte)
}

// Write implements [net.Conn].
func (g *gatherer) Write(b []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.buffer == nil {
		return g.Conn.Write(b)
	}
	*g.buffer = append(*g.buffer, b...)
	return len(b), nil
}

func (g *gatherer) flush() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	b := g.buffer
	g.buffer = nil
	_, err := g.Conn.Write(*b)
	if cap(*b) <= 2*writeSize {
		*b = (*b)[:0]
		gatherBuffers.Put(b)
	}
	return err
}
