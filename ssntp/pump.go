package ssntp

import (
	"fmt"
	"sync"
	"time"
)

// writeSize is how many bytes the writer gathers for one TLS write.
const writeSize = 64 << 10

var writeBuffers = sync.Pool{New: func() any {
	b := make([]byte, 0, writeSize+4096)
	return &b
}}

// batchSize is how many frames are taken in under one lock.
const batchSize = 128

// pump moves frames over an attached link until it ends, and says why it did.
func (e *endpoint) pump(l *link) error {
	var writer sync.WaitGroup
	writer.Go(func() { l.close(e.write(l)) })
	l.close(e.read(l))
	writer.Wait()
	return l.cause
}

// write gathers whatever is queued, writes it, and waits only when the queue
// has run empty: no timer delays a frame.
func (e *endpoint) write(l *link) error {
	// Half the interval, so that a gap never exceeds it.
	tick := time.NewTicker(l.heartbeat / 2)
	defer tick.Stop()
	busy, beat := false, false
	for {
		wrote, err := e.flush(l, beat)
		if err != nil {
			return err
		}
		beat = false
		if wrote {
			busy = true
			continue
		}
		select {
		case <-l.wake:
		case <-tick.C:
			if err := l.check(); err != nil {
				l.refuse(err)
				return err
			}
			beat, busy = !busy, false
		case last := <-l.parting:
			return e.sayGoodbye(l, last)
		case <-l.done:
			return l.cause
		}
	}
}

// flush writes the frames that may be sent now, or a sign of life.
func (e *endpoint) flush(l *link, beat bool) (wrote bool, err error) {
	var pooled *[]byte
	e.mu.Lock()
	if e.link != l {
		e.mu.Unlock()
		return false, errReplaced
	}
	s := &e.session
	idle := s.next == s.base+uint64(s.queue.count)
	if idle && !beat && !(s.ackOpen() && (l.ackNow || s.ackDue())) {
		e.mu.Unlock()
		return false, nil
	}
	pooled = writeBuffers.Get().(*[]byte)
	now := time.Now()
	buf := s.take((*pooled)[:0], writeSize, now)
	if len(buf) == 0 && (beat || s.ackOpen() && (l.ackNow || s.ackDue())) {
		buf = s.takeAck(buf, now)
	}
	l.ackNow = false
	e.mu.Unlock()
	if len(buf) > 0 {
		err = l.write(buf)
	}
	if cap(buf) <= 2*writeSize {
		*pooled = buf
	}
	writeBuffers.Put(pooled)
	return len(buf) > 0, err
}

// sayGoodbye sends what the window still allows and the goodbye, then gives the
// other side a moment to close: closing first could destroy what it has not
// read yet.
func (e *endpoint) sayGoodbye(l *link, last goodbyeMsg) error {
	for {
		wrote, err := e.flush(l, false)
		if err != nil {
			return err
		}
		if !wrote {
			break
		}
	}
	f := goodbyeFrame(last.code, last.text)
	if err := l.writeControl(f); err != nil {
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

// read takes in frames, as many at a time as have arrived together.
func (e *endpoint) read(l *link) error {
	defer l.decoder.release()
	var batch []received
	for {
		var one received
		h, err := l.decoder.next(&one.frame)
		if err != nil {
			return e.readFailed(l, err)
		}
		one.ack = h.ack
		batch = append(batch, one)
		if len(batch) < batchSize && l.decoder.ready() {
			continue
		}
		if err := e.takeIn(l, batch); err != nil {
			return e.readFailed(l, err)
		}
		clear(batch)
		if batch = batch[:0]; cap(batch) > keepFrames && !l.decoder.full {
			batch = nil
		}
	}
}

type received struct {
	frame Frame
	ack   uint64
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

// takeIn puts frames into the inbox, unless another connection has taken over.
func (e *endpoint) takeIn(l *link, batch []received) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.link != l {
		return errReplaced
	}
	if e.closed != nil {
		return takeLast(batch)
	}
	empty, progress := len(e.inbox) == 0, false
	for i := range batch {
		f := &batch[i].frame
		freed, err := e.session.acknowledge(batch[i].ack)
		if err != nil {
			return err
		}
		progress = progress || freed
		if f.Operand.Kind() == KindControl {
			if err := takeControl(f); err != nil {
				return err
			}
			continue
		}
		fresh, err := e.session.receive(f.Message, f.size())
		if err != nil {
			return err
		}
		if fresh {
			e.inbox = append(e.inbox, arrival{frame: *f})
		}
	}
	if empty && len(e.inbox) > 0 {
		e.wakeConsumer()
	}
	if progress {
		l.signal()
		if e.session.roomy() {
			e.wakeSenders()
		}
	}
	return nil
}

// takeLast looks for the other side's goodbye while ours is on its way.
func takeLast(batch []received) error {
	for i := range batch {
		if batch[i].frame.Operand.Kind() == KindControl {
			if err := takeControl(&batch[i].frame); err != nil {
				return err
			}
		}
	}
	return nil
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
