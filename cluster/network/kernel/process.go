package kernel

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/network/netns"
)

// endLimit is how long killed processes may take to be gone.
const endLimit = 5 * time.Second

// endProcesses kills every process in the namespace, which is ours alone, and waits for their end.
func endProcesses(ctx context.Context, namespace *os.File) error {
	ctx, cancel := context.WithTimeout(ctx, endLimit)
	defer cancel()
	for {
		inside, err := processesIn(namespace)
		if err != nil || len(inside) == 0 {
			return err
		}
		for _, pid := range inside {
			if err := endProcess(ctx, pid, namespace); err != nil {
				return err
			}
		}
	}
}

func processesIn(namespace *os.File) ([]int, error) {
	paths, err := filepath.Glob("/proc/[0-9]*/ns/net")
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, path := range paths {
		if !netns.Same(namespace, path) {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path)))); err == nil && pid != os.Getpid() {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// signal sends a signal to every process in the namespace.
func signal(namespace *os.File, number unix.Signal) error {
	inside, err := processesIn(namespace)
	for _, pid := range inside {
		fd, failed := signalProcess(pid, namespace, number)
		err = errors.Join(err, failed)
		if fd >= 0 {
			unix.Close(fd)
		}
	}
	return err
}

// signalProcess sends a signal through a descriptor, so that a pid that is used again meanwhile does not mean another. The descriptor,
// which the caller closes, is negative when there is no such process in the namespace.
func signalProcess(pid int, namespace *os.File, number unix.Signal) (fd int, err error) {
	fd, err = unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return -1, nil
	}
	if err != nil {
		return -1, fmt.Errorf("signal process %d: %w", pid, err)
	}
	if !netns.Same(namespace, fmt.Sprintf("/proc/%d/ns/net", pid)) {
		return -1, unix.Close(fd)
	}
	if err := unix.PidfdSendSignal(fd, number, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return -1, errors.Join(fmt.Errorf("signal process %d: %w", pid, err), unix.Close(fd))
	}
	return fd, nil
}

func endProcess(ctx context.Context, pid int, namespace *os.File) error {
	fd, err := signalProcess(pid, namespace, unix.SIGKILL)
	if err != nil || fd < 0 {
		return err
	}
	defer unix.Close(fd)
	for ctx.Err() == nil {
		if n, _ := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 100); n > 0 {
			return nil
		}
	}
	return fmt.Errorf("process %d does not end: %w", pid, cluster.ErrTimeout)
}
