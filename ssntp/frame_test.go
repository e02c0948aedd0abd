package ssntp

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func sampleTrace() *Trace {
	return &Trace{
		TraceID: [16]byte{1, 2}, ParentID: [8]byte{3}, Flags: 1,
		Hops: []Hop{{Node: ID{4}, Received: time.Unix(5, 6).UTC(), Sent: time.Unix(7, 8).UTC()}},
	}
}

func encode(f Frame, number, ack uint64) []byte {
	return append(f.appendHeader(nil, number, ack, ID{}, time.Time{}), f.Payload...)
}

func TestFrameRoundTrip(t *testing.T) {
	tests := map[string]Frame{
		"bare":        {Operand: Ready},
		"payload":     {Operand: Start, Payload: []byte("payload")},
		"large":       {Operand: Start, Payload: bytes.Repeat([]byte("x"), 200_000)},
		"source":      {Operand: InstanceState, Source: ID{1}},
		"destination": {Operand: Stop, Destination: ID{2}},
		"everything":  {Operand: Delete, Source: ID{1}, Destination: ID{2}, Trace: sampleTrace(), Payload: []byte{0}},
	}
	for name, want := range tests {
		t.Run(name, func(t *testing.T) {
			want.Message = 9
			for _, r := range []io.Reader{bytes.NewReader(encode(want, 9, 3)), iotest.OneByteReader(bytes.NewReader(encode(want, 9, 3)))} {
				var got Frame
				h, err := newDecoder(r, 1<<20, func() {}).next(&got)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(want, got); diff != "" || h.ack != 3 {
					t.Errorf("ack %d, frame (-want +got):\n%s", h.ack, diff)
				}
			}
		})
	}
}

// TestManyFramesInOneStream keeps all payloads: none may change when more is read.
func TestManyFramesInOneStream(t *testing.T) {
	const frames = 2000
	var stream []byte
	for n := range uint64(frames) {
		stream = append(stream, encode(Frame{Operand: Start, Payload: bytes.Repeat([]byte{byte(n)}, int(n%1100))}, n+1, 0)...)
	}
	for name, source := range map[string]io.Reader{
		"whole": bytes.NewReader(stream), "halves": iotest.HalfReader(bytes.NewReader(stream)), "bytes": iotest.OneByteReader(bytes.NewReader(stream)),
		"records": &records{stream, 16 << 10}, "small records": &records{stream, 3000},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDecoder(source, 1<<20, func() {})
			got := make([]Frame, frames)
			for n := range got {
				if _, err := d.next(&got[n]); err != nil {
					t.Fatal(err)
				}
			}
			for n, f := range got {
				if want := bytes.Repeat([]byte{byte(n)}, n%1100); f.Message != uint64(n)+1 || !bytes.Equal(f.Payload, want) {
					t.Fatalf("frame %d is number %d with %d bytes, want %d of %d", n+1, f.Message, len(f.Payload), len(want), byte(n))
				}
			}
		})
	}
}

// records is a reader that returns no more than the rest of a record, as TLS does.
type records struct {
	left []byte
	size int
}

func (r *records) Read(b []byte) (int, error) {
	if len(r.left) == 0 {
		return 0, io.EOF
	}
	rest := (len(r.left)-1)%r.size + 1
	n := copy(b, r.left[:rest])
	r.left = r.left[n:]
	return n, nil
}

func TestDecoderRefuses(t *testing.T) {
	whole := encode(Frame{Operand: Start, Source: ID{1}, Trace: sampleTrace(), Payload: []byte("abc")}, 1, 0)
	bend := func(at int, value byte) []byte {
		b := bytes.Clone(whole)
		b[at] = value
		return b
	}
	tests := map[string]struct {
		in   []byte
		want error
	}{
		"another version":         {bend(0, 2), ErrInvalidFrame},
		"too large":               {bend(4, 1), ErrTooLarge},
		"too many options":        {bend(24, 0xff), ErrInvalidFrame},
		"a control with a number": {bend(1, 5), ErrInvalidFrame},
		"a data frame without":    {encode(Frame{Operand: Start}, 0, 0), ErrInvalidFrame},
		"options end in trace":    {bend(25, 40), ErrInvalidFrame},
		"a trace of odd length":   {bend(headerSize+17, 30), ErrInvalidFrame},
		"truncated header":        {whole[:10], io.ErrUnexpectedEOF},
		"truncated options":       {whole[:40], io.ErrUnexpectedEOF},
		"truncated payload":       {whole[:len(whole)-1], io.ErrUnexpectedEOF},
		"nothing":                 {nil, io.EOF},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var f Frame
			if _, err := newDecoder(bytes.NewReader(test.in), 1000, func() {}).next(&f); !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
		})
	}
}

