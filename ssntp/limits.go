package ssntp

import (
	"fmt"
	"runtime"
	"time"
)

// Limits bounds what a client or server spends on its peers. A zero field
// takes the default.
type Limits struct {
	Payload      int // bytes of one payload, both ways; default 1 MiB, alike on all peers
	QueueFrames  int // frames queued for one destination, acknowledged or not; default 65536
	QueueBytes   int // payload bytes queued for one destination; default 16 MiB
	WindowFrames int // frames a neighbour may send ahead of our handler; default 2048
	WindowBytes  int // payload bytes it may send ahead; default 4 MiB
	Waiting      int // connections that wait for their handshake (server), each with a goroutine and 2 KiB; default 8192
	Handshakes   int // connections in handshake at once (server); default 128 for each processor

	Handshake time.Duration // how long a handshake may wait for the other side, in all; default 5 s
	Heartbeat time.Duration // a sign of life at least this often; the server's counts for both; default 2 s
	Silence   time.Duration // a peer silent for so long is dead, a write that takes longer fails; default 5 s
	Resume    time.Duration // how long a server keeps the session of a lost connection; default 5 s
	Drain     time.Duration // how long a client that stops waits for its queue to be acknowledged; default 1 s
	AckDelay  time.Duration // how long an acknowledgement waits for a frame to ride on; default 10 ms
	Recheck   time.Duration // how often a client looks whether its certificate was replaced, and either side whom it admits; default 30 s
	RetryMin  time.Duration // first wait before dialling again, with jitter; default 50 ms
	RetryMax  time.Duration // longest wait before dialling again; default 3 s
}

// Scale multiplies every duration, for machines that are that many times
// slower than usual. Defaults are filled in first.
func (l Limits) Scale(factor float64) Limits {
	l = l.withDefaults()
	for _, d := range l.durations() {
		*d = time.Duration(float64(*d) * factor)
	}
	return l
}

func (l *Limits) durations() []*time.Duration {
	return []*time.Duration{&l.Handshake, &l.Heartbeat, &l.Silence, &l.Resume, &l.Drain, &l.AckDelay, &l.Recheck, &l.RetryMin, &l.RetryMax}
}

const (
	defaultPayload = 1 << 20
	maxPayload     = 1 << 30
)

func (l Limits) withDefaults() Limits {
	number := func(field *int, value int) {
		if *field == 0 {
			*field = value
		}
	}
	duration := func(field *time.Duration, value time.Duration) {
		if *field == 0 {
			*field = value
		}
	}
	number(&l.Payload, defaultPayload)
	number(&l.QueueFrames, 1<<16)
	number(&l.QueueBytes, 16<<20)
	number(&l.WindowFrames, 2048)
	number(&l.WindowBytes, 4<<20)
	number(&l.Waiting, 8192)
	number(&l.Handshakes, 128*runtime.GOMAXPROCS(0))
	duration(&l.Handshake, 5*time.Second)
	duration(&l.Heartbeat, 2*time.Second)
	duration(&l.Silence, 5*time.Second)
	duration(&l.Resume, 5*time.Second)
	duration(&l.Drain, time.Second)
	duration(&l.AckDelay, 10*time.Millisecond)
	duration(&l.Recheck, 30*time.Second)
	duration(&l.RetryMin, 50*time.Millisecond)
	duration(&l.RetryMax, 3*time.Second)
	return l
}

func (l Limits) validate() error {
	for _, n := range []int{l.Payload, l.QueueFrames, l.QueueBytes, l.WindowFrames, l.WindowBytes, l.Waiting, l.Handshakes} {
		if n < 0 {
			return fmt.Errorf("ssntp: a limit is %d: use a positive number, or 0 for the default", n)
		}
	}
	for _, d := range l.durations() {
		if *d < 0 {
			return fmt.Errorf("ssntp: a time limit is %v: use a positive one, or 0 for the default", *d)
		}
	}
	if l.Payload > maxPayload {
		return fmt.Errorf("ssntp: the payload limit is %d bytes, more than the %d the protocol allows", l.Payload, maxPayload)
	}
	if l.QueueBytes < l.Payload {
		return fmt.Errorf("ssntp: a queue of %d bytes cannot hold a payload of %d: raise QueueBytes", l.QueueBytes, l.Payload)
	}
	if l.Silence <= l.Heartbeat {
		return fmt.Errorf("ssntp: silence after %v with a heartbeat every %v would end every idle connection: raise Silence", l.Silence, l.Heartbeat)
	}
	return nil
}
