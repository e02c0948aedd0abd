package container

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/network"
	"golang.org/x/sys/unix"
)

// engineStarted says when the engine that answers now was started, by the clock as it was then: by the start of the process behind its socket,
// or, where an init system holds the socket or the clock has jumped since, by the birth of the engine's own bridge, which every start makes anew.
// Zero is unknown. The engine makes its bridge when it is done with the containers that it found, and before it takes calls: restored is that
// time, or the same as started where the bridge does not tell.
func (d *Driver) engineStarted(ctx context.Context) (started, restored time.Time, err error) {
	ctx, cancel := context.WithTimeout(ctx, quickCall)
	defer cancel()
	var process time.Time
	if pid := socketOwner(ctx, d.engine.DaemonHost()); pid > 1 {
		process, _ = processStarted(pid) // the bridge tells
	}
	bridge, err := d.engine.NetworkInspect(ctx, network.NetworkBridge, network.InspectOptions{})
	if cerrdefs.IsNotFound(err) {
		return process, process, nil
	}
	started, restored = startOf(process, bridge.Created)
	return started, restored, classify("ask the Docker Engine when it was started", err)
}

// clockJump is longer than an engine takes from its start to its bridge.
const clockJump = 5 * time.Minute

// startOf chooses between an engine's start by its process, which is exact and reckoned by the clock of now, and its bridge, whose birth the engine
// wrote down a little later: like the times of containers, which it is compared with, by the clock of then. Zero is unknown.
func startOf(process, bridge time.Time) (started, restored time.Time) {
	switch {
	case bridge.IsZero():
		return process, process
	case process.IsZero() || bridge.Sub(process).Abs() >= clockJump:
		return bridge, bridge
	case bridge.Before(process): // of an engine before: with live-restore it is kept while containers have it
		return process, process
	}
	return process, bridge
}

// liveRestore says whether containers outlive the engine.
func (d *Driver) liveRestore(ctx context.Context) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, quickCall)
	defer cancel()
	info, err := d.engine.Info(ctx)
	return info.LiveRestoreEnabled, classify("ask the Docker Engine for its settings", err)
}

// socketOwner is the process that listens at a unix socket (SO_PEERCRED, unix(7)); 0 is unknown.
func socketOwner(ctx context.Context, host string) int {
	path, local := strings.CutPrefix(host, "unix://")
	if !local {
		return 0
	}
	conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if err != nil {
		return 0
	}
	defer conn.Close()
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		return 0
	}
	pid := 0
	raw.Control(func(fd uintptr) {
		if peer, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			pid = int(peer.Pid)
		}
	})
	return pid
}

// processStarted reads field 22 of proc_pid_stat(5): hundredths of a second since the machine was booted.
func processStarted(pid int) (time.Time, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return time.Time{}, err
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:])) // begins with field 3
	if len(fields) < 20 {
		return time.Time{}, fmt.Errorf("/proc/%d/stat has only %d fields", pid, len(fields)+2)
	}
	ticks, err := strconv.ParseInt(fields[19], 10, 64)
	if err != nil {
		return time.Time{}, err
	}
	var up unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &up); err != nil {
		return time.Time{}, err
	}
	age := time.Duration(up.Nano()) - time.Duration(ticks)*10*time.Millisecond
	return time.Now().Add(-age).Round(0), nil
}
