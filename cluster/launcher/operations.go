package launcher

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/driver"
	"github.com/ciaocloud/ciao/cluster/network"
	"github.com/ciaocloud/ciao/cluster/payload"
)

// deadlines of operations, before the time scale; a create may have to fetch an image.
var deadlines = map[operation]time.Duration{
	look:       10 * time.Second,
	connect:    time.Minute,
	create:     15 * time.Minute,
	start:      2 * time.Minute,
	stop:       30 * time.Second, // beyond the grace time
	change:     15 * time.Minute, // it may have to fetch an image, too
	remove:     time.Minute,
	disconnect: time.Minute,
}

// job is an operation under way. It has its own copy of the record: the owner's may change meanwhile. The slot of its owner is its own
// while it lasts.
type job struct {
	operation operation
	owner     *owner
	launcher  *Launcher
	record    record
	driver    driver.Driver
	order     payload.VolumeOrder // change
}

// begin does an operation beside the owner; its outcome comes as a result.
func (o *owner) begin(ctx context.Context, op operation) {
	j := job{operation: op, owner: o, launcher: o.launcher, record: o.record, driver: o.launcher.drivers[o.record.Kind]}
	if op == change {
		j.order = o.pick()
	}
	limit := o.launcher.config.scaled(deadlines[op])
	if op == stop {
		limit += j.grace()
	}
	cause := fmt.Errorf("%w: the step %q did not end within %s", cluster.ErrTimeout, op, limit)
	limited, cancel := context.WithTimeoutCause(ctx, limit, cause)
	o.cancel = cancel
	result := outcome{operation: op, generation: o.machine.generation}
	go func() { // leave waits for the result
		var err error
		result.status, err = j.do(limited)
		if err != nil {
			if limited.Err() != nil {
				err = fmt.Errorf("%w (%w)", context.Cause(limited), err)
			}
			result.failed, result.reason = classify(op, err), bounded(err.Error())
		}
		o.results <- result
	}()
}

func (j *job) do(ctx context.Context) (status driver.Status, err error) {
	switch j.operation {
	case look:
		status, err = j.driver.Status(ctx, j.record.ID)
	case connect:
		return status, j.connect(ctx)
	case create:
		err = j.create(ctx)
	case start:
		err = j.start(ctx)
	case stop:
		err = j.driver.Stop(ctx, j.record.ID, j.grace())
	case change:
		err = j.change(ctx)
	case remove:
		if err = j.driver.Delete(ctx, j.record.ID); err == nil {
			err = j.dropVolumes(ctx)
		}
	case disconnect:
		return status, j.launcher.fabric.disconnect(ctx, j.record.ID)
	}
	if errors.Is(err, cluster.ErrUnavailable) {
		j.launcher.engines[j.record.Kind].suspect()
	}
	return status, err
}

func (j *job) connect(ctx context.Context) error {
	port, wanted := j.record.port()
	if !wanted {
		return nil
	}
	j.progress(string(connect), "")
	if j.record.Kind == cluster.KindVM { // what was heard of its guest before is not of this start
		j.launcher.hear(ctx, j.record.ID)
	}
	_, err := j.launcher.fabric.connect(ctx, port)
	return err
}

// create waits for its turn. While an image is being fetched or a certificate is waited for, which takes others' time and not this
// node's processors, another instance has the turn.
func (j *job) create(ctx context.Context) error {
	if err := j.owner.acquire(ctx); err != nil {
		return err
	}
	paused := false
	tell := func(step, message string) {
		j.progress(step, message)
		if step == "pull" || step == "certificate" {
			paused = true
			j.owner.release()
		} else if err := j.owner.acquire(ctx); err != nil {
			j.launcher.logger.Debug("start cancelled while it waited", "instance", j.record.ID, "error", err)
		}
	}
	instance := j.instance()
	var err error
	if instance.Image, err = j.image(ctx, tell); err != nil {
		return err
	}
	if instance.Volumes, err = j.volumes(ctx, tell); err != nil {
		return err
	}
	tell(string(create), "")
	begun := time.Now()
	paused = false
	err = j.driver.Create(ctx, instance, tell)
	if err == nil && !paused {
		j.launcher.starts.learn(work{j.record.Kind, create}, begun)
	}
	return err
}

func (j *job) start(ctx context.Context) error {
	if err := j.owner.acquire(ctx); err != nil {
		return err
	}
	if err := j.takeVolumes(ctx); err != nil {
		return err
	}
	if err := j.use(); err != nil {
		return err
	}
	j.progress(string(start), "")
	begun := time.Now()
	err := j.driver.Start(ctx, j.record.ID)
	if err == nil {
		j.launcher.starts.learn(work{j.record.Kind, start}, begun)
	}
	return err
}

func (j *job) progress(step, message string) {
	j.launcher.outbox.step(payload.Progress{
		Instance: j.record.ID, Generation: j.record.Generation, Step: bounded(step), Percent: -1, Message: bounded(message),
	})
}

func (j *job) grace() time.Duration {
	if j.record.Grace > 0 {
		return time.Duration(j.record.Grace)
	}
	return time.Duration(j.record.Spec.StopGrace)
}

func (j *job) instance() driver.Instance {
	r := &j.record
	instance := driver.Instance{
		ID: r.ID, Generation: r.Generation, Name: r.Name, Tenant: r.Tenant, Kind: r.Kind, Spec: r.Spec,
		Privileged: r.Privileged, Directory: j.launcher.records.path(r.ID),
	}
	if _, wanted := r.port(); wanted {
		paths, facts := j.launcher.fabric.lookup(r.Subnet)
		instance.Network = driver.Network{
			Subnet: r.Subnet, Prefix: paths.Prefix, Gateway: paths.Gateway, Prefix6: paths.Prefix6, Gateway6: paths.Gateway6, Domain: paths.Domain,
			MAC: r.MAC, Addresses: r.Addresses, Port: network.EngineEnd(r.ID), MTU: facts.MTU,
		}
		if r.Kind == cluster.KindVM {
			instance.Network.Port = network.NodeEnd(r.ID)
		}
	}
	return instance
}

// acquire takes one of the bounded starts, unless the instance has it.
func (o *owner) acquire(ctx context.Context) error {
	if o.slot {
		return nil
	}
	err := o.launcher.starts.acquire(ctx)
	o.slot = err == nil
	return err
}

func (o *owner) release() {
	if o.slot {
		o.slot = false
		o.launcher.starts.release()
	}
}

// forget removes the record; it is done by the owner itself, so that no wish comes in between.
func (o *owner) forget() outcome {
	result := outcome{operation: forget, generation: o.machine.generation}
	if err := o.launcher.records.remove(o.id); err != nil {
		result.failed, result.reason = unavailable, bounded(err.Error())
	}
	return result
}

// classify says what may help against an error.
func classify(op operation, err error) failure {
	switch {
	case errors.Is(err, cluster.ErrUnavailable), errors.Is(err, cluster.ErrTimeout), errors.Is(err, context.DeadlineExceeded):
		return unavailable
	case errors.Is(err, cluster.ErrNoCapacity):
		return noRoom
	case op == connect && !errors.Is(err, cluster.ErrInvalid):
		return unavailable // the network is the node's: no fault of the instance
	}
	return refused
}
