package ssntp

import (
	"context"
	"math/rand/v2"
	"time"
)

// backoff says how long to wait before the next attempt: short after a
// connection that lasted, growing with every failure.
type backoff struct {
	limits *Limits
	since  time.Time // of the last connection; zero after a failure
	wait   time.Duration
}

func (b *backoff) connected() { b.since = time.Now() }

// pause waits, any time up to one that doubles: thousands that have lost their
// connections together come spread over all of it.
func (b *backoff) pause(ctx context.Context) {
	if !b.since.IsZero() && time.Since(b.since) >= b.limits.RetryMax {
		b.wait = 0
	}
	b.since = time.Time{}
	b.wait = min(max(2*b.wait, b.limits.RetryMin), b.limits.RetryMax)
	timer := time.NewTimer(time.Duration(rand.Int64N(int64(b.wait) + 1)))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
