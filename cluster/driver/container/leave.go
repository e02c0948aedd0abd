package container

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const (
	leaveWait = 2 * time.Second       // that a command has to end when its caller has left, and to begin if it has not yet
	leaveLook = 50 * time.Millisecond // between looks at whether it has begun
)

// endLeft ends a command that its caller has left. The engine cannot, so it is asked to end, and killed, by its process, where that can be seen
// from here and is surely the command's. What it has started itself goes on if it does not look at that.
func (d *Driver) endLeft(ctx context.Context, execution string, terminal bool) {
	ctx, cancel := context.WithTimeout(ctx, quickCall)
	defer cancel()
	process, err := d.processOf(ctx, execution)
	if process < 0 || err != nil {
		if err != nil {
			d.log.Debug("a command that its caller left may go on", "error", err)
		}
		return
	}
	defer unix.Close(process)
	signal := unix.SIGTERM
	if terminal {
		signal = unix.SIGHUP // a shell at a terminal takes no notice of the other
	}
	for _, signal := range []unix.Signal{signal, unix.SIGKILL} {
		if err := unix.PidfdSendSignal(process, signal, nil, 0); err != nil || ends(process, leaveWait) {
			return // it has ended
		}
	}
}

// processOf opens the process of a command that runs; -1 if it has ended, or has not begun for a while.
func (d *Driver) processOf(ctx context.Context, execution string) (process int, err error) {
	for begun := time.Now(); ; {
		now, err := d.engine.ContainerExecInspect(ctx, execution)
		switch {
		case err != nil:
			return -1, err
		case now.Running && now.Pid > 0:
			return d.open(ctx, execution, now.ContainerID, now.Pid)
		case now.Pid > 0 || time.Since(begun) > leaveWait:
			return -1, nil
		}
		select {
		case <-ctx.Done():
			return -1, ctx.Err()
		case <-time.After(leaveLook):
		}
	}
}

// open opens a process, and makes sure afterwards that the number was the command's: it is in the container's control group, and the command
// still runs.
func (d *Driver) open(ctx context.Context, execution, container string, pid int) (process int, err error) {
	process, err = unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return -1, nil
	}
	if err != nil {
		return -1, fmt.Errorf("open process %d: %w", pid, err)
	}
	groups, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err == nil && !bytes.Contains(groups, []byte(container)) {
		err = fmt.Errorf("process %d is not seen to be in the container", pid)
	}
	if err == nil {
		now, failure := d.engine.ContainerExecInspect(ctx, execution)
		if failure == nil && now.Running && now.Pid == pid {
			return process, nil
		}
		err = failure
	}
	unix.Close(process)
	return -1, err
}

// ends says whether a process ends within a time.
func ends(process int, within time.Duration) bool {
	until := time.Now().Add(within)
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(process), Events: unix.POLLIN}}, max(0, int(time.Until(until).Milliseconds())))
		if !errors.Is(err, unix.EINTR) || time.Now().After(until) {
			return err == nil && n > 0
		}
	}
}
