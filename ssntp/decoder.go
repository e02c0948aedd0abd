package ssntp

import (
	"io"
	"sync"
)

const (
	smallBuffer = headerSize + maxOptions + 484 // 1536, kept by every connection
	largeBuffer = 32 << 10                      // borrowed while data flows
	slabSize    = 4096
	maxSlabbed  = 1024
)

var readBuffers = sync.Pool{New: func() any { return new([largeBuffer]byte) }}

// decoder reads frames. An idle connection holds a small buffer only: as long
// as reads fill the buffer a large one is borrowed.
type decoder struct {
	src    io.Reader
	limit  int // of payloads
	filled func()
	small  [smallBuffer]byte
	large  *[largeBuffer]byte
	buf    []byte // small or large
	r, w   int    // unread bytes are buf[r:w]
	slab   []byte // room for small payloads
	full   bool   // the last read filled the buffer: there is probably more
}

// newDecoder reads from src and calls filled after every read.
func newDecoder(src io.Reader, payloadLimit int, filled func()) *decoder {
	d := &decoder{src: src, limit: payloadLimit, filled: filled}
	d.buf = d.small[:]
	return d
}

// next reads one frame. It reads from the source only when ready is false.
func (d *decoder) next(f *Frame) (header, error) {
	if err := d.need(headerSize); err != nil {
		return header{}, err
	}
	h, err := parseHeader(d.buf[d.r:d.w], d.limit)
	if err != nil {
		return h, err
	}
	d.r += headerSize
	*f = Frame{Operand: h.operand, Message: h.number}
	if h.options > 0 {
		if err := d.need(h.options); err != nil {
			return h, unexpected(err)
		}
		if err := f.parseOptions(h.flags, d.buf[d.r:d.r+h.options]); err != nil {
			return h, err
		}
		d.r += h.options
	} else if h.flags&(flagSource|flagDestination|flagTrace) != 0 {
		return h, f.parseOptions(h.flags, nil)
	}
	if h.payload > 0 {
		f.Payload, err = d.payload(h.payload)
	}
	return h, err
}

// ready reports whether a whole frame is in the buffer.
func (d *decoder) ready() bool {
	b := d.buf[d.r:d.w]
	if len(b) < headerSize {
		return false
	}
	h, err := parseHeader(b, d.limit)
	return err != nil || len(b) >= headerSize+h.options+h.payload
}

func (d *decoder) payload(length int) ([]byte, error) {
	p := d.alloc(length)
	n := copy(p, d.buf[d.r:d.w])
	d.r += n
	for n < length {
		more, err := d.src.Read(p[n:])
		n += more
		d.filled()
		if err != nil && n < length {
			return nil, unexpected(err)
		}
	}
	return p, nil
}

// alloc cuts small payloads out of a common slab: fewer, larger allocations,
// while a payload that is kept holds on to one slab only.
func (d *decoder) alloc(length int) []byte {
	if length > maxSlabbed || d.large == nil {
		return make([]byte, length)
	}
	if length > len(d.slab) {
		d.slab = make([]byte, slabSize)
	}
	p := d.slab[:length:length]
	d.slab = d.slab[length:]
	return p
}

// need waits until n bytes are in the buffer; n fits the small one.
func (d *decoder) need(n int) error {
	for d.w-d.r < n {
		d.choose()
		more, err := d.src.Read(d.buf[d.w:])
		d.w += more
		d.full = d.w == len(d.buf)
		d.filled()
		if err != nil && d.w-d.r < n {
			if d.w > d.r {
				return unexpected(err)
			}
			return err
		}
	}
	return nil
}

// choose moves the unread bytes, fewer than the small buffer holds, to the
// front of the buffer for the next read.
func (d *decoder) choose() {
	unread := d.buf[d.r:d.w]
	switch {
	case d.full && d.large == nil:
		d.large = readBuffers.Get().(*[largeBuffer]byte)
		d.buf = d.large[:]
	case !d.full && d.large != nil:
		d.buf = d.small[:]
	}
	d.w = copy(d.buf, unread)
	d.r = 0
	if !d.full {
		d.release()
		d.slab = nil
	}
}

// release gives the large buffer back; what it held has been moved or is lost.
func (d *decoder) release() {
	if d.large != nil {
		readBuffers.Put(d.large)
		d.large = nil
	}
}

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
