package ssntp

import (
	"bytes"
	"io"
	"net"
	"testing"
	"time"
)

// A peer that does not read makes tryFlush leave the rest, never wait; nothing is lost or out of order when it reads at last.
func TestTryFlushNeverWaits(t *testing.T) {
	near, far := tcpPair(t)
	g := newGatherer(near)
	var sent []byte
	for i, all := 0, true; all; i++ {
		part := bytes.Repeat([]byte{byte(i)}, 64<<10)
		g.gather()
		if _, err := g.Write(part); err != nil {
			t.Fatal(err)
		}
		sent = append(sent, part...)
		var err error
		if all, err = g.tryFlush(); err != nil {
			t.Fatal(err)
		}
		if len(sent) > 1<<30 {
			t.Fatal("a connection that nobody reads takes everything")
		}
	}
	if _, err := g.Write([]byte("behind what is stuck")); err != nil {
		t.Fatal(err)
	}
	sent = append(sent, "behind what is stuck"...)
	flushed := make(chan error, 1)
	go func() { flushed <- g.flush() }()
	got := make([]byte, len(sent))
	if _, err := io.ReadFull(far, got); err != nil {
		t.Fatal(err)
	}
	if err := <-flushed; err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, sent) {
		t.Error("what arrived is not what was written")
	}
}

// A connection without a descriptor keeps everything for flush.
func TestTryFlushWithoutDescriptor(t *testing.T) {
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	g := newGatherer(near)
	g.gather()
	if _, err := g.Write([]byte("later")); err != nil {
		t.Fatal(err)
	}
	if all, err := g.tryFlush(); all || err != nil {
		t.Fatalf("tryFlush: %v %v, want false and no error", all, err)
	}
	go g.flush()
	got := make([]byte, 5)
	if _, err := io.ReadFull(far, got); err != nil || string(got) != "later" {
		t.Errorf("got %q, %v", got, err)
	}
}

// What is alone: one question or answer at a time, small, and not a stream.
func TestAlone(t *testing.T) {
	limits := Limits{}.withDefaults()
	for name, c := range map[string]struct {
		frames, taken, size int
		want                bool
	}{
		"the first frame":            {1, 0, 512, true},
		"one before it under way":    {2, 1, 512, true},
		"two before it under way":    {3, 2, 512, false},
		"one before it not yet sent": {2, 0, 512, false},
		"large":                      {1, 0, 16 << 10, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSession(NewID(), &limits)
			s.windowFrames, s.windowBytes = limits.WindowFrames, limits.WindowBytes
			for range c.taken {
				if err := s.push(Frame{Payload: make([]byte, c.size)}, false); err != nil {
					t.Fatal(err)
				}
			}
			s.take(nil, 1<<20, time.Time{})
			for range c.frames - c.taken {
				if err := s.push(Frame{Payload: make([]byte, c.size)}, false); err != nil {
					t.Fatal(err)
				}
			}
			if got := s.alone(); got != c.want {
				t.Errorf("alone is %v, want %v", got, c.want)
			}
		})
	}
}

func tcpPair(t *testing.T) (near, far net.Conn) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	near, err = net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	far, err = listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { near.Close(); far.Close() })
	return near, far
}
