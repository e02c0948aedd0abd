package ssntp

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// maxEcho bounds the refused payload that a Refusal carries back.
const maxEcho = 64 << 10

// Refusal is the payload of the errors that the hub itself sends
// (Undeliverable, InvalidFrame, NotAuthorized). Message is the number of the
// refused frame in its sender's session; since senders do not see that number,
// the refused payload comes back too.
//
//	2 bytes operand, 16 destination, 8 message, 2 length of reason, reason
//	(UTF-8), then the refused payload: whole, or nothing when it was longer
//	than 64 KiB
type Refusal struct {
	Operand     Operand
	Destination ID
	Message     uint64
	Reason      string
	Payload     []byte
}

const refusalFixed = 2 + 16 + 8 + 2

// ParseRefusal reads the payload of an error of the hub.
func ParseRefusal(payload []byte) (Refusal, error) {
	if len(payload) < refusalFixed {
		return Refusal{}, fmt.Errorf("%w: a refusal of %d bytes", ErrInvalidFrame, len(payload))
	}
	r := Refusal{
		Operand:     Operand(binary.BigEndian.Uint16(payload)),
		Destination: ID(payload[2:18]),
		Message:     binary.BigEndian.Uint64(payload[18:]),
	}
	reason := int(binary.BigEndian.Uint16(payload[26:]))
	rest := payload[refusalFixed:]
	if len(rest) < reason {
		return Refusal{}, fmt.Errorf("%w: a refusal ends within its reason", ErrInvalidFrame)
	}
	r.Reason, r.Payload = string(rest[:reason]), rest[reason:]
	return r, nil
}

// refusalOf answers a frame that was not taken.
func refusalOf(f Frame, operand Operand, hub ID, reason string, payloadLimit int) Frame {
	reason = clip(reason, 1024)
	echo := f.Payload
	if len(echo) > maxEcho || refusalFixed+len(reason)+len(echo) > payloadLimit {
		echo = nil
	}
	b := make([]byte, 0, refusalFixed+len(reason)+len(echo))
	b = binary.BigEndian.AppendUint16(b, uint16(f.Operand))
	b = append(b, f.Destination[:]...)
	b = binary.BigEndian.AppendUint64(b, f.Message)
	b = binary.BigEndian.AppendUint16(b, uint16(len(reason)))
	b = append(append(b, reason...), echo...)
	return Frame{Operand: operand, Source: hub, Destination: f.Source, Payload: b}
}

func clip(s string, limit int) string {
	return strings.ToValidUTF8(s[:min(len(s), limit)], "")
}
