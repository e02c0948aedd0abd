package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"log/slog"
	"net"
	"os"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/config"
	"github.com/ciaocloud/ciao/ssntp"
	"github.com/ciaocloud/ciao/ssntp/tap"
)

// TapRecord is a frame that Tap shows.
type TapRecord = tap.Record

// Tap yields what passes through the scheduler on this machine, until ctx ends, without an error then.
func Tap(ctx context.Context, c config.Scheduler) iter.Seq2[TapRecord, error] {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", c.TapSocket())
	switch {
	case errors.Is(err, fs.ErrPermission):
		err = fmt.Errorf("%w: only the user whom the scheduler runs as, and root, may look at its frames: %w", cluster.ErrPermission, err)
	case err != nil:
		err = fmt.Errorf("%w: no scheduler of this cluster file runs on this machine; look on the machine where it does, with its cluster file: %w", cluster.ErrUnavailable, err)
	default:
		return tap.Follow(ctx, conn)
	}
	return func(yield func(TapRecord, error) bool) { yield(TapRecord{}, err) }
}

// serveTap lets frames be looked at, by the scheduler's own user only. Where there is no place for the socket the scheduler does without.
func serveTap(c config.Scheduler, set func(func(ssntp.Tapped)), logger *slog.Logger) part {
	return func(ctx context.Context) error {
		listener, err := listenTap(c)
		if err != nil {
			logger.Warn("frames cannot be looked at", "error", err)
			<-ctx.Done()
			return nil
		}
		return tap.New(set).Run(ctx, listener)
	}
}

// listenTap takes the place of a socket that a killed scheduler has left.
func listenTap(c config.Scheduler) (net.Listener, error) {
	if err := os.MkdirAll(c.Directory, 0o700); err != nil {
		return nil, fmt.Errorf("make scheduler.directory of the cluster file: %w", err)
	}
	if err := os.Remove(c.TapSocket()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("remove the socket of an earlier scheduler: %w", err)
	}
	listener, err := net.Listen("unix", c.TapSocket())
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(c.TapSocket(), 0o600); err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	return listener, nil
}
