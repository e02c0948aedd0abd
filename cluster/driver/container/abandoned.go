package container

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// An engine mounts the first layer of a container's own only while it creates the container. One that is killed meanwhile leaves the
// mount behind, and its successor, which does not know the container, lets it be for ever.

// initialLayer matches the mount point of such a layer below the engine's directory (overlay2, its default storage).
const initialLayer = "overlay2/*-init/merged"

// startPrecision is how much the kernel may set a process's start back, and much less than an engine takes to come so far as to create
// a container.
const startPrecision = 20 * time.Millisecond

// unmountAbandoned removes what engines before this one left mounted of containers that they were creating. Nothing uses it.
func (d *Driver) unmountAbandoned(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, quickCall)
	defer cancel()
	info, err := d.engine.Info(limited)
	if err != nil {
		return classify("ask the Docker Engine for its directory", err)
	}
	if info.Driver != "overlay2" {
		return nil
	}
	started, _, err := d.engineStarted(ctx)
	if err != nil || started.IsZero() {
		return err // nobody knows what is this engine's own
	}
	mounts, err := mountinfo.GetMounts(func(m *mountinfo.Info) (skip, stop bool) {
		return !abandoned(m, filepath.Join(info.DockerRootDir, initialLayer), started), false
	})
	if err != nil {
		return fmt.Errorf("list what is mounted: %w", err)
	}
	for _, m := range mounts {
		d.config.Log.Warn("an engine before left a layer mounted; unmounting it", "layer", m.Mountpoint)
		if err := unmount(m.Mountpoint); err != nil {
			return fmt.Errorf("unmount %s, which an engine before left: %w", m.Mountpoint, err)
		}
	}
	return nil
}

// unmount is content when nothing is mounted there any more: several nodes of a machine may clean up at a time.
func unmount(point string) error {
	err := unix.Unmount(point, unix.UMOUNT_NOFOLLOW)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) { // umount(2): not a mount point
		return nil
	}
	return err
}

// abandoned says whether a mount is an initial layer's that was made before the engine was started: the layer's directory changes
// when its mount point is made.
func abandoned(m *mountinfo.Info, pattern string, engineStarted time.Time) bool {
	if matched, err := filepath.Match(pattern, m.Mountpoint); err != nil || !matched || m.FSType != "overlay" {
		return false
	}
	layer, err := os.Stat(filepath.Dir(m.Mountpoint))
	return err == nil && layer.ModTime().Before(engineStarted.Add(startPrecision))
}
