package stream

import (
	"context"
	"fmt"
	"time"
)

// Patience is how long what was written may wait for the other side to take it: long enough for a user who has paused his terminal,
// and short enough that who went away for good holds nothing for ever.
const Patience = 5 * time.Minute

// ErrUnread is ErrLeft of a side that is there, perhaps, but has not read for Patience.
var ErrUnread = fmt.Errorf("%w: nothing was read for %s", ErrLeft, Patience)

// patient is a connection whose other side must go on reading.
type patient struct{ Conn }

func (p patient) Write(ctx context.Context, m Message) error {
	ctx, cancel := context.WithTimeoutCause(ctx, Patience, ErrUnread)
	defer cancel()
	return p.Conn.Write(ctx, m)
}

// pause is the longest time that the user's own end took for one piece of output.
type pause time.Duration

// during measures one piece.
func (p *pause) during(write func() error) error {
	began := time.Now()
	err := write()
	*p = max(*p, pause(time.Since(began)))
	return err
}

// blamed is why a connection broke: the other sides end a stream whose output nobody takes, and cannot say so on a connection that is full.
func (p pause) blamed(err error) error {
	if time.Duration(p) < Patience {
		return err
	}
	return fmt.Errorf("%w (%w)", ErrUnread, err)
}
