package vm

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/ciaocloud/ciao/ccloudvm/qemu"
	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/driver"
	"github.com/ciaocloud/ciao/cluster/driver/cgroup"
	"github.com/ciaocloud/ciao/cluster/storage"
)

// releaseWait is how long a guest may take to let go of a disk.
const releaseWait = 20 * time.Second

// Attach implements driver.Attacher. QEMU has the disk before the description does: a launcher that is killed in between is asked again.
func (d *Driver) Attach(ctx context.Context, id string, v driver.Volume) error {
	err := d.change(ctx, id, func(monitor *qemu.Monitor, described *description) error {
		if err := reachable([]driver.Volume{v}); err != nil || described.boots(v.ID) {
			return err
		}
		next := *described
		if described.place(v.ID) < 0 {
			next.Volumes = append(slices.Clone(described.Volumes), v)
		}
		if v.Place.RBD != (storage.RBD{}) {
			if err := d.makeRoom(ctx, id, next); err != nil {
				return err
			}
		}
		if err := plug(ctx, monitor, v); err != nil {
			return err
		}
		*described = next
		return nil
	})
	if err != nil {
		return classed(fmt.Errorf("attach volume %s: %w", v.Name, err))
	}
	return nil
}

// makeRoom has the running machine's control group allow what QEMU needs for its volumes.
func (d *Driver) makeRoom(ctx context.Context, id string, described description) error {
	accelerator, err := d.choose(ctx)
	if err != nil {
		return err
	}
	return cgroup.Raise(cgroup.Root, d.group(id), limits(accelerator, described))
}

// plug gives QEMU a volume's file, or its key, which it could not open itself, and plugs it in.
func plug(ctx context.Context, monitor *qemu.Monitor, v driver.Volume) error {
	var file *os.File
	var err error
	disk := diskOf(v, opener{
		file: func(path string, flag int) string {
			file, err = os.OpenFile(path, flag, 0)
			return path
		},
		key: func(k storage.Key) string {
			file, err = k.File()
			return ""
		},
	})
	if err != nil {
		return err
	}
	defer file.Close()
	err = monitor.AddDisk(ctx, disk, file)
	switch refused := (*qemu.CommandError)(nil); {
	case errors.Is(err, qemu.ErrNoPort):
		return fmt.Errorf("%w: %w; stop the instance first", cluster.ErrConflict, err)
	case errors.As(err, &refused):
		return fmt.Errorf("%w: %w", cluster.ErrConflict, err)
	}
	return err
}

// Attached implements driver.Attacher: it asks QEMU.
func (d *Driver) Attached(ctx context.Context, id, volume string) (has bool, err error) {
	err = d.change(ctx, id, func(monitor *qemu.Monitor, described *description) (err error) {
		has, err = monitor.HasDisk(ctx, diskID(volume))
		has = has || described.boots(volume)
		return err
	})
	if err != nil {
		return false, classed(fmt.Errorf("look for volume %s: %w", volume, err))
	}
	return has, nil
}

// Detach implements driver.Attacher. The description keeps the disk until QEMU has it no more: a machine that is started again in between has
// it again, and the launcher is asked again.
func (d *Driver) Detach(ctx context.Context, id, volume string) error {
	err := d.change(ctx, id, func(monitor *qemu.Monitor, described *description) error {
		if described.boots(volume) {
			return fmt.Errorf("%w: the instance boots from it", cluster.ErrInvalid)
		}
		at := described.place(volume)
		err := monitor.RemoveDisk(ctx, diskID(volume), d.scaled(releaseWait))
		switch {
		case errors.Is(err, qemu.ErrHeld):
			return fmt.Errorf("%w: the guest does not let go of it; unmount it there and try again, or stop the instance first", cluster.ErrConflict)
		case errors.Is(err, qemu.ErrNoPort):
			if at < 0 {
				return nil
			}
			return fmt.Errorf("%w: QEMU was started by an older version; stop the instance first", cluster.ErrConflict)
		case err != nil:
			return err
		case at >= 0:
			described.Volumes = slices.Delete(described.Volumes, at, at+1)
		}
		return nil
	})
	if err != nil {
		return classed(fmt.Errorf("detach volume: %w", err))
	}
	return nil
}

// change changes a running machine, and what is kept of it.
func (d *Driver) change(ctx context.Context, id string, apply func(*qemu.Monitor, *description) error) error {
	c := d.carrier(id)
	described, err := c.describe()
	running := false
	if err == nil {
		running, err = c.shim().Running()
	}
	switch {
	case errors.Is(err, fs.ErrNotExist), err == nil && !running:
		return fmt.Errorf("%w: instance %s does not run", cluster.ErrUnavailable, id)
	case err != nil:
		return err
	}
	monitor, err := c.monitor(ctx)
	if err != nil {
		return fmt.Errorf("%w: %w", cluster.ErrUnavailable, err)
	}
	defer monitor.Close()
	before := slices.Clone(described.Volumes)
	if err := apply(monitor, &described); err != nil || slices.Equal(before, described.Volumes) {
		return err
	}
	if err := c.write(described, true); err != nil {
		return fmt.Errorf("%w: %w", cluster.ErrUnavailable, err) // it is as wanted, and not kept: it is asked for again
	}
	return nil
}

// place is where a volume is among the machine's, or negative.
func (d description) place(volume string) int {
	return slices.IndexFunc(d.Volumes, func(v driver.Volume) bool { return v.ID == volume })
}
