package launcher

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/driver"
	"github.com/ciaocloud/ciao/cluster/payload"
	"github.com/ciaocloud/ciao/cluster/storage"
	"github.com/ciaocloud/ciao/ssntp"
)

// volumeLimit bounds the making of a volume, before the time scale.
const volumeLimit = time.Hour

// volumes makes and removes volumes. The zero value is ready.
type volumes struct {
	mu   sync.Mutex
	busy map[string]bool // those that an order is being followed for
}

// begin notes that an order is followed; false when another one is.
func (v *volumes) begin(id string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.busy[id] {
		return false
	}
	if v.busy == nil {
		v.busy = map[string]bool{}
	}
	v.busy[id] = true
	return true
}

func (v *volumes) end(id string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.busy, id)
}

// orderVolume follows a controller's order beside everything else. While one is followed, others for the volume are dropped: the controller
// repeats what is not answered.
func (l *Launcher) orderVolume(o payload.VolumeOrder) {
	if o.Change != nil {
		l.orderChange(o)
		return
	}
	if !l.volumes.begin(o.Volume.ID) {
		return
	}
	l.group.Go(func() {
		defer l.volumes.end(o.Volume.ID)
		if o.Stray {
			l.deleteStray(o.Volume.ID)
			return
		}
		report := payload.VolumeReport{Volume: o.Volume.ID, State: cluster.VolumeAvailable}
		if o.Delete {
			report.State = cluster.VolumeGone
		}
		if err := l.followOrder(l.life, o); err != nil {
			if l.life.Err() != nil || errors.Is(err, cluster.ErrUnavailable) {
				return // it is asked for again
			}
			report.State, report.Reason = cluster.VolumeFailed, bounded(err.Error())
		}
		l.reportVolume(report)
	})
}

func (l *Launcher) reportVolume(report payload.VolumeReport) {
	if err := l.link.send(l.life, ssntp.VolumeState, ssntp.ID{}, report); err != nil {
		l.logger.Debug("report on a volume not sent", "volume", bounded(report.Volume), "error", err)
	}
}

func (l *Launcher) followOrder(ctx context.Context, o payload.VolumeOrder) error {
	ctx, cancel := context.WithTimeout(ctx, l.config.scaled(volumeLimit))
	defer cancel()
	if o.Delete {
		keeper, err := l.keeperOf(o.Volume)
		if err != nil {
			return err
		}
		return keeper.Delete(ctx, o.Volume.ID)
	}
	_, err := l.makeVolume(ctx, o.Volume, func(string) {})
	return err
}

// keeperOf is what keeps a volume.
func (l *Launcher) keeperOf(v payload.Volume) (storage.Driver, error) {
	keeper := l.config.Storage
	switch v.Storage {
	case "", cluster.StorageLocal:
		if keeper == nil {
			return nil, fmt.Errorf("volume %s: %w: this node keeps no volumes", v.Name, cluster.ErrInvalid)
		}
	case cluster.StorageCeph:
		if keeper = l.config.Ceph; keeper == nil {
			return nil, fmt.Errorf("volume %s: %w: this node is not told how to reach Ceph; set storage.ceph in its cluster file", v.Name, cluster.ErrInvalid)
		}
	default:
		return nil, fmt.Errorf("volume %s: %w: this node's launcher does not know %q", v.Name, cluster.ErrInvalid, bounded(string(v.Storage)))
	}
	return keeper, nil
}

// makeVolume finds a volume, or makes it where it has never been.
func (l *Launcher) makeVolume(ctx context.Context, v payload.Volume, progress func(message string)) (driver.Volume, error) {
	keeper, err := l.keeperOf(v)
	if err != nil {
		return driver.Volume{}, err
	}
	found, err := keeper.Find(ctx, v.ID)
	switch {
	case errors.Is(err, cluster.ErrNotFound) && v.Made:
		return driver.Volume{}, fmt.Errorf("volume %s: %w: what was written to it is not there any more; delete it", v.Name, cluster.ErrInvalid)
	case errors.Is(err, cluster.ErrNotFound):
		if err := l.fillVolume(ctx, keeper, v, progress); err != nil {
			return driver.Volume{}, err
		}
		found, err = keeper.Find(ctx, v.ID)
	}
	if err == nil {
		err = found.Check()
	}
	if err != nil {
		return driver.Volume{}, fmt.Errorf("volume %s: %w", v.Name, err)
	}
	return driver.Volume{ID: v.ID, Name: v.Name, Place: found, Target: v.Target, ReadOnly: v.ReadOnly}, nil
}

