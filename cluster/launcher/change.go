package launcher

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/driver"
	"github.com/ciaocloud/ciao/cluster/payload"
)

// A running instance's volumes are changed by its owner, one at a time, and between other operations. What was done is on disk before it is
// reported; the controller repeats what is not answered, so that whatever dies, the next attempt finds out.

// orderChange hands a change on to the instance's owner. An instance that is not here is left to what the controller hears of it otherwise.
func (l *Launcher) orderChange(order payload.VolumeOrder) {
	if !cluster.ValidID(order.Volume.ID) {
		l.logger.Warn("change of a volume dropped: it is not an id", "volume", bounded(order.Volume.ID))
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if o := l.owners[order.Change.Instance]; o != nil {
		o.box.put(mail{volumes: map[string]payload.VolumeOrder{order.Volume.ID: order}})
	}
}

// verdict is how a change ended, kept for as long as the instance's generation: one that was given up is not tried again when the order for it
// comes late once more, for the controller has gone on.
type verdict struct {
	Revision uint64 `json:"revision"` // of the volume
	Detach   bool   `json:"detach,omitempty"`
	Refusal  string `json:"refusal,omitempty"` // why all is as it was; empty when it was done
}

// rearrange takes up changes, unless they are late. A newer one of the volume that is being changed ends that.
func (o *owner) rearrange(ctx context.Context, orders map[string]payload.VolumeOrder) {
	for id, order := range orders {
		if order.Change.Generation == o.machine.generation && o.machine.want == cluster.WantActive {
			o.takeChange(id, order)
		}
	}
	o.act(ctx, o.machine.rearranged(len(o.wanted) > 0))
}

func (o *owner) takeChange(id string, order payload.VolumeOrder) {
	revision := order.Change.Revision
	last, known := o.record.Changed[id]
	now := o.machine.running == change && o.following.Volume.ID == id
	switch {
	case known && revision < last.Revision, now && revision <= o.following.Change.Revision:
	case known && revision == last.Revision:
		o.answer(id, last)
	default:
		o.wanted = newest(o.wanted, order)
		if now && !o.machine.cancelled {
			o.machine.cancelled = true
			o.cancel()
		}
	}
}

// pick takes the next change. Those that take a volume away come first: they make room.
func (o *owner) pick() payload.VolumeOrder {
	ids := slices.Sorted(maps.Keys(o.wanted))
	id := ids[0]
	for _, other := range ids {
		if o.wanted[other].Change.Detach {
			id = other
			break
		}
	}
	o.following = o.wanted[id]
	delete(o.wanted, id)
	o.machine.changes = len(o.wanted) > 0
	return o.following
}

// change gives the instance a volume, or takes one from it.
func (j *job) change(ctx context.Context) error {
	attacher, able := j.driver.(driver.Attacher)
	switch v := j.order.Volume; {
	case !able || !attacher.Stores(v.Content):
		return fmt.Errorf("%w: on this node, volumes of instances of kind %s are not changed while they run; stop it first", cluster.ErrConflict, j.record.Kind)
	case j.order.Change.Detach:
		return attacher.Detach(ctx, j.record.ID, v.ID)
	default:
		ready, err := j.launcher.makeVolume(ctx, v, func(string) {})
		if err == nil {
			err = j.takeVolume(ctx, attacher, v)
		}
		if err == nil {
			err = j.markUsed()
		}
		if err != nil {
			return err
		}
		return attacher.Attach(ctx, j.record.ID, ready)
	}
}

// changed keeps and reports how a change ended. What is not known to have been done, or not to have been done, is not reported: the controller
// asks for it again.
func (o *owner) changed(result outcome) {
	order := o.following
	o.following = payload.VolumeOrder{}
	done := result.failed == succeeded
	if result.generation != o.machine.generation || result.failed == unavailable || o.machine.cancelled && !done {
		return
	}
	v := verdict{Revision: order.Change.Revision, Detach: order.Change.Detach}
	if !done {
		v.Refusal = cmp.Or(result.reason, "its node refused it")
	}
	if err := o.noteChange(order.Volume, v); err != nil {
		o.launcher.logger.Error("record not written", "instance", o.id, "error", err)
		return
	}
	o.answer(order.Volume.ID, v)
}

func (o *owner) answer(volume string, v verdict) {
	report := payload.VolumeReport{Volume: volume, Revision: v.Revision, State: cluster.VolumeAttached}
	switch {
	case v.Refusal != "":
		report.State, report.Reason = cluster.VolumeFailed, v.Refusal
	case v.Detach:
		report.State = cluster.VolumeAvailable
	}
	o.launcher.group.Go(func() { o.launcher.reportVolume(report) })
}

// noteChange keeps a change: in the record the instance has what its carrier has.
func (o *owner) noteChange(volume payload.Volume, v verdict) error {
	next := o.record
	next.Changed = maps.Clone(next.Changed)
	if next.Changed == nil {
		next.Changed = map[string]verdict{}
	}
	next.Changed[volume.ID] = v
	if v.Refusal == "" {
		next.Volumes = slices.DeleteFunc(slices.Clone(next.Volumes), func(has payload.Volume) bool { return has.ID == volume.ID })
		if !v.Detach {
			volume.Made = true // the instance may have written to it
			next.Volumes = append(next.Volumes, volume)
		}
	}
	if err := o.launcher.records.save(next, true); err != nil {
		return err
	}
	o.record, o.kept = next, next
	o.needs(next)
	return nil
}
