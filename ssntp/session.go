package ssntp

import (
	"fmt"
	"time"
)

// session is one side of the conversation between two processes: what has yet
// to be acknowledged and what has arrived. It outlives connections. It is a
// pure state machine: no goroutines, no sockets, no clock.
//
// The queue holds frames base … base+count-1:
//
//	base            next              top
//	 |  in flight    |  sent before,   |  never sent
//	 |  on this      |  to be sent     |
//	 |  connection   |  again          |
type session struct {
	self   ID
	limits *Limits

	queue  queue
	base   uint64 // number of the first frame in the queue
	next   uint64 // first frame not yet sent on this connection
	top    uint64 // first frame never sent
	bytes  int    // of all frames in the queue
	flight int    // of frames base … next-1

	windowFrames int // what the other side takes ahead of its handler
	windowBytes  int

	waiting map[slot]uint64 // droppable frames that were never sent

	received uint64 // last frame that arrived
	consumed uint64 // last frame that our handler is done with
	told     uint64 // last acknowledgement written on this connection
	held     int    // bytes arrived and not consumed
	toldHeld int    // bytes consumed and not yet acknowledged
	stale    int    // frames to be consumed that belong to a numbering before restart
}

// slot is where the latest droppable frame waits.
type slot struct {
	operand             Operand
	source, destination ID
}

func slotOf(f *Frame) slot { return slot{f.Operand, f.Source, f.Destination} }

func newSession(self ID, limits *Limits) session {
	return session{self: self, limits: limits, base: 1, next: 1, top: 1}
}

// push queues a frame. errQueueFull changes nothing.
func (s *session) push(f Frame, droppable bool) error {
	if droppable && s.replace(&f) {
		return nil
	}
	if s.full(&f) {
		return errQueueFull
	}
	if droppable {
		if s.waiting == nil {
			s.waiting = make(map[slot]uint64)
		}
		s.waiting[slotOf(&f)] = s.base + uint64(s.queue.count)
	}
	*s.queue.next() = f
	s.bytes += f.size()
	return nil
}

// replace puts a frame in the place of one that waits; false when none does.
func (s *session) replace(f *Frame) bool {
	number, ok := s.waiting[slotOf(f)]
	if !ok || number < s.top {
		return false
	}
	old := s.queue.at(int(number - s.base))
	s.bytes += f.size() - old.size()
	*old = *f
	return true
}

// full says that there is no room for a frame.
func (s *session) full(f *Frame) bool {
	return s.queue.count >= s.limits.QueueFrames || s.queue.count > 0 && s.bytes+f.size() > s.limits.QueueBytes
}

// alone says that the newest frame is small and all there is to write, and that
// the other side is done with all but one of those before: a question or an
// answer, not a stream, which goes faster when it is gathered.
func (s *session) alone() bool {
	return s.queue.count <= 2 && s.next+1 == s.base+uint64(s.queue.count) && s.bytes <= aloneBytes
}

const aloneBytes = 8 << 10

// roomy reports whether senders that wait for room should try again. It waits
// for a quarter of the queue, so that they are not woken for every frame.
func (s *session) roomy() bool {
	return s.queue.count <= s.limits.QueueFrames*3/4 && s.bytes <= s.limits.QueueBytes*3/4
}

// take appends the frames that may be sent now, until the buffer holds at least
// enough bytes. Every frame carries the latest acknowledgement.
func (s *session) take(buf []byte, enough int, now time.Time) []byte {
	end := s.base + uint64(s.queue.count)
	for len(buf) < enough && s.next < end {
		f := s.queue.at(int(s.next - s.base))
		size := f.size()
		if s.flight > 0 && (int(s.next-s.base) >= s.windowFrames || s.flight+size > s.windowBytes) {
			break
		}
		buf = f.appendHeader(buf, s.next, s.consumed, s.self, now)
		buf = append(buf, f.Payload...)
		s.flight += size
		if s.next++; s.next > s.top {
			s.sentFirst(f)
		}
		s.acknowledged()
	}
	return buf
}

