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
)

// releaseWait is how long a guest may take to let go of a disk.
const releaseWait = 20 * time.Second

// Attach implements driver.Attacher. QEMU has the disk before the description does: a launcher that is killed in between is asked again.
func (d *Driver) Attach(ctx context.Context, id string, v driver.Volume) error {
	err := d.change(ctx, id, func(monitor *qemu.Monitor, described *description) error {
		if err := reachable([]driver.Volume{v}); err != nil || described.boots(v.ID) {
			return err
		}
		if v.Place.File.Path == "" {
			return fmt.Errorf("%w: it is in Ceph; stop the instance first", cluster.ErrConflict)
		}
		if err := plug(ctx, monitor, v); err != nil {
			return err
		}
		if described.place(v.ID) < 0 {
			described.Volumes = append(described.Volumes, v)
		}
		return nil
	})
	if err != nil {
		return classed(fmt.Errorf("attach volume %s: %w", v.Name, err))
	}
	return nil
}

// plug gives QEMU a volume's file, which it could not open itself, and plugs it in.
func plug(ctx context.Context, monitor *qemu.Monitor, v driver.Volume) error {
	var file *os.File
	var err error
	disk := diskOf(v, opener{file: func(path string, flag int) string {
		file, err = os.OpenFile(path, flag, 0)
		return path
	}})
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

// Detach implements driver.Attacher. The description keeps the disk until QEMU has it no more: a machine that is started again in between has
// it again, and the launcher is asked again.
func (d *Driver) Detach(ctx context.Context, id, volume string) error {
	err := d.change(ctx, id, func(monitor *qemu.Monitor, described *description) error {
		if described.boots(volume) {
			return fmt.Errorf("%w: the instance boots from it", cluster.ErrInvalid)
		}
		at := described.place(volume)
		if at >= 0 && described.Volumes[at].Place.File.Path == "" {
			return fmt.Errorf("%w: it is in Ceph; stop the instance first", cluster.ErrConflict)
		}
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
