package vm

import (
	"context"
	"errors"
	"sync"
	"syscall"
	"time"

	"github.com/ciaocloud/ciao/ccloudvm/qemu"
	"github.com/ciaocloud/ciao/cluster/driver"
)

const (
	attendEvery = 2 * time.Second
	attendWait  = 5 * time.Second // how long a QEMU that is well may take to answer

	// resumeRoom is how much space the disk must have for a guest that ran out of it to go on, in bytes: enough for it not to run out at once.
	resumeRoom = 4 << 20
)

// troubles are what keeps running machines from their work, by instance. The zero value is ready.
type troubles struct {
	mu   sync.Mutex
	told map[string]string
}

func (t *troubles) of(id string) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.told[id]
}

// set says whether anything has changed.
func (t *troubles) set(id, trouble string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.told[id] == trouble {
		return false
	}
	if t.told == nil {
		t.told = map[string]string{}
	}
	t.told[id] = trouble
	if trouble == "" {
		delete(t.told, id)
	}
	return true
}

// attend asks every running machine how it is until ctx ends. Each has a connection and a goroutine of its own, so that one that does not
// answer holds up nobody.
func (d *Driver) attend(ctx context.Context) {
	var group sync.WaitGroup
	defer group.Wait()
	var mu sync.Mutex
	attended := map[string]bool{}
	for ; ctx.Err() == nil; pause(ctx, nil) {
		ids, err := d.running(ctx)
		if err != nil {
			d.logger.Warn("virtual machines are not looked after", "error", err)
		}
		for _, id := range ids {
			mu.Lock()
			begin := !attended[id]
			attended[id] = true
			mu.Unlock()
			if !begin {
				continue
			}
			group.Go(func() {
				d.attendOne(ctx, d.carrier(id))
				d.trouble(id, "")
				mu.Lock()
				delete(attended, id)
				mu.Unlock()
			})
		}
	}
}

const unresponsive = "QEMU does not answer: it may be frozen, or its node be overloaded"

// attendOne returns when the machine's QEMU has ended.
func (d *Driver) attendOne(ctx context.Context, c carrier) {
	for ctx.Err() == nil {
		if running, err := c.shim().Running(); err == nil && !running {
			return
		}
		monitor, err := d.greet(ctx, c)
		switch {
		case err == nil:
			d.follow(ctx, c, monitor)
			monitor.Close()
		case errors.Is(err, qemu.ErrUnresponsive), errors.Is(err, syscall.EAGAIN): // as many wait for an answer as may
			d.trouble(c.id, unresponsive)
		}
		pause(ctx, nil)
	}
}

// greet connects to QEMU's socket for this purpose.
func (d *Driver) greet(ctx context.Context, c carrier) (monitor *qemu.Monitor, err error) {
	err = c.short(attendFile, func(path string) error {
		monitor, err = qemu.Dial(ctx, path)
		return err
	})
	return monitor, err
}

// follow asks how a machine is until the connection ends.
func (d *Driver) follow(ctx context.Context, c carrier, monitor *qemu.Monitor) {
	for ctx.Err() == nil {
		err := d.ask(ctx, c, monitor)
		if errors.Is(err, qemu.ErrUnresponsive) {
			d.trouble(c.id, unresponsive)
		} else if err != nil {
			return
		}
		pause(ctx, monitor.Done())
	}
}

// ask asks once. A guest that was halted for want of room goes on when there is some.
func (d *Driver) ask(ctx context.Context, c carrier, monitor *qemu.Monitor) error {
	ctx, cancel := context.WithTimeout(ctx, d.scaled(attendWait))
	defer cancel()
	status, err := monitor.Status(ctx)
	switch {
	case err != nil:
	case status != qemu.IOError:
		d.trouble(c.id, "")
	case room(c.directory) < resumeRoom:
		d.trouble(c.id, "the node's disk is full: the guest is halted, and goes on when there is room; free some space at "+d.config.Instances)
	default:
		err = monitor.Continue(ctx)
	}
	return err
}

// pause waits until it is time to ask again, or until over is closed.
func pause(ctx context.Context, over <-chan struct{}) {
	timer := time.NewTimer(attendEvery)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-over:
	case <-timer.C:
	}
}

// trouble notes what keeps a machine from its work, or that nothing does any more.
func (d *Driver) trouble(id, what string) {
	if !d.troubles.set(id, what) {
		return
	}
	if what != "" {
		d.logger.Warn("virtual machine in trouble", "instance", id, "trouble", what)
	}
	d.watchers.Changed(id)
}

// status is that of the carrier, with what keeps a running machine from its work.
func (d *Driver) status(c carrier) (driver.Status, error) {
	status, err := c.status()
	if status.Condition == driver.Running {
		status.Reason = d.troubles.of(c.id)
	}
	return status, err
}

// room is how much may be written to the directory's file system, in bytes.
func room(directory string) int64 {
	var s syscall.Statfs_t
	if err := syscall.Statfs(directory, &s); err != nil {
		return 0
	}
	return int64(s.Bavail) * s.Bsize
}
