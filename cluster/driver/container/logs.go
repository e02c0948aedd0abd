package container

import (
	"context"
	"fmt"
	"io"
	"strconv"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/pkg/stdcopy"

	"github.com/ciaocloud/ciao/cluster"
)

// Logs writes what the container printed on both its streams, in the order in which the engine got it.
func (d *Driver) Logs(ctx context.Context, id string, lines int, follow bool, w io.Writer) error {
	if err := d.ready(ctx); err != nil {
		return err
	}
	tail := "all"
	if lines >= 0 {
		tail = strconv.Itoa(lines)
	}
	stream, err := d.engine.ContainerLogs(ctx, d.name(id), container.LogsOptions{ShowStdout: true, ShowStderr: true, Tail: tail, Follow: follow})
	if cerrdefs.IsNotFound(err) {
		return fmt.Errorf("logs of instance %s: it has no container here: %w", id, cluster.ErrNotFound)
	}
	if err != nil {
		return classify("logs of instance "+id, err)
	}
	defer stream.Close()
	if _, err := stdcopy.StdCopy(w, w, stream); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return classify("logs of instance "+id, err)
	}
	return nil
}
