package container

import (
	"context"
	"errors"
	"fmt"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
)

// forestallLimit is how long the engine may take to finish one create.
const forestallLimit = 20 * time.Second

// Forestall makes sure that no container appears for these instances any more. A launcher that was killed may have left the engine with
// requests to create some, which the engine carries out whether or not anybody waits, and tells nobody about. It reserves a container's
// name first, though: so the name is taken here, by a container of the image, which must be there, that is never started. For those who
// take a cluster down, before Clean.
func (d *Driver) Forestall(ctx context.Context, image string, instances []string) error {
	errs := make([]error, len(instances))
	d.each(len(instances), func(i int) { errs[i] = d.forestall(ctx, image, instances[i]) })
	return classify("wait for what the engine still creates", errors.Join(errs...))
}

func (d *Driver) forestall(ctx context.Context, image, id string) error {
	ctx, cancel := context.WithTimeout(ctx, forestallLimit)
	defer cancel()
	labels := map[string]string{LabelCluster: d.config.Cluster, LabelNode: d.config.Node, LabelInstance: id}
	for {
		_, known, err := d.inspect(ctx, id)
		if err != nil || known {
			return err
		}
		_, err = d.engine.ContainerCreate(ctx, &container.Config{Image: image, Labels: labels}, nil, nil, nil, d.name(id))
		if !cerrdefs.IsConflict(err) { // a conflict is with the container that will be known in a moment, or never
			return err
		}
		if waited := pause(ctx, 20*time.Millisecond); waited != nil {
			return fmt.Errorf("instance %s: %w", id, errors.Join(err, waited))
		}
	}
}