// sentFirst notes that a frame has gone out for the first time: from now on it
// may have arrived and cannot be replaced.
func (s *session) sentFirst(f *Frame) {
	s.top = s.next
	if len(s.waiting) == 0 {
		return
	}
	if where := slotOf(f); s.waiting[where] < s.top {
		delete(s.waiting, where)
	}
}

// takeAck appends a bare acknowledgement, which is also the sign of life.
func (s *session) takeAck(buf []byte, now time.Time) []byte {
	f := Frame{Operand: heartbeat}
	buf = f.appendHeader(buf, 0, s.consumed, s.self, now)
	s.acknowledged()
	return buf
}

func (s *session) acknowledged() { s.told, s.toldHeld = s.consumed, 0 }

// ackOpen: something consumed was not acknowledged yet.
func (s *session) ackOpen() bool { return s.consumed > s.told }

// ackDue: so much of it that the other side could soon have to wait.
func (s *session) ackDue() bool {
	return s.ackOpen() && (int(s.consumed-s.told) >= s.limits.WindowFrames/4 || s.toldHeld >= s.limits.WindowBytes/4)
}

// receive checks in a numbered frame. It is false for a frame that had arrived
// already on an earlier connection.
func (s *session) receive(number uint64, size int) (fresh bool, err error) {
	if number <= s.received {
		return false, nil
	}
	if number != s.received+1 {
		return false, fmt.Errorf("%w: message %d after %d", ErrInvalidFrame, number, s.received)
	}
	ahead := int(s.received - s.consumed)
	if ahead > 0 && s.stale == 0 && (ahead >= s.limits.WindowFrames || s.held+size > s.limits.WindowBytes) {
		return false, fmt.Errorf("%w: message %d overruns the window", ErrInvalidFrame, number)
	}
	s.received = number
	s.held += size
	return true, nil
}

// consume notes that the handler is done with so many frames.
func (s *session) consume(frames, bytes int) {
	s.held -= bytes
	old := min(frames, s.stale)
	s.stale -= old
	s.consumed += uint64(frames - old)
	s.toldHeld += bytes
}

// acknowledge drops the frames that the other side is done with. It reports
// whether there were any.
func (s *session) acknowledge(number uint64) (bool, error) {
	if number < s.base {
		return false, nil
	}
	if number >= s.next {
		return false, fmt.Errorf("%w: acknowledges message %d, the last one sent is %d", ErrInvalidFrame, number, s.next-1)
	}
	for ; s.base <= number; s.base++ {
		size := s.queue.at(0).size()
		s.bytes -= size
		s.flight -= size
		s.queue.pop()
	}
	return true, nil
}

// resume continues on a new connection with a peer that has received our
// frames up to a number.
func (s *session) resume(received uint64) error {
	if received+1 < s.base || received >= s.top {
		return fmt.Errorf("%w: peer claims to have message %d, it can have %d to %d", ErrInvalidFrame, received, s.base-1, s.top-1)
	}
	s.next = received + 1
	s.flight = 0
	for i := range int(s.next - s.base) {
		s.flight += s.queue.at(i).size()
	}
	s.told = 0
	return nil
}

// clear empties the queue and returns what was in it.
func (s *session) clear() []Frame {
	left := make([]Frame, s.queue.count)
	for i := range left {
		left[i] = *s.queue.at(i)
	}
	s.base += uint64(len(left))
	s.next, s.top = s.base, s.base
	s.queue, s.waiting, s.bytes, s.flight = queue{}, nil, 0, 0
	return left
}

// restart begins a new numbering with a peer that knows nothing of the old one.
// What was not acknowledged stays queued and is sent to it.
func (s *session) restart() {
	shift := s.base - 1
	for where := range s.waiting {
		if s.waiting[where] >= s.top {
			s.waiting[where] -= shift
		} else {
			delete(s.waiting, where)
		}
	}
	s.base, s.next, s.top = 1, 1, s.top-shift
	s.flight = 0
	s.stale += int(s.received - s.consumed)
	s.received, s.consumed, s.told, s.toldHeld = 0, 0, 0, 0
}
