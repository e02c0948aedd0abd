package ssntp

import (
	"cmp"
	"fmt"
	"sync"
	"time"
)

// writeSize is how many bytes the writer gathers for one TLS write.
const writeSize = 128 << 10

var writeBuffers = sync.Pool{New: func() any {
	b := make([]byte, 0, writeSize+4096)
	return &b
}}

// pump moves frames over an attached link until it ends, and says why it did.
func (e *endpoint) pump(l *link) error {
	go e.read(l, 0)
	l.close(e.write(l))
	<-l.readEnded
	return l.cause
}

// write gathers whatever is queued, writes it, and waits only when the queue
// has run empty: no timer delays a frame.
func (e *endpoint) write(l *link) error {
	// Half the interval, so that a gap never exceeds it.
	tick := time.NewTicker(l.heartbeat / 2)
	defer tick.Stop()
	l.looked = time.Since(l.opened)
	l.turn.Unlock()
	beat := false
	for {
		l.turn.Lock()
		wrote, err := e.flush(l, beat, true)
		if beat {
			l.wrote = false
		}
		l.turn.Unlock()
		if err != nil {
			return err
		}
		beat = false
		if wrote {
			continue
		}
		select {
		case <-l.wake:
		case due := <-tick.C:
			if err := l.check(due); err != nil {
				l.refuse(err)
				return err
			}
			if beat = l.quiet(); beat {
				e.shrink()
			}
		case last := <-l.parting:
			return e.sayGoodbye(l, last)
		case <-l.done:
			return l.cause
		}
	}
}

// writeNow writes a frame that was just queued, beside the writer, when that
// takes no waiting: waking the writer takes longer than the frame.
func (e *endpoint) writeNow(l *link) {
	if !l.turn.TryLock() {
		l.signal()
		return
	}
	defer l.turn.Unlock()
	if l.stuck {
		l.signal()
		return
	}
	if _, err := e.flush(l, false, false); err != nil {
		l.close(err)
	}
	if l.stuck {
		l.signal()
	}
}

// flush writes the frames that may be sent now, or a sign of life, and what is
// stuck. The caller has the link's turn.
func (e *endpoint) flush(l *link, beat bool, wait bool) (wrote bool, err error) {
	buf, large, err := e.compose(l, beat)
	if err != nil {
		return false, err
	}
	if wrote = len(buf) > 0 || l.stuck; wrote {
		l.wrote = true
		if wait {
			err = l.write(buf)
		} else {
			err = l.tryWrite(buf)
		}
	}
	if large != nil {
		if cap(buf) <= 2*writeSize {
			*large = buf
		}
		writeBuffers.Put(large)
	}
	return wrote, err
}

// compose draws what flush writes. Frames go into a large buffer, which the
// caller gives back; a sign of life does not: thousands of connections that do
// nothing else would need one each whenever the collector has emptied the pool.
func (e *endpoint) compose(l *link, beat bool) (buf []byte, large *[]byte, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.link != l {
		return nil, nil, errReplaced
	}
	s := &e.session
	acknowledge := beat || s.ackOpen() && (l.ackNow || s.ackDue())
	l.ackNow = false
	if s.next < s.base+uint64(s.queue.count) {
		large = writeBuffers.Get().(*[]byte)
		if buf = s.take((*large)[:0], writeSize, time.Now()); len(buf) > 0 {
			return buf, large, nil
		}
		writeBuffers.Put(large)
	}
	if acknowledge {
		buf = s.takeAck(l.sign[:0], time.Now())
	}
	return buf, nil, nil
}

// sayGoodbye sends what the window still allows and the goodbye, then gives the
// other side a moment to close: closing first could destroy what it has not
// read yet.
func (e *endpoint) sayGoodbye(l *link, last goodbyeMsg) error {
	l.turn.Lock()
	defer l.turn.Unlock()
	for {
		wrote, err := e.flush(l, false, true)
		if err != nil {
			return err
		}
		if !wrote {
			break
		}
	}
	// It acknowledges too: what was consumed need not be sent to a successor.
	f := goodbyeFrame(last.code, last.text)
	e.mu.Lock()
	b := f.appendHeader(nil, 0, e.session.consumed, ID{}, time.Time{})
	e.mu.Unlock()
	if err := l.write(append(b, f.Payload...)); err != nil {
		return err
	}
	timer := time.NewTimer(partingTime)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-l.done:
	}
	return fmt.Errorf("%w: %s", ErrClosed, last.text)
}

