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
	if !l.volumes.begin(o.Volume.ID) {
		return
	}
	l.group.Go(func() {
		defer l.volumes.end(o.Volume.ID)
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
		if err := l.link.send(l.life, ssntp.VolumeState, ssntp.ID{}, report); err != nil {
			l.logger.Debug("report on a volume not sent", "volume", bounded(o.Volume.ID), "error", err)
		}
	})
}

func (l *Launcher) followOrder(ctx context.Context, o payload.VolumeOrder) error {
	ctx, cancel := context.WithTimeout(ctx, l.config.scaled(volumeLimit))
	defer cancel()
	if l.config.Storage == nil {
		return fmt.Errorf("%w: this node keeps no volumes", cluster.ErrInvalid)
	}
	if o.Delete {
		return l.config.Storage.Delete(ctx, o.Volume.ID)
	}
	_, err := l.makeVolume(ctx, o.Volume, func(string) {})
	return err
}

// makeVolume finds a volume, or makes it where it has never been.
func (l *Launcher) makeVolume(ctx context.Context, v payload.Volume, progress func(message string)) (driver.Volume, error) {
	found, err := l.config.Storage.Find(ctx, v.ID)
	switch {
	case errors.Is(err, cluster.ErrNotFound) && v.Made:
		return driver.Volume{}, fmt.Errorf("volume %s: %w: what was written to it is not on this node any more; delete it", v.Name, cluster.ErrInvalid)
	case errors.Is(err, cluster.ErrNotFound):
		if err := l.fillVolume(ctx, v, progress); err != nil {
			return driver.Volume{}, err
		}
		found, err = l.config.Storage.Find(ctx, v.ID)
	}
	if err == nil {
		err = found.Check()
	}
	if err != nil {
		return driver.Volume{}, fmt.Errorf("volume %s: %w", v.Name, err)
	}
	return driver.Volume{ID: v.ID, Name: v.Name, Place: found, Target: v.Target, ReadOnly: v.ReadOnly}, nil
}

func (l *Launcher) fillVolume(ctx context.Context, v payload.Volume, progress func(message string)) error {
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
	return l.config.Storage.Create(ctx, storage.Volume{ID: v.ID, Content: v.Content, SizeMiB: v.SizeMiB}, origin)
}

// volumes makes the instance's volumes ready.
func (j *job) volumes(ctx context.Context, progress func(step, message string)) (ready []driver.Volume, err error) {
	if len(j.record.Volumes) == 0 {
		return nil, nil
	}
	storer, able := j.driver.(driver.Storer)
	if j.launcher.config.Storage == nil || !able {
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
	return writeFile(filepath.Join(j.launcher.records.path(j.record.ID), usedFile), nil, true)
}

// dropVolumes removes volumes that were made for an instance that never ran: it may go elsewhere, where they are made anew.
func (j *job) dropVolumes(ctx context.Context) error {
	if _, err := os.Stat(filepath.Join(j.launcher.records.path(j.record.ID), usedFile)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, v := range j.record.Volumes {
		if v.Made || j.launcher.config.Storage == nil {
			continue
		}
		if err := j.launcher.config.Storage.Delete(ctx, v.ID); err != nil {
			return err
		}
	}
	return nil
}
