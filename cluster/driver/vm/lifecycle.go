package vm

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/ciaocloud/ciao/ccloudvm/qemu"
	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/driver"
	"github.com/ciaocloud/ciao/cluster/driver/cgroup"
	"github.com/ciaocloud/ciao/cluster/driver/shim"
)

const (
	quitWait  = 2 * time.Second  // how long QEMU may take to write to the disks what the guest believes to be there
	killWait  = 10 * time.Second // how long a killed QEMU may take to end
	startWait = 20 * time.Second // from QEMU's start to its first answer

	pressEvery = time.Second
)

// Start implements driver.Driver.
func (d *Driver) Start(ctx context.Context, id string) error {
	err := d.start(ctx, d.carrier(id))
	if err != nil {
		return classed(fmt.Errorf("start the virtual machine: %w", err))
	}
	return nil
}

func (d *Driver) start(ctx context.Context, c carrier) error {
	described, err := c.describe()
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: there is no instance %s on this node", cluster.ErrNotFound, c.id)
	}
	if err != nil {
		return err
	}
	accelerator, err := d.choose(ctx)
	if err != nil {
		return err
	}
	turn, err := c.shim().Take()
	if err != nil || turn == nil {
		return err
	}
	defer turn.Close()
	if err := d.spawn(ctx, c, described, accelerator, turn); err != nil {
		return err
	}
	d.watchers.Changed(c.id)
	return c.awaitAnswer(ctx, d.scaled(startWait))
}

func (d *Driver) spawn(ctx context.Context, c carrier, described description, accelerator qemu.Accelerator, turn *shim.Turn) error {
	var tap *os.File
	if described.Port != "" {
		var err error
		if tap, err = d.config.Taps.OpenTap(ctx, described.Port); err != nil {
			return err
		}
	}
	var h handed
	defer h.close()
	machine, err := c.open(described, accelerator, tap, &h)
	if err != nil {
		return err
	}
	join, err := cgroup.Make(cgroup.Root, d.group(c.id), limits(accelerator, described))
	if err != nil {
		return err
	}
	arguments, err := c.command(machine, join)
	if err != nil {
		return err
	}
	return turn.Start(ctx, shim.Program{Arguments: arguments, Files: h.files, Limit: maxOutput})
}

// awaitAnswer returns when QEMU has answered, so that what keeps it from running the guest is told to who wants the machine started. A
// guest that has shut down by then is none of that.
func (c carrier) awaitAnswer(ctx context.Context, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	monitor, err := c.monitor(ctx)
	if err == nil {
		return monitor.Close()
	}
	if ctx.Err() != nil {
		return err
	}
	if c.shim().Wait(ctx) != nil { // it closed the socket, so it is about to end
		return err
	}
	status, failed := c.status()
	if failed != nil || status.ExitCode != nil && *status.ExitCode == 0 {
		return failed
	}
	return fmt.Errorf("%w: %s", cluster.ErrConflict, status.Reason)
}

// monitor connects to QEMU. There is one place for that, so whoever has it must close it soon.
func (c carrier) monitor(ctx context.Context) (monitor *qemu.Monitor, err error) {
	err = c.short(monitorFile, func(path string) error {
		monitor, err = qemu.Dial(ctx, path)
		return err
	})
	return monitor, err
}

// Stop implements driver.Driver: it presses the power button, and cuts the power after the grace time.
func (d *Driver) Stop(ctx context.Context, id string, grace time.Duration) error {
	c := d.carrier(id)
	running, err := c.shim().Running()
	if err != nil || !running || !c.has(machineFile) {
		return classed(err)
	}
	err = c.shim().MarkStopped()
	if err == nil && grace > 0 {
		d.powerOff(ctx, c, grace)
	}
	if err == nil {
		err = c.shim().End(ctx, d.scaled(quitWait), d.scaled(killWait))
	}
	d.watchers.Changed(id)
	if err != nil {
		return classed(fmt.Errorf("stop the virtual machine: %w", err))
	}
	return nil
}

// powerOff presses the power button until the machine's end, or the end of the grace time. It does so again and again because a guest that
// is only starting does not notice.
func (d *Driver) powerOff(ctx context.Context, c carrier, grace time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	for ctx.Err() == nil {
		if err := c.press(ctx); err != nil {
			d.logger.Warn("power button not pressed", "instance", c.id, "error", err)
		}
		pause, done := context.WithTimeout(ctx, pressEvery)
		err := c.shim().Wait(pause)
		done()
		if err == nil {
			return
		}
	}
}

func (c carrier) press(ctx context.Context) error {
	monitor, err := c.monitor(ctx)
	if err != nil {
		return err
	}
	return errors.Join(monitor.Powerdown(ctx), monitor.Close())
}

// Delete implements driver.Driver.
func (d *Driver) Delete(ctx context.Context, id string) error {
	if !cluster.ValidID(id) {
		return nil
	}
	c := d.carrier(id)
	err := c.shim().End(ctx, 0, d.scaled(killWait))
	if err == nil {
		err = cgroup.Remove(ctx, cgroup.Root, d.group(id))
	}
	if err == nil {
		err = os.RemoveAll(c.directory)
	}
	d.watchers.Changed(id)
	if err != nil {
		return classed(fmt.Errorf("delete the virtual machine: %w", err))
	}
	return nil
}

// Status implements driver.Driver.
func (d *Driver) Status(_ context.Context, id string) (driver.Status, error) {
	status, err := d.status(d.carrier(id))
	return status, classed(err)
}

// List implements driver.Driver.
func (d *Driver) List(context.Context) ([]driver.Status, error) {
	var all []driver.Status
	paths, _ := filepath.Glob(d.carrier("*").file(machineFile)) // the pattern is well formed
	for _, path := range paths {
		status, err := d.status(d.carrier(filepath.Base(filepath.Dir(filepath.Dir(path)))))
		if err != nil {
			return nil, classed(err)
		}
		if status.Condition != driver.Absent {
			all = append(all, status)
		}
	}
	return all, nil
}

// Watch implements driver.Driver.
func (d *Driver) Watch(ctx context.Context) <-chan string {
	return d.watchers.Watch(ctx, shim.Source{
		Running: d.running,
		Shim:    func(id string) shim.Shim { return d.carrier(id).shim() },
		Upkeep:  func(context.Context) {}, // the shim bounds the output
		Logger:  d.logger,
	})
}

func (d *Driver) running(ctx context.Context) ([]string, error) {
	all, err := d.List(ctx)
	var ids []string
	for _, status := range all {
		if status.Condition == driver.Running {
			ids = append(ids, status.ID)
		}
	}
	return ids, err
}
