package container

import (
	"context"
	"errors"
	"fmt"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"

	"github.com/ciaocloud/ciao/cluster"
)

// Start starts the instance's container. Its network is made again if it was removed meanwhile, and made one if there are several.
func (d *Driver) Start(ctx context.Context, id string) error {
	err := d.start(ctx, id)
	if err != nil && full(err.Error()) {
		return fmt.Errorf("start the container of instance %s: %w", id, noRoom(cluster.ErrUnavailable, err))
	}
	if !cerrdefs.IsNotFound(err) && !ambiguous(err) {
		return classify("start the container of instance "+id, err)
	}
	found, known, lookup := d.inspect(ctx, id)
	switch {
	case lookup != nil:
		return lookup
	case !known || !d.owns(found.Config.Labels):
		return fmt.Errorf("start the container of instance %s: it was not created: %w", id, cluster.ErrNotFound)
	}
	subnet := found.Config.Labels[LabelSubnet]
	d.networks.forget(subnet)
	network, err := d.network(ctx, subnet)
	if err != nil {
		return err
	}
	if err = d.start(ctx, id); cerrdefs.IsNotFound(err) {
		if err = d.reconnect(ctx, found, network); err == nil {
			err = d.start(ctx, id)
		}
	}
	return classify("start the container of instance "+id, err)
}

func (d *Driver) start(ctx context.Context, id string) error {
	if err := d.ready(ctx); err != nil {
		return err
	}
	leave, err := d.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	ctx, cancel := context.WithTimeout(ctx, slowCall)
	defer cancel()
	begun := time.Now()
	err = d.engine.ContainerStart(ctx, d.name(id), container.StartOptions{})
	d.seen.started(id, begun, !errors.Is(classify("", err), cluster.ErrUnavailable))
	if err == nil || cerrdefs.IsNotFound(err) {
		return err
	}
	found, known, lookup := d.inspect(ctx, id)
	if lookup != nil || !known || !d.owns(found.Config.Labels) {
		return err
	}
	if found.State.Running || found.State.Paused {
		return err
	}
	was, ending := d.endOrphan(ctx, found.ID)
	if !was || ending != nil {
		return errors.Join(err, ending)
	}
	return d.engine.ContainerStart(ctx, d.name(id), container.StartOptions{})
}

// Stop sends the image's stop signal, SIGTERM if it has none, and SIGKILL when the grace time, rounded up to seconds, is over.
func (d *Driver) Stop(ctx context.Context, id string, grace time.Duration) error {
	if err := d.ready(ctx); err != nil {
		return err
	}
	wait := seconds(grace)
	ctx, cancel := context.WithTimeout(ctx, grace+slowCall)
	defer cancel()
	defer d.seen.asked(id)()
	err := d.engine.ContainerStop(ctx, d.name(id), container.StopOptions{Timeout: &wait})
	if cerrdefs.IsNotFound(err) {
		return nil
	}
	return classify("stop the container of instance "+id, err)
}

// Delete kills and removes the container, its disk and its anonymous volumes, and, if it was the last that needed them, its subnet's
// network and its uploaded image.
func (d *Driver) Delete(ctx context.Context, id string) error {
	doing := "delete the container of instance " + id
	if err := d.creating.wait(ctx, id); err != nil {
		return classify(doing, err)
	}
	found, known, err := d.inspect(ctx, id)
	if err != nil {
		return err
	}
	if known && d.owns(found.Config.Labels) {
		if err := d.remove(ctx, found.ID, found.State.Running); err != nil {
			return classify(doing, err)
		}
		if err := d.drop(ctx, found.Config.Image); err != nil {
			return err
		}
	}
	if !known || found.Config.Image == d.keptImage(id) { // it may have been about to be made anew
		if err := d.forgetKept(ctx, id); err != nil {
			return err
		}
	}
	return d.sweepNetworks(ctx)
}

// remove returns when the container is gone, also when somebody else removes it just now.
func (d *Driver) remove(ctx context.Context, containerID string, running bool) error {
	ctx, cancel := context.WithTimeout(ctx, slowCall)
	defer cancel()
	if !running {
		if _, err := d.endOrphan(ctx, containerID); err != nil {
			return err
		}
	}
	for {
		err := d.engine.ContainerRemove(ctx, containerID, container.RemoveOptions{Force: true, RemoveVolumes: true})
		switch {
		case err == nil || cerrdefs.IsNotFound(err):
			return nil
		case !cerrdefs.IsConflict(err):
			return err
		}
		if waited := pause(ctx, 50*time.Millisecond); waited != nil {
			return errors.Join(err, waited)
		}
	}
}

// Clean deletes every container and network of this node, whoever made them, and what killed engines left of containers that they
// were creating: for those who take a cluster down. The node's network plugin must be served meanwhile.
func (d *Driver) Clean(ctx context.Context) error {
	found, err := d.containers(ctx)
	if err != nil {
		return err
	}
	errs := make([]error, len(found))
	d.each(len(found), func(i int) { errs[i] = d.remove(ctx, found[i].ID, found[i].State == container.StateRunning) })
	if err := errors.Join(errs...); err != nil {
		return classify("remove the containers of this node", err)
	}
	if err := d.sweepNetworks(ctx); err != nil {
		return err
	}
	if err := d.endNetworks(ctx); err != nil {
		return err
	}
	if err := d.dropAll(ctx); err != nil {
		return err
	}
	return d.unmountAbandoned(ctx)
}
