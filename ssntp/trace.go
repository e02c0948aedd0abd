package ssntp

import (
	"encoding/hex"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"
)

// maxHops bounds the path of a trace; a longer path stops growing.
const maxHops = 8

// Trace follows one frame through the cluster. It holds a W3C traceparent
// (https://www.w3.org/TR/trace-context/) and the path that the frame took.
type Trace struct {
	TraceID  [16]byte
	ParentID [8]byte
	Flags    uint8 // bit 0: sampled
	Hops     []Hop
}

// Hop is one process that a frame passed.
type Hop struct {
	Node     ID
	Received time.Time // when it arrived there, or when its origin handed it over
	Sent     time.Time // when it left; zero at its last hop
}

// ParseTraceparent reads the header form "00-<trace id>-<parent id>-<flags>".
func ParseTraceparent(s string) (Trace, error) {
	var t Trace
	var version, flags [1]byte
	if len(s) != 55 || s[2] != '-' || s[35] != '-' || s[52] != '-' {
		return t, fmt.Errorf("%q is not a traceparent: want 00-<32 hex>-<16 hex>-<2 hex>", s)
	}
	for _, part := range []struct {
		to   []byte
		from string
	}{{version[:], s[:2]}, {t.TraceID[:], s[3:35]}, {t.ParentID[:], s[36:52]}, {flags[:], s[53:]}} {
		if _, err := hex.Decode(part.to, []byte(part.from)); err != nil {
			return Trace{}, fmt.Errorf("%q is not a traceparent: %w", s, err)
		}
	}
	if version[0] != 0 || t.TraceID == [16]byte{} || t.ParentID == [8]byte{} {
		return Trace{}, fmt.Errorf("%q is not a traceparent of version 00 with ids", s)
	}
	t.Flags = flags[0]
	return t, nil
}

// Traceparent returns the header form.
func (t *Trace) Traceparent() string {
	return fmt.Sprintf("00-%x-%x-%02x", t.TraceID, t.ParentID, t.Flags)
}

// arrived returns the trace with a hop for the process that holds the frame
// now. The original is shared between queues and stays as it is.
func (t *Trace) arrived(node ID, now time.Time) *Trace {
	if t == nil || len(t.Hops) >= maxHops {
		return t
	}
	grown := *t
	grown.Hops = append(slices.Clip(slices.Clone(t.Hops)), Hop{Node: node, Received: now})
	return &grown
}

// Path tells the way so far with its times, "<id> 12µs, 85µs, <id> 30µs, 90µs,
// <id>": how long each process kept the frame, and how long it was under way to
// the next one, which compares the clocks of two machines.
func (t *Trace) Path() string {
	var b strings.Builder
	for i, hop := range t.Hops {
		if i > 0 {
			fmt.Fprintf(&b, ", %v, ", hop.Received.Sub(t.Hops[i-1].Sent))
		}
		b.WriteString(hop.Node.String())
		if !hop.Sent.IsZero() {
			fmt.Fprintf(&b, " %v", hop.Sent.Sub(hop.Received))
		}
	}
	return b.String()
}

// LogValue implements [slog.LogValuer].
func (t *Trace) LogValue() slog.Value {
	return slog.GroupValue(slog.String("id", hex.EncodeToString(t.TraceID[:])), slog.String("path", t.Path()))
}