func TestUnknownOptionsAreSkipped(t *testing.T) {
	b := encode(Frame{Operand: Start, Source: ID{1}}, 1, 0)
	b[25] += 3
	b[3] |= 0x80
	b = append(b, 7, 7, 7)
	b = append(b, encode(Frame{Operand: Stop}, 2, 0)...)
	d := newDecoder(bytes.NewReader(b), 1000, func() {})
	for _, want := range []Operand{Start, Stop} {
		var f Frame
		if _, err := d.next(&f); err != nil || f.Operand != want {
			t.Fatalf("got %v, %v; want %v", f.Operand, err, want)
		}
	}
}

func FuzzDecoder(f *testing.F) {
	f.Add(encode(Frame{Operand: Start, Source: ID{1}, Destination: ID{2}, Trace: sampleTrace(), Payload: []byte("abc")}, 1, 0))
	f.Add(encode(Frame{Operand: heartbeat}, 0, 7))
	f.Fuzz(func(t *testing.T, in []byte) {
		d := newDecoder(bytes.NewReader(in), 1<<16, func() {})
		for {
			var got Frame
			h, err := d.next(&got)
			if err != nil {
				return
			}
			var again Frame
			if _, err := newDecoder(bytes.NewReader(encode(got, h.number, h.ack)), 1<<16, func() {}).next(&again); err != nil {
				t.Fatalf("a decoded frame does not survive encoding: %v", err)
			}
			if diff := cmp.Diff(got, again); diff != "" {
				t.Fatal(diff)
			}
		}
	})
}

func FuzzGreeting(f *testing.F) {
	g := greeting{identity: Identity{ID{1}, RoleAgent}, session: ID{2}, epoch: 1, frames: 1, bytes: 1, payload: 1}
	f.Add(g.encode())
	f.Fuzz(func(t *testing.T, in []byte) {
		if g, err := parseGreeting(in); err == nil && !bytes.Equal(g.encode()[:84], in[:84]) {
			t.Errorf("%+v does not survive encoding", g)
		}
	})
}

func FuzzRefusal(f *testing.F) {
	f.Add(refusalOf(Frame{Operand: Start, Payload: []byte("p")}, Undeliverable, ID{}, "absent", 1000).Payload)
	f.Fuzz(func(t *testing.T, in []byte) { _, _ = ParseRefusal(in) })
}

func TestRefusalRoundTrip(t *testing.T) {
	f := Frame{Operand: Start, Message: 7, Source: ID{1}, Destination: ID{2}, Payload: []byte("recipe")}
	answer := refusalOf(f, Undeliverable, ID{3}, "absent", 1<<20)
	got, err := ParseRefusal(answer.Payload)
	if err != nil {
		t.Fatal(err)
	}
	want := Refusal{Operand: Start, Destination: ID{2}, Message: 7, Reason: "absent", Payload: []byte("recipe")}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if answer.Source != (ID{3}) || answer.Destination != (ID{1}) {
		t.Errorf("the answer goes from %v to %v", answer.Source, answer.Destination)
	}
}

func TestPath(t *testing.T) {
	at := func(micros int64) time.Time { return time.UnixMicro(1_000_000 + micros) }
	trace := Trace{Hops: []Hop{
		{Node: ID{1}, Received: at(0), Sent: at(12)}, {Node: ID{2}, Received: at(97), Sent: at(127)}, {Node: ID{3}, Received: at(217)},
	}}
	want := ID{1}.String() + " 12µs, 85µs, " + ID{2}.String() + " 30µs, 90µs, " + ID{3}.String()
	if got := trace.Path(); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestTraceparent(t *testing.T) {
	const s = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	trace, err := ParseTraceparent(s)
	if err != nil || trace.Traceparent() != s {
		t.Errorf("got %q, %v", trace.Traceparent(), err)
	}
	for _, bad := range []string{"", s[1:], "ff" + s[2:], "00-" + strings.Repeat("0", 32) + s[35:], strings.Replace(s, "4b", "xx", 1)} {
		if _, err := ParseTraceparent(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}
