package ssntp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"testing"
	"time"
)

// side is one end of a simulated conversation: a session, what is on the wire
// to it, and the numbers its handler has seen.
type side struct {
	session session
	wire    bytes.Buffer
	decoder *decoder
	sent    uint64
	seen    uint64
	open    []int // sizes of frames that were received and not consumed
}

// conversation drives two sessions over a wire that breaks, step by step.
type conversation struct {
	t    *testing.T
	ends [2]*side
}

func newConversation(t *testing.T, limits *Limits) *conversation {
	c := &conversation{t: t}
	for i := range c.ends {
		c.ends[i] = &side{session: newSession(ID{byte(i + 1)}, limits)}
	}
	c.connect()
	return c
}

// connect loses what is on the wire and resumes both sessions.
func (c *conversation) connect() {
	for i, end := range c.ends {
		end.wire.Reset()
		end.decoder = newDecoder(&end.wire, 1<<20, func() {})
		end.session.windowFrames, end.session.windowBytes = end.session.limits.WindowFrames, end.session.limits.WindowBytes
		if err := end.session.resume(c.ends[1-i].session.received); err != nil {
			c.t.Fatalf("resume: %v", err)
		}
	}
}

func (c *conversation) send(i int) {
	end := c.ends[i]
	payload := binary.BigEndian.AppendUint64(nil, end.sent+1)
	if err := end.session.push(Frame{Operand: Start, Payload: payload}, false); err == nil {
		end.sent++
	} else if !errors.Is(err, errQueueFull) {
		c.t.Fatal(err)
	}
}

// transmit puts what may go onto the wire to the other end.
func (c *conversation) transmit(i, enough int, ack bool) {
	end := c.ends[i]
	buf := end.session.take(nil, enough, time.Time{})
	if ack {
		buf = end.session.takeAck(buf, time.Time{})
	}
	c.ends[1-i].wire.Write(buf)
}

// incoming: something is on the wire.
func (s *side) incoming() bool { return s.wire.Len() > 0 || s.decoder.ready() }

// receive takes one frame off the wire.
func (c *conversation) receive(i int) {
	end := c.ends[i]
	if !end.incoming() {
		return
	}
	var f Frame
	h, err := end.decoder.next(&f)
	if err != nil {
		c.t.Fatalf("decode: %v", err)
	}
	if _, err := end.session.acknowledge(h.ack); err != nil {
		c.t.Fatal(err)
	}
	if f.Operand.Kind() == KindControl {
		return
	}
	fresh, err := end.session.receive(f.Message, f.size())
	if err != nil {
		c.t.Fatal(err)
	}
	if !fresh {
		return
	}
	if got := binary.BigEndian.Uint64(f.Payload); got != end.seen+1 {
		c.t.Fatalf("end %d got frame %d after %d", i, got, end.seen)
	}
	end.seen++
	end.open = append(end.open, f.size())
}

func (c *conversation) consume(i int) {
	end := c.ends[i]
	if len(end.open) > 0 {
		end.session.consume(1, end.open[0])
		end.open = end.open[1:]
	}
}

// step does one thing that may happen, chosen by a byte.
func (c *conversation) step(what byte) {
	i := int(what & 1)
	switch what >> 1 % 8 {
	case 0, 1:
		c.send(i)
	case 2:
		c.transmit(i, 1+int(what), false)
	case 3, 4:
		c.receive(i)
	case 5:
		c.consume(i)
	case 6:
		c.transmit(i, 1, true)
	case 7:
		if what>>4 == 15 {
			c.connect()
		}
	}
}

