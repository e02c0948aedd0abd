package ssntp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// greeting is the payload of hello and welcome. Later versions append to it; a
// receiver ignores what it does not know.
//
//	offset  bytes
//	0       16     id, as in the certificate
//	16      4      roles, a subset of those in the certificate
//	20      16     session: drawn by the client when its process starts
//	36      16     incarnation: drawn by the server when it begins a numbering;
//	               zero in the first hello
//	52      8      epoch: 1, 2, 3 … connections of this session
//	60      8      received: the last message that has arrived
//	68      4      window: messages that may be sent ahead of acknowledgements
//	72      4      window: bytes (28 for each message, plus payload)
//	76      4      largest payload
//	80      4      heartbeat in milliseconds; the welcome decides
//	84      1      resumed (welcome): 1 the numbering goes on, 0 it begins anew
type greeting struct {
	identity    Identity
	session     ID
	incarnation ID
	epoch       uint64
	received    uint64
	frames      int
	bytes       int
	payload     int
	heartbeat   time.Duration
	resumed     bool
	consumed    uint64 // travels in the header, as in every frame
}

const greetingSize = 85

func (g *greeting) encode() []byte {
	b := make([]byte, 0, greetingSize)
	b = append(b, g.identity.ID[:]...)
	b = binary.BigEndian.AppendUint32(b, uint32(g.identity.Roles))
	b = append(b, g.session[:]...)
	b = append(b, g.incarnation[:]...)
	b = binary.BigEndian.AppendUint64(b, g.epoch)
	b = binary.BigEndian.AppendUint64(b, g.received)
	b = binary.BigEndian.AppendUint32(b, uint32(g.frames))
	b = binary.BigEndian.AppendUint32(b, uint32(g.bytes))
	b = binary.BigEndian.AppendUint32(b, uint32(g.payload))
	b = binary.BigEndian.AppendUint32(b, uint32(g.heartbeat/time.Millisecond))
	if g.resumed {
		return append(b, 1)
	}
	return append(b, 0)
}

func parseGreeting(b []byte) (greeting, error) {
	if len(b) < greetingSize {
		return greeting{}, fmt.Errorf("%w: a greeting of %d bytes, want %d", ErrInvalidFrame, len(b), greetingSize)
	}
	u32 := func(at int) uint32 { return binary.BigEndian.Uint32(b[at:]) }
	g := greeting{
		identity:    Identity{ID: ID(b[0:16]), Roles: Role(u32(16))},
		session:     ID(b[20:36]),
		incarnation: ID(b[36:52]),
		epoch:       binary.BigEndian.Uint64(b[52:]),
		received:    binary.BigEndian.Uint64(b[60:]),
		frames:      int(u32(68)),
		bytes:       int(u32(72)),
		payload:     int(u32(76)),
		heartbeat:   time.Duration(u32(80)) * time.Millisecond,
		resumed:     b[84] == 1,
	}
	if g.frames < 1 || g.bytes < 1 || g.payload < 1 || g.epoch < 1 || g.session.IsZero() {
		return greeting{}, fmt.Errorf("%w: a greeting with a window, payload, epoch or session of zero", ErrInvalidFrame)
	}
	return g, nil
}

// check compares a greeting with the certificate of the connection it came on.
func (g *greeting) check(certified Identity, payloadLimit int) error {
	if g.identity.ID != certified.ID {
		return fmt.Errorf("%w: claims to be %v, its certificate says %v", ErrNotAuthorized, g.identity.ID, certified.ID)
	}
	if g.identity.Roles == 0 || g.identity.Roles&^certified.Roles != 0 {
		return fmt.Errorf("%w: claims the role %v, its certificate says %v", ErrNotAuthorized, g.identity.Roles, certified.Roles)
	}
	if g.payload != payloadLimit {
		return fmt.Errorf("%w: its payload limit is %d bytes, ours %d: set Limits.Payload alike", ErrInvalidFrame, g.payload, payloadLimit)
	}
	return nil
}

// reason is the code in a goodbye.
type reason uint16

const (
	reasonShutdown      reason = 1 // the process stops, or the session is no longer wanted
	reasonInvalid       reason = 2 // the protocol was broken
	reasonNotAuthorized reason = 3 // identity, role or operand not allowed
	reasonSuperseded    reason = 4 // another process with this identity has connected
	reasonStale         reason = 5 // a newer connection of this session exists
	reasonExpired       reason = 6 // a certificate has expired
	reasonRevoked       reason = 7 // the operator has cut this peer
)

// goodbyeFrame draws the payload of a goodbye: 2 bytes code, then UTF-8 text.
func goodbyeFrame(code reason, text string) Frame {
	b := binary.BigEndian.AppendUint16(nil, uint16(code))
	return Frame{Operand: goodbye, Payload: append(b, clip(text, 1024)...)}
}

// farewell is the error for a goodbye that the other side sent.
type farewell struct {
	code reason
	text string
}

func parseGoodbye(b []byte) error {
	if len(b) < 2 {
		return fmt.Errorf("%w: a goodbye of %d bytes", ErrInvalidFrame, len(b))
	}
	return &farewell{code: reason(binary.BigEndian.Uint16(b)), text: clip(string(b[2:]), 1024)}
}

func (f *farewell) Error() string {
	return fmt.Sprintf("ssntp: the peer ended the connection: %s", f.text)
}

// Is makes a farewell match its class.
func (f *farewell) Is(target error) bool {
	switch target {
	case ErrRefused:
		return f.code != reasonShutdown
	case ErrClosed:
		return f.code == reasonShutdown
	case ErrSuperseded:
		return f.code == reasonSuperseded
	case ErrNotAuthorized:
		return f.code == reasonNotAuthorized || f.code == reasonRevoked
	case ErrExpired:
		return f.code == reasonExpired
	case ErrInvalidFrame:
		return f.code == reasonInvalid
	}
	return false
}

// reasonFor chooses the code to tell the other side about a local error; zero
// means that there is nothing to tell.
func reasonFor(err error) reason {
	for _, known := range []struct {
		class error
		code  reason
	}{
		{ErrSuperseded, reasonSuperseded},
		{ErrNotAuthorized, reasonNotAuthorized},
		{ErrTooLarge, reasonInvalid},
		{ErrInvalidFrame, reasonInvalid},
		{ErrExpired, reasonExpired},
		{ErrClosed, reasonShutdown},
	} {
		if errors.Is(err, known.class) {
			return known.code
		}
	}
	return 0
}
