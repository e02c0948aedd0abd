package ssntp

import (
	"encoding/binary"
	"fmt"
	"time"
)

// Frame is one message. Senders fill in Operand, Destination, Payload and, if
// they want to follow it, Trace; the rest is set on the way.
type Frame struct {
	Operand Operand
	// Message is the number the neighbour gave the frame, set on receipt. The
	// hub names it in a Refusal.
	Message uint64
	// Source is the origin. A receiver can trust it: the hub takes it from the
	// certificate of the connection on which the frame arrived.
	Source ID
	// Destination is the receiver. Zero means: whoever the rule names.
	Destination ID
	// Trace, when set, grows by one hop in every process.
	Trace *Trace
	// Payload is opaque here. It must not be changed after it was sent, nor by
	// a receiver (a multicast shares it).
	Payload []byte
}

// The header of a frame. All numbers are big endian.
//
//	 0        1        2        3        4                                 8
//	+--------+--------+--------+--------+--------+--------+--------+--------+
//	|version |kind    |number  |flags   |payload length                     |
//	+--------+--------+--------+--------+--------+--------+--------+--------+
//	|message number: 1, 2, 3 … in a session; 0 in control frames            |
//	+--------+--------+--------+--------+--------+--------+--------+--------+
//	|acknowledges all messages of the other side up to this number          |
//	+--------+--------+--------+--------+--------+--------+--------+--------+
//	|options length   |reserved (0)     |  options …
//	+--------+--------+--------+--------+
//
// Options follow in this order, each when its flag is set; a receiver skips
// what remains of the options length after those it knows:
//
//	flag 0x01  source       16 bytes
//	flag 0x02  destination  16 bytes
//	flag 0x04  trace        2 bytes length of the rest, 16 trace id, 8 parent
//	                        id, 1 flags, then per hop 16 id, 8 received, 8 sent
//	                        (nanoseconds since 1970 UTC, 0 = not yet)
//
// The payload follows the options.
const (
	// wireVersion is the first byte of every frame.
	// 1: first version of this document.
	wireVersion = 1

	headerSize = 28
	maxOptions = 1024

	flagSource      = 0x01
	flagDestination = 0x02
	flagTrace       = 0x04

	traceFixed = 16 + 8 + 1
	hopSize    = 16 + 8 + 8
)

// size is what the frame counts against limits in bytes.
func (f *Frame) size() int { return len(f.Payload) + headerSize }

// appendHeader draws everything of the frame but its payload. A hop of self
// that has not left yet leaves now.
func (f *Frame) appendHeader(to []byte, number, ack uint64, self ID, now time.Time) []byte {
	start := len(to)
	to = append(to, wireVersion, byte(f.Operand>>8), byte(f.Operand), 0)
	to = binary.BigEndian.AppendUint32(to, uint32(len(f.Payload)))
	to = binary.BigEndian.AppendUint64(to, number)
	to = binary.BigEndian.AppendUint64(to, ack)
	to = append(to, 0, 0, 0, 0)
	var flags byte
	if !f.Source.IsZero() {
		flags |= flagSource
		to = append(to, f.Source[:]...)
	}
	if !f.Destination.IsZero() {
		flags |= flagDestination
		to = append(to, f.Destination[:]...)
	}
	if f.Trace != nil {
		flags |= flagTrace
		to = f.Trace.append(to, self, now)
	}
	to[start+3] = flags
	binary.BigEndian.PutUint16(to[start+24:], uint16(len(to)-start-headerSize))
	return to
}

func (t *Trace) append(to []byte, self ID, now time.Time) []byte {
	hops := t.Hops[:min(len(t.Hops), maxHops)]
	to = binary.BigEndian.AppendUint16(to, uint16(traceFixed+len(hops)*hopSize))
	to = append(to, t.TraceID[:]...)
	to = append(to, t.ParentID[:]...)
	to = append(to, t.Flags)
	for i, hop := range hops {
		sent := hop.Sent
		if i == len(hops)-1 && hop.Node == self && sent.IsZero() {
			sent = now
		}
		to = append(to, hop.Node[:]...)
		to = binary.BigEndian.AppendUint64(to, nanos(hop.Received))
		to = binary.BigEndian.AppendUint64(to, nanos(sent))
	}
	return to
}

func nanos(t time.Time) uint64 {
	if t.IsZero() {
		return 0
	}
	return uint64(t.UnixNano())
}

func fromNanos(n uint64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, int64(n)).UTC()
}

// header is the fixed part of a frame as read.
type header struct {
	operand Operand
	flags   byte
	payload int
	number  uint64
	ack     uint64
	options int
}

// parse reads the fixed part from headerSize bytes.
func (h *header) parse(b []byte, payloadLimit int) error {
	_ = b[headerSize-1]
	if b[0] != wireVersion {
		return fmt.Errorf("%w: version %d, this side speaks %d", ErrInvalidFrame, b[0], wireVersion)
	}
	*h = header{
		operand: Operand(binary.BigEndian.Uint16(b[1:])),
		flags:   b[3],
		number:  binary.BigEndian.Uint64(b[8:]),
		ack:     binary.BigEndian.Uint64(b[16:]),
		options: int(binary.BigEndian.Uint16(b[24:])),
	}
	length := binary.BigEndian.Uint32(b[4:])
	if uint64(length) > uint64(payloadLimit) {
		return fmt.Errorf("%w: %v of %d bytes, the limit is %d", ErrTooLarge, h.operand, length, payloadLimit)
	}
	h.payload = int(length)
	if h.options > maxOptions {
		return fmt.Errorf("%w: %d bytes of options, the limit is %d", ErrInvalidFrame, h.options, maxOptions)
	}
	if control := h.operand.Kind() == KindControl; control != (h.number == 0) {
		return fmt.Errorf("%w: %v has message number %d", ErrInvalidFrame, h.operand, h.number)
	}
	return nil
}

// parseOptions reads the optional parts into the frame.
func (f *Frame) parseOptions(flags byte, b []byte) error {
	short := func(what string) error {
		return fmt.Errorf("%w: the options end within the %s", ErrInvalidFrame, what)
	}
	if flags&flagSource != 0 {
		if len(b) < len(f.Source) {
			return short("source")
		}
		b = b[copy(f.Source[:], b):]
	}
	if flags&flagDestination != 0 {
		if len(b) < len(f.Destination) {
			return short("destination")
		}
		b = b[copy(f.Destination[:], b):]
	}
	if flags&flagTrace == 0 {
		return nil
	}
	if len(b) < 2 {
		return short("trace")
	}
	length := int(binary.BigEndian.Uint16(b))
	if b = b[2:]; len(b) < length {
		return short("trace")
	}
	trace, err := parseTrace(b[:length])
	f.Trace = trace
	return err
}

func parseTrace(b []byte) (*Trace, error) {
	hops := (len(b) - traceFixed) / hopSize
	if len(b) < traceFixed || hops > maxHops || len(b) != traceFixed+hops*hopSize {
		return nil, fmt.Errorf("%w: a trace of %d bytes", ErrInvalidFrame, len(b))
	}
	t := &Trace{Flags: b[24]}
	copy(t.TraceID[:], b)
	copy(t.ParentID[:], b[16:])
	for b = b[traceFixed:]; len(b) > 0; b = b[hopSize:] {
		t.Hops = append(t.Hops, Hop{
			Node:     ID(b[:16]),
			Received: fromNanos(binary.BigEndian.Uint64(b[16:])),
			Sent:     fromNanos(binary.BigEndian.Uint64(b[24:])),
		})
	}
	return t, nil
}