func (l *Launcher) fillVolume(ctx context.Context, keeper storage.Driver, v payload.Volume, progress func(message string)) error {
	origin := storage.Origin{Volume: v.Source}
	if v.Image != nil {
		// The file is opened at once; should the cache remove it before, the start is tried again.
		inUse := func(digest string) bool { return digest == v.Image.Content.Digest || l.usesImage(digest) }
		path, err := l.fetchImage(ctx, v.Image, inUse, progress)
		if err != nil {
			return fmt.Errorf("volume %s: %w", v.Name, err)
		}
		origin.Image = &storage.Image{Path: path, Format: v.Image.Content.Format}
	}
	return keeper.Create(ctx, storage.Volume{ID: v.ID, Content: v.Content, SizeMiB: v.SizeMiB}, origin)
}

// volumes makes the instance's volumes ready.
func (j *job) volumes(ctx context.Context, progress func(step, message string)) (ready []driver.Volume, err error) {
	if len(j.record.Volumes) == 0 {
		return nil, nil
	}
	storer, able := j.driver.(driver.Storer)
	if !able {
		return nil, fmt.Errorf("%w: instances of kind %s have no volumes on this node", cluster.ErrInvalid, j.record.Kind)
	}
	for _, v := range j.record.Volumes {
		if !storer.Stores(v.Content) {
			return nil, fmt.Errorf("volume %s: %w: a %s cannot be used by instances of kind %s", v.Name, cluster.ErrInvalid, v.Content, j.record.Kind)
		}
		one, err := j.launcher.makeVolume(ctx, v, func(message string) { progress("pull", message) })
		if err != nil {
			return nil, err
		}
		ready = append(ready, one)
	}
	return ready, nil
}

// usedFile says, in an instance's directory, that it may have written to its volumes.
const usedFile = "used"

// use notes that the instance is about to run.
func (j *job) use() error {
	if len(j.record.Volumes) == 0 {
		return nil
	}
	return j.markUsed()
}

func (j *job) markUsed() error {
	return writeFile(filepath.Join(j.launcher.records.path(j.record.ID), usedFile), nil, true)
}

// dropVolumes removes volumes that were made for an instance that never ran: it may go elsewhere, where they are made anew.
func (j *job) dropVolumes(ctx context.Context) error {
	if _, err := os.Stat(filepath.Join(j.launcher.records.path(j.record.ID), usedFile)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, v := range j.record.Volumes {
		keeper, err := j.launcher.keeperOf(v)
		if v.Made || err != nil {
			continue
		}
		if err := j.dropVolume(ctx, keeper, v); err != nil {
			return err
		}
	}
	return nil
}

// dropVolume removes one, unless it is shared and another node has it by now.
func (j *job) dropVolume(ctx context.Context, keeper storage.Driver, v payload.Volume) error {
	err := fence(ctx, keeper, v)
	switch {
	case errors.Is(err, cluster.ErrNotFound), errors.Is(err, cluster.ErrConflict):
		return nil
	case err != nil:
		return err
	}
	return keeper.Delete(ctx, v.ID)
}

// fence takes a shared volume over from whoever may still have it open, dead or alive.
func fence(ctx context.Context, keeper storage.Driver, v payload.Volume) error {
	fencer, shared := keeper.(storage.Fencer)
	if !shared {
		return nil
	}
	return fencer.Fence(ctx, v.ID, v.Token)
}

// takeVolume takes over a volume that a running instance is to have. One that it has was taken over when it got it, and must not be again: that
// would cut the instance itself off.
func (j *job) takeVolume(ctx context.Context, attacher driver.Attacher, v payload.Volume) error {
	keeper, err := j.launcher.keeperOf(v)
	if err != nil {
		return err
	}
	if _, shared := keeper.(storage.Fencer); !shared {
		return nil
	}
	has, err := attacher.Attached(ctx, j.record.ID, v.ID)
	if err == nil && !has {
		err = fence(ctx, keeper, v)
	}
	if err != nil {
		return fmt.Errorf("volume %s: %w", v.Name, err)
	}
	return nil
}

// takeVolumes takes over the volumes of an instance that does not run. When one cannot be, the instance must not start: at most one copy of it
// lives.
func (j *job) takeVolumes(ctx context.Context) error {
	asked := false
	for _, v := range j.record.Volumes {
		keeper, err := j.launcher.keeperOf(v)
		if err != nil {
			return err
		}
		if _, shared := keeper.(storage.Fencer); !shared {
			continue
		}
		if !asked {
			status, err := j.driver.Status(ctx, j.record.ID)
			if err != nil || status.Condition == driver.Running {
				return err
			}
			asked = true
		}
		if err := fence(ctx, keeper, v); err != nil {
			return fmt.Errorf("volume %s: %w", v.Name, err)
		}
	}
	return nil
}
