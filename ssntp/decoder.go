package ssntp

import (
	"io"
	"sync"
)

const (
	idleBuffer  = 128                           // kept by every connection: signs of life, greetings
	smallBuffer = headerSize + maxOptions + 484 // 1536, until a frame that came alone is read
	largeBuffer = 18 << 10                      // one at a time while data flows; a TLS record and what was left of the one before
	flowing     = 2 << 10                       // bytes of a read after which more is to be expected
	gathered    = 1 << 10                       // bytes of a payload that is made whole in the buffer
)

// decoder reads frames. An idle connection holds a tiny buffer only. A small one
// is borrowed for a frame that comes alone, large ones are for data that flows:
// such a one is never used again, since it belongs to the payloads that were cut
// out of it.
type decoder struct {
	src    io.Reader
	limit  int // of payloads
	filled func()
	idle   [idleBuffer]byte
	small  *[smallBuffer]byte // nil when not borrowed
	buf    []byte             // idle, small, or a large one
	r, w   int                // unread bytes are buf[r:w]
	more   bool               // there is probably more to read at once
	ahead  header             // of the frame at r
	parsed bool               // ahead is known
}

var smallBuffers = sync.Pool{New: func() any { return new([smallBuffer]byte) }}

// newDecoder reads from src and calls filled after every read.
func newDecoder(src io.Reader, payloadLimit int, filled func()) *decoder {
	d := &decoder{src: src, limit: payloadLimit, filled: filled}
	d.buf = d.idle[:]
	return d
}

// next reads one frame. It reads from the source only when ready is false.
func (d *decoder) next(f *Frame) (header, error) {
	if err := d.need(headerSize); err != nil {
		return header{}, err
	}
	if err := d.look(); err != nil {
		return d.ahead, err
	}
	h, err := d.ahead, error(nil)
	d.r += headerSize
	d.parsed = false
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

// look reads the header of the next frame, which is in the buffer, into ahead.
func (d *decoder) look() error {
	if d.parsed {
		return nil
	}
	err := d.ahead.parse(d.buf[d.r:d.w], d.limit)
	d.parsed = err == nil
	return err
}

// ready reports whether a whole frame is in the buffer.
func (d *decoder) ready() bool {
	unread := d.w - d.r
	if unread < headerSize {
		return false
	}
	return d.look() != nil || unread >= headerSize+d.ahead.options+d.ahead.payload
}

// payload cuts the payload out of a large buffer, or copies it when it is not
// all there or would keep much more memory than its neighbours fill.
func (d *decoder) payload(length int) ([]byte, error) {
	if length <= gathered {
		if err := d.need(length); err != nil {
			return nil, unexpected(err)
		}
	}
	if length <= d.w-d.r && d.w >= largeBuffer/2 {
		p := d.buf[d.r : d.r+length : d.r+length]
		d.r += length
		return p, nil
	}
	p := make([]byte, length)
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

// need waits until n bytes are in the buffer; n fits a small one.
func (d *decoder) need(n int) error {
	for d.w-d.r < n {
		d.choose()
		more, err := d.src.Read(d.buf[d.w:])
		d.w += more
		d.more = more >= flowing || d.w == len(d.buf) && len(d.buf) > idleBuffer
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

// choose finds room for the next read, behind the unread bytes, which are fewer
// than a small buffer holds.
func (d *decoder) choose() {
	unread := d.buf[d.r:d.w]
	switch {
	case d.more && len(d.buf)-d.w >= smallBuffer:
		return
	case d.more:
		d.buf = make([]byte, largeBuffer)
	case len(unread) == 0:
		d.buf = d.idle[:]
	case d.small == nil:
		d.small = smallBuffers.Get().(*[smallBuffer]byte)
		fallthrough
	default:
		d.buf = d.small[:]
	}
	d.r, d.w = 0, copy(d.buf, unread)
	if d.small != nil && len(d.buf) != smallBuffer {
		smallBuffers.Put(d.small)
		d.small = nil
	}
}

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
