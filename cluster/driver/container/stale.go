package container

import (
	"context"
	"fmt"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/network"

	"github.com/ciaocloud/ciao/cluster"
)

// endNetworks removes this node's networks whether or not the engine says that they are in use: when no container is left, that is of
// endpoints which an engine before, killed in the middle of a start, wrote down and which nobody has.
func (d *Driver) endNetworks(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, slowCall)
	defer cancel()
	left, err := d.engine.NetworkList(ctx, network.ListOptions{Filters: d.mine()})
	if err != nil {
		return classify("list the networks of this node", err)
	}
	for _, one := range left {
		if err := d.endNetwork(ctx, one.ID); err != nil && !cerrdefs.IsNotFound(err) {
			return classify("remove the network "+one.Name, err)
		}
	}
	return nil
}

func (d *Driver) endNetwork(ctx context.Context, id string) error {
	found, err := d.engine.NetworkInspect(ctx, id, network.InspectOptions{})
	if err != nil {
		return err
	}
	for _, endpoint := range found.Containers {
		if err := d.engine.NetworkDisconnect(ctx, id, endpoint.Name, true); err != nil && !cerrdefs.IsNotFound(err) {
			return err
		}
	}
	if err = d.engine.NetworkRemove(ctx, id); inUse(err) {
		return fmt.Errorf("the Docker Engine counts endpoints there that no container has, until it is started again: restart it and repeat this: %w: %w", cluster.ErrUnavailable, err)
	}
	return err
}