// read takes in frames, as many at a time as have arrived together, until the
// connection ends or another reader has stood in.
func (e *endpoint) read(l *link, reader int) {
	if err := e.takeAll(l, reader); err != errStoodIn {
		l.close(e.readFailed(l, err))
		close(l.readEnded)
	}
}

func (e *endpoint) takeAll(l *link, reader int) error {
	var b *batch
	var first Frame
	for {
		f := &first
		if b != nil {
			f = &b.items[b.count].frame
		}
		h, err := l.decoder.next(f)
		if err != nil {
			return err
		}
		if b == nil {
			if f.Operand == heartbeat && !l.decoder.ready() {
				if err := e.hear(l, h.ack); err != nil {
					return err
				}
				continue
			}
			b = newBatch()
			b.items[0].frame = first
			first = Frame{} // the payload belongs to the batch
		}
		b.count++
		b.ack = max(b.ack, h.ack)
		if b.count < batchSize && l.decoder.ready() {
			continue
		}
		now, err := e.takeIn(l, b)
		if err != nil {
			return err
		}
		if now && !e.handleNow(l, b, reader) {
			return errStoodIn
		}
		b = nil
	}
}

// readFailed tells the other side when it broke the rules.
func (e *endpoint) readFailed(l *link, err error) error {
	if code := reasonFor(err); code == reasonInvalid {
		if _, theirs := err.(*farewell); !theirs {
			l.refuse(err)
		}
	}
	return err
}

// takeIn puts frames into the inbox, unless another connection has taken over
// or the session has ended. If now, the caller has to handle them itself.
func (e *endpoint) takeIn(l *link, b *batch) (now bool, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.link != l {
		return false, errReplaced
	}
	progress, err := e.session.acknowledge(b.ack)
	if err != nil {
		return false, err
	}
	bye, broken := e.keepFresh(b)
	switch now = bye == nil && broken == nil && e.mayHandleNow(b); {
	case b.count == 0:
		b.release()
	case now:
		e.busy = true
		l.watchHandler(e)
	default:
		e.inbox.push(b)
		e.handleMore()
	}
	if progress {
		e.progressed(l)
	}
	return now, cmp.Or(broken, bye)
}

// hear takes in a sign of life that came alone, without a batch for it.
func (e *endpoint) hear(l *link, ack uint64) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.link != l {
		return errReplaced
	}
	progress, err := e.session.acknowledge(ack)
	if progress {
		e.progressed(l)
	}
	return err
}

// progressed wakes those who wait for acknowledgements. The caller holds the lock.
func (e *endpoint) progressed(l *link) {
	l.signal()
	if e.session.roomy() {
		e.wakeSenders()
	}
}

// keepFresh checks in the frames of a batch and drops from it what is not for
// the handler: control frames, and frames that had arrived before. The first
// error is a goodbye of the other side, the second its breach of the rules; in
// both cases what came before counts.
func (e *endpoint) keepFresh(b *batch) (bye, broken error) {
	kept := 0
	for i := range b.items[:b.count] {
		f := &b.items[i].frame
		if f.Operand.Kind() == KindControl {
			if bye = takeControl(f); bye != nil {
				break
			}
			continue
		}
		if e.closed != nil {
			continue
		}
		fresh, err := e.session.receive(f.Message, f.size())
		if err != nil {
			broken = err
			break
		}
		if fresh {
			if kept != i {
				b.items[kept].frame = *f
			}
			kept++
		}
	}
	clear(b.items[kept:b.count])
	b.count = kept
	return bye, broken
}

// takeControl handles a control frame of an established connection. Unknown
// ones are skipped: they come from later versions.
func takeControl(f *Frame) error {
	switch f.Operand {
	case goodbye:
		return parseGoodbye(f.Payload)
	case hello, welcome:
		return fmt.Errorf("%w: a second %v", ErrInvalidFrame, f.Operand)
	}
	return nil
}
