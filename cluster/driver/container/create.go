package container

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/network"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/driver"
)

// Create makes the container, or brings the one that is there to the wanted generation. A running container of an older
// generation is stopped for that. One call of the engine is enough when its image and network are there.
func (d *Driver) Create(ctx context.Context, instance driver.Instance, progress func(step, message string)) error {
	if err := check(instance); err != nil {
		return err
	}
	if progress == nil {
		progress = func(string, string) {}
	}
	subnet, err := d.network(ctx, instance.Network.Subnet)
	if err != nil {
		return err
	}
	progress("create", "making the container")
	from, err := d.imageOf(ctx, instance)
	if err != nil {
		return err
	}
	for {
		err := d.make(ctx, instance, from, subnet)
		switch {
		case cerrdefs.IsNotFound(err):
			if err := d.fetch(ctx, instance, progress); err != nil {
				return fmt.Errorf("image %s: %w", instance.Spec.Image, err)
			}
		case cerrdefs.IsConflict(err):
			known, err := d.adopt(ctx, instance, subnet)
			if errors.Is(err, errRemade) {
				return d.Create(ctx, instance, progress)
			}
			if known || err != nil {
				return err
			}
			// The engine is still making or removing the one that has the name.
			if err := pause(ctx, 50*time.Millisecond); err != nil {
				return classify("wait for the name of the container of instance "+instance.Name, err)
			}
		default:
			return classify("create the container of instance "+instance.Name, err)
		}
	}
}

// make asks the engine for the container. The engine finishes a create whose caller has gone, and shows the container only then: so
// the call is never given up, only its caller is let go, and a Delete meanwhile waits for it.
func (d *Driver) make(ctx context.Context, instance driver.Instance, from, subnet string) error {
	config, host := d.engineConfig(instance, from), hostConfig(instance, subnet)
	networks := &network.NetworkingConfig{EndpointsConfig: map[string]*network.EndpointSettings{subnet: endpoint(instance, "")}}
	leave, err := d.enter(ctx)
	if err != nil {
		return err
	}
	result := make(chan error, 1)
	done := d.creating.begin(instance.ID)
	d.owned.Go(func() {
		defer leave()
		defer done()
		call, cancel := context.WithTimeout(d.life, slowCall)
		defer cancel()
		_, err := d.engine.ContainerCreate(call, config, host, networks, nil, d.name(instance.ID))
		result <- err
	})
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// adopt keeps the container that has the instance's name, unless the engine does not show it yet, or not any more.
func (d *Driver) adopt(ctx context.Context, instance driver.Instance, subnet string) (known bool, err error) {
	found, known, err := d.inspect(ctx, instance.ID)
	if err != nil || !known || found.State.Status == container.StateRemoving {
		return false, err
	}
	if !d.owns(found.Config.Labels) {
		return true, fmt.Errorf("instance %s: a container named %s is there already and is not of this node; remove it: %w", instance.Name, d.name(instance.ID), cluster.ErrExists)
	}
	switch generation := generationOf(found); {
	case generation == instance.Generation && (found.State.Running || hasEndpoint(found)):
		return true, nil
	case generation > instance.Generation:
		return true, fmt.Errorf("instance %s: its container is of generation %d, newer than %d: %w", instance.Name, generation, instance.Generation, cluster.ErrConflict)
	}
	return true, d.renew(ctx, instance, found, subnet)
}

// errRemade says that the container was removed to be made again.
var errRemade = errors.New("the container has other volumes now")

// hasEndpoint says whether a container still has the endpoint that it was created with. An engine that is killed while it starts the
// container may write down only half of it, and then every start fails.
func hasEndpoint(found container.InspectResponse) bool {
	if found.NetworkSettings == nil {
		return false
	}
	for _, endpoint := range found.NetworkSettings.Networks {
		if endpoint != nil && endpoint.DriverOpts[optionGeneration] != "" {
			return true
		}
	}
	return false
}

// renew brings a container of an older generation to the wanted one by replacing its endpoint, the part that carries it.
func (d *Driver) renew(ctx context.Context, instance driver.Instance, found container.InspectResponse, subnet string) error {
	doing := "bring the container of instance " + instance.Name + " to its new generation"
	if found.State.Running {
		if err := d.Stop(ctx, instance.ID, time.Duration(instance.Spec.StopGrace)); err != nil {
			return err
		}
		stopped, known, err := d.inspect(ctx, instance.ID)
		if err != nil {
			return err
		}
		if !known {
			return fmt.Errorf("%s: it went away meanwhile: %w", doing, cluster.ErrUnavailable)
		}
		found = stopped
	}
	if !sameVolumes(found, instance) {
		return cmp.Or(d.remake(ctx, instance, found), errRemade)
	}
	ctx, cancel := context.WithTimeout(ctx, quickCall)
	defer cancel()
	for name := range found.NetworkSettings.Networks {
		if err := d.engine.NetworkDisconnect(ctx, name, found.ID, true); err != nil && !cerrdefs.IsNotFound(err) {
			return classify(doing, err)
		}
	}
	return classify(doing, d.engine.NetworkConnect(ctx, subnet, found.ID, endpoint(instance, found.State.FinishedAt)))
}

// pause waits, or says why it did not.
func pause(ctx context.Context, length time.Duration) error {
	timer := time.NewTimer(length)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
