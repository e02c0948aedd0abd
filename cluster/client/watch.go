package client

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"iter"
	"net/http"
	"strings"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/api"
)

// Timing of a watch. The server says at least every ten seconds that it lives.
const (
	silence     = 30 * time.Second // a stream silent for longer is lost
	reconnect   = 200 * time.Millisecond
	reconnectTo = 2 * time.Second
)

var errSilent = errors.New("the stream fell silent")

// Watch follows changes of the given types (none: all that the caller may see) until ctx ends or the loop is left. Every
// connection, the first included, begins with a change of type api.ChangeResync: list then, what comes after is newer. A lost
// connection is made again; an error that trying again does not mend is yielded last.
func (c *Client) Watch(ctx context.Context, types ...string) iter.Seq2[api.Change, error] {
	return func(yield func(api.Change, error) bool) {
		pause := reconnect
		for ctx.Err() == nil {
			began := time.Now()
			more, err := c.watchOnce(ctx, types, yield)
			if !more || ctx.Err() != nil {
				return
			}
			if !passing(err) {
				yield(api.Change{}, err)
				return
			}
			if time.Since(began) > reconnectTo {
				pause = reconnect
			}
			wait(ctx, pause)
			pause = min(2*pause, reconnectTo)
		}
	}
}

// passing says whether an error may be gone the next time.
func passing(err error) bool {
	return errors.Is(err, cluster.ErrUnavailable) || errors.Is(err, cluster.ErrTimeout)
}

// wait waits for a while, or for the end of ctx.
func wait(ctx context.Context, pause time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(pause):
	}
}

// watchOnce reads one connection to its end, which is an error; more is false when the reader left.
func (c *Client) watchOnce(ctx context.Context, types []string, yield func(api.Change, error) bool) (more bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	quiet := time.AfterFunc(silence, func() { cancel(errSilent) })
	defer quiet.Stop()
	response, err := c.send(ctx, http.MethodGet, "watch", values("type", strings.Join(types, ",")), nil)
	if errors.Is(context.Cause(ctx), errSilent) {
		return true, cluster.ErrUnavailable
	}
	if err != nil {
		return true, err
	}
	defer response.Body.Close()
	for change := range changes(response.Body, func() { quiet.Reset(silence) }) {
		if !yield(change, nil) {
			return false, nil
		}
	}
	return true, cluster.ErrUnavailable
}

// changes reads the changes of a stream until it ends; events that are none are skipped.
func changes(stream io.Reader, alive func()) iter.Seq[api.Change] {
	return func(yield func(api.Change) bool) {
		for event := range events(stream, alive) {
			var change api.Change
			if event.name != "change" || json.Unmarshal(event.data, &change) != nil {
				continue
			}
			if !yield(change) {
				return
			}
		}
	}
}