// settle lets everything arrive and checks that nothing is missing or left.
func (c *conversation) settle() {
	for range 10_000 {
		for i := range c.ends {
			c.transmit(i, 1<<16, true)
		}
		for i := range c.ends {
			for c.ends[i].incoming() {
				c.receive(i)
			}
			for len(c.ends[i].open) > 0 {
				c.consume(i)
			}
		}
		if c.ends[0].session.queue.count+c.ends[1].session.queue.count == 0 {
			break
		}
	}
	for i, end := range c.ends {
		if other := c.ends[1-i]; end.seen != other.sent {
			c.t.Errorf("end %d saw %d of %d frames", i, end.seen, other.sent)
		}
		if s := &end.session; s.queue.count != 0 || s.bytes != 0 || s.flight != 0 || s.held != 0 {
			c.t.Errorf("end %d keeps %d frames, %d bytes, %d in flight, %d held", i, s.queue.count, s.bytes, s.flight, s.held)
		}
	}
}

func smallLimits() *Limits {
	l := Limits{QueueFrames: 32, WindowFrames: 8, WindowBytes: 400}.withDefaults()
	return &l
}

func TestSessionSurvivesAnyOrderOfEvents(t *testing.T) {
	for seed := range uint64(50) {
		c := newConversation(t, smallLimits())
		random := rand.New(rand.NewPCG(seed, 1))
		for range 3000 {
			c.step(byte(random.Uint32()))
		}
		c.settle()
	}
}

func FuzzSession(f *testing.F) {
	f.Add([]byte{0, 4, 6, 10, 12, 254, 1, 5, 7})
	f.Fuzz(func(t *testing.T, steps []byte) {
		c := newConversation(t, smallLimits())
		for _, what := range steps {
			c.step(what)
		}
		c.settle()
	})
}

func TestSessionRefuses(t *testing.T) {
	tests := map[string]func(s *session) error{
		"a gap":                  func(s *session) error { _, err := s.receive(2, 28); return err },
		"an ack of the unsent":   func(s *session) error { _, err := s.acknowledge(1); return err },
		"a resume of the unsent": func(s *session) error { return s.resume(1) },
		"more than the window": func(s *session) error {
			for n := range uint64(9) {
				if _, err := s.receive(n+1, 28); err != nil {
					return err
				}
			}
			return nil
		},
		"more bytes than the window": func(s *session) error {
			if _, err := s.receive(1, 399); err != nil {
				return nil
			}
			_, err := s.receive(2, 28)
			return err
		},
	}
	for name, act := range tests {
		t.Run(name, func(t *testing.T) {
			s := newSession(ID{1}, smallLimits())
			if err := act(&s); !errors.Is(err, ErrInvalidFrame) {
				t.Errorf("got %v, want ErrInvalidFrame", err)
			}
		})
	}
}

func TestDroppableFrameReplacesItsPredecessor(t *testing.T) {
	s := newSession(ID{1}, smallLimits())
	s.windowFrames, s.windowBytes = 8, 400
	push := func(payload string) {
		t.Helper()
		if err := s.push(Frame{Operand: Statistics, Payload: []byte(payload)}, true); err != nil {
			t.Fatal(err)
		}
	}
	push("1")
	push("2")
	if s.queue.count != 1 || string(s.queue.at(0).Payload) != "2" {
		t.Fatalf("the queue holds %d frames", s.queue.count)
	}
	s.take(nil, 1, time.Time{})
	push("3") // the one before may have arrived: it must stay what it is
	if s.queue.count != 2 || string(s.queue.at(0).Payload) != "2" {
		t.Errorf("a frame on its way was replaced")
	}
}

func TestRestartKeepsWhatWasNotAcknowledged(t *testing.T) {
	s := newSession(ID{1}, smallLimits())
	s.windowFrames, s.windowBytes = 8, 400
	for range 5 {
		if err := s.push(Frame{Operand: Start}, false); err != nil {
			t.Fatal(err)
		}
	}
	s.take(nil, 3*headerSize, time.Time{})
	if _, err := s.acknowledge(2); err != nil {
		t.Fatal(err)
	}
	s.restart()
	if err := s.resume(0); err != nil {
		t.Fatal(err)
	}
	if got := len(s.take(nil, 1<<16, time.Time{})); got != 3*headerSize {
		t.Errorf("%d bytes go to the new peer, want three frames", got)
	}
}
