package launcher

import (
	"context"
	"errors"
	"slices"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/payload"
)

// A stray is a volume on the node that the controller does not know: it was deleted, or its store is an older one, while the node was away.

// volumesHere are the ids of the volumes that the node keeps; none when they cannot be read, for nothing but strays depends on that.
func (l *Launcher) volumesHere(ctx context.Context) []string {
	if l.config.Storage == nil {
		return nil
	}
	ids, err := l.config.Storage.List(ctx)
	if err != nil {
		l.logger.Warn("the node's volumes are not told", "error", err)
		return nil
	}
	return ids
}

// deleteStray deletes a volume that the controller does not know, and that no instance here has: what it does not know of those, it has deleted
// first.
func (l *Launcher) deleteStray(id string) {
	keeper := l.config.Storage
	if keeper == nil {
		return
	}
	report := payload.VolumeReport{Volume: id, State: cluster.VolumeGone, Stray: true}
	has, doubt := l.hasVolume(id)
	_, err := keeper.Find(l.life, id)
	switch {
	case errors.Is(err, cluster.ErrNotFound), errors.Is(err, cluster.ErrInvalid):
		return
	case doubt:
		l.logger.Warn("a volume that nobody knows is kept: there are instances whose records cannot be read", "volume", bounded(id))
		return
	case has:
		report.State = cluster.VolumeAttached
	default:
		if err := keeper.Delete(l.life, id); err != nil {
			report.State, report.Reason = cluster.VolumeFailed, bounded(err.Error())
			l.logger.Error("a volume that the controller does not know is not deleted; it is tried again", "volume", id, "error", err)
			break
		}
		l.logger.Warn("a volume that the controller does not know is deleted", "volume", id)
	}
	l.reportVolume(report)
}

// hasVolume says whether an instance of the node has a volume, and whether one may have it that cannot be looked at.
func (l *Launcher) hasVolume(id string) (has, doubt bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, o := range l.owners {
		if slices.ContainsFunc(o.volumes, func(v payload.Volume) bool { return v.ID == id }) {
			return true, false
		}
	}
	return false, len(l.unreadable) > 0
}
