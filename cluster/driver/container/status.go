package container

import (
	"cmp"
	"context"
	"errors"
	"strconv"
	"sync"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"

	"github.com/ciaocloud/ciao/cluster/driver"
)

// Status looks the instance's container up.
func (d *Driver) Status(ctx context.Context, id string) (driver.Status, error) {
	found, known, err := d.inspect(ctx, id)
	if err != nil {
		return driver.Status{}, err
	}
	if !known || !d.owns(found.Config.Labels) {
		return driver.Status{ID: id, Condition: driver.Absent}, nil
	}
	return d.status(ctx, found)
}

// List finds this node's containers.
func (d *Driver) List(ctx context.Context) ([]driver.Status, error) {
	found, err := d.containers(ctx)
	if err != nil {
		return nil, err
	}
	all, errs := make([]driver.Status, len(found)), make([]error, len(found))
	d.each(len(found), func(i int) { all[i], errs[i] = d.Status(ctx, found[i].Labels[LabelInstance]) })
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	list := make([]driver.Status, 0, len(all))
	for _, status := range all {
		if status.Condition != driver.Absent { // removed meanwhile
			list = append(list, status)
		}
	}
	return list, nil
}

func (d *Driver) containers(ctx context.Context) ([]container.Summary, error) {
	if err := d.ready(ctx); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, quickCall)
	defer cancel()
	found, err := d.engine.ContainerList(ctx, container.ListOptions{All: true, Filters: d.mine()})
	return found, classify("list the containers of this node", err)
}

// each runs do for 0 to n-1, as many at one time as calls that start containers.
func (d *Driver) each(n int, do func(int)) {
	var all sync.WaitGroup
	places := make(chan struct{}, d.config.Parallel)
	for i := range n {
		places <- struct{}{}
		all.Go(func() { defer func() { <-places }(); do(i) })
	}
	all.Wait()
}

func (d *Driver) inspect(ctx context.Context, id string) (found container.InspectResponse, known bool, err error) {
	if err := d.ready(ctx); err != nil {
		return found, false, err
	}
	ctx, cancel := context.WithTimeout(ctx, quickCall)
	defer cancel()
	found, err = d.engine.ContainerInspect(ctx, d.name(id))
	if cerrdefs.IsNotFound(err) {
		return found, false, nil
	}
	return found, err == nil, classify("look up the container of instance "+id, err)
}

func (d *Driver) status(ctx context.Context, found container.InspectResponse) (driver.Status, error) {
	state := found.State
	status := driver.Status{
		ID:         found.Config.Labels[LabelInstance],
		Generation: generationOf(found),
		Condition:  condition(found),
		Started:    instant(state.StartedAt),
		Finished:   instant(state.FinishedAt),
	}
	if status.Condition != driver.Ended {
		status.Finished = time.Time{}
		return status, nil
	}
	code := state.ExitCode
	status.ExitCode, status.Reason = &code, reason(state)
	interrupted, err := d.interrupted(ctx, status, state.OOMKilled)
	status.Interrupted = interrupted
	if interrupted {
		status.Reason = "the Docker Engine or the machine went down under it"
	}
	return status, err
}

// condition takes a container that has not been started since it was brought to a newer generation for a new one: the engine only
// knows that it ended, which was in the older generation.
func condition(found container.InspectResponse) driver.Condition {
	switch state := found.State; {
	case state.Running: // paused and restarting ones too
		return driver.Running
	case state.Status == container.StateCreated, option(found, optionEnded) == state.FinishedAt:
		return driver.Created
	}
	return driver.Ended
}

func reason(state *container.State) string {
	switch {
	case state.OOMKilled:
		return "out of memory: it needed more than its limit"
	case state.Error != "":
		return state.Error
	case state.ExitCode > 128 && state.ExitCode < 128+65:
		return "ended by signal " + strconv.Itoa(state.ExitCode-128)
	}
	return "exited with code " + strconv.Itoa(state.ExitCode)
}

// generationOf reads the generation that the endpoint carries; a container between two endpoints is of its first.
func generationOf(found container.InspectResponse) uint64 {
	text := cmp.Or(option(found, optionGeneration), found.Config.Labels[LabelGeneration])
	generation, _ := strconv.ParseUint(text, 10, 64)
	return generation
}

// instant reads the engine's times; its zero time is ours.
func instant(text string) time.Time {
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil || at.Year() <= 1 {
		return time.Time{}
	}
	return at
}

// option is what the container's endpoint carries by that name; empty when it carries nothing.
func option(found container.InspectResponse, name string) (value string) {
	if found.NetworkSettings == nil {
		return ""
	}
	for _, endpoint := range found.NetworkSettings.Networks {
		if carried, ok := endpoint.DriverOpts[name]; ok {
			value = carried
		}
	}
	return value
}
