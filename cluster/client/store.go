package client

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/ciaocloud/ciao/cluster"
)

// Snapshot writes a backup of the whole store to w as it comes. It may take long; a controller that is silent for half a minute is
// given up. What w holds after an error is not a backup, and neither is it surely one without: its reader checks it.
func (c *Client) Snapshot(ctx context.Context, w io.Writer) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	quiet := time.AfterFunc(silence, func() { cancel(errSilent) })
	defer quiet.Stop()
	response, err := c.send(ctx, http.MethodGet, "store/snapshot", nil, nil)
	if err == nil {
		defer response.Body.Close()
		err = relay(w, response.Body, func() { quiet.Reset(silence) })
	}
	switch {
	case errors.Is(context.Cause(ctx), errSilent):
		return failed(cluster.ErrTimeout, "the controller at %s fell silent in the middle of the backup: try again", c.base.Host)
	case errors.Is(err, errBroken) && ctx.Err() == nil:
		return failed(cluster.ErrUnavailable, "the backup from %s broke off: try again; the controller's log says why", c.base.Host)
	case errors.Is(err, errBroken):
		return context.Cause(ctx)
	}
	return err
}

var errBroken = errors.New("the answer broke off")

// relay copies, and tells of every piece that arrives. An error of the reader is errBroken.
func relay(w io.Writer, r io.Reader, alive func()) error {
	piece := make([]byte, 64<<10)
	for {
		n, err := r.Read(piece)
		alive()
		if _, err := w.Write(piece[:n]); err != nil {
			return err
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return errBroken
		}
	}
}

// SettleStore ends the care for what a restored store does not know: nodes delete it.
func (c *Client) SettleStore(ctx context.Context) error {
	return c.call(ctx, http.MethodPost, "store/settle", nil, nil, nil)
}
