package container

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ciaocloud/ciao/cluster/driver/cgroup"
)

// An engine that is killed while it starts a container may leave the container's processes behind: its successor takes the container for
// one that never ran, neither ends the processes nor knows of them, and cannot start it again because containerd has it already. The
// processes hang on a shim of containerd's: when they and the shim are killed, containerd itself removes what it has of them; the control
// groups may stay.

// bundles are where containerd keeps what it has of the engine's containers: one that the engine started, and the system's.
var bundles = []string{
	"/run/docker/containerd/daemon/io.containerd.runtime.v2.task/moby",
	"/run/containerd/io.containerd.runtime.v2.task/moby",
}

// orphanLimit is how long the killed processes may take to be gone.
const orphanLimit = 10 * time.Second

// endOrphan ends what an engine before left of a container that the engine knows not to run. It says whether there was something.
func (d *Driver) endOrphan(ctx context.Context, containerID string) (was bool, err error) {
	if len(leftOf(containerID)) == 0 {
		return false, nil
	}
	d.config.Log.Warn("an engine before left something of a container; ending it", "container", containerID)
	ctx, cancel := context.WithTimeout(ctx, orphanLimit)
	defer cancel()
	alone := 0 // how often there was no shim any more
	for {
		for _, group := range groupsOf(containerID) {
			endGroup(group)
		}
		shims, err := shimsOf(containerID)
		if err != nil {
			return true, err
		}
		for _, pid := range shims {
			if err := killShim(pid, containerID); err != nil {
				return true, err
			}
		}
		if alone++; len(shims) > 0 {
			alone = 0
		}
		if alone > patience {
			endBundles(containerID)
		}
		left := leftOf(containerID)
		if len(left) == 0 {
			return true, nil
		}
		if err := pause(ctx, 10*time.Millisecond); err != nil {
			return true, fmt.Errorf("an engine before left %s of container %s, which cannot be removed: %w", strings.Join(left, ", "), containerID, err)
		}
	}
}

// patience is how many looks containerd has for removing what it has of a container, before that is done for it: it may have
// forgotten the container when it was killed too.
const patience = 200

// endBundles removes what containerd has of a container in its own directory, and nothing that is mounted there.
func endBundles(containerID string) {
	for _, directory := range bundles {
		bundle := filepath.Join(directory, containerID)
		entries, err := os.ReadDir(bundle)
		if err != nil {
			continue
		}
		for _, entry := range entries {
			_ = os.Remove(filepath.Join(bundle, entry.Name())) // it fails for directories that are not empty, as it should
		}
		_ = os.Remove(bundle) // the caller looks again
	}
}

// leftOf lists what there is of a container's processes.
func leftOf(containerID string) []string {
	left := groupsOf(containerID)
	for _, directory := range bundles {
		if bundle := filepath.Join(directory, containerID); exists(bundle) {
			left = append(left, bundle)
		}
	}
	return left
}

// groupsOf finds a container's control groups, of version 2 or 1, under either of the engine's two naming schemes.
func groupsOf(containerID string) []string {
	var found []string
	for _, name := range []string{"docker/" + containerID, "system.slice/docker-" + containerID + ".scope"} {
		for _, pattern := range []string{filepath.Join(cgroup.Root, name), filepath.Join(cgroup.Root, "*", name)} {
			groups, _ := filepath.Glob(pattern) // the pattern is well formed
			found = append(found, groups...)
		}
	}
	return found
}

// endGroup kills what is in a control group and removes it if that is gone already; the caller repeats it.
func endGroup(group string) {
	if os.Remove(group) == nil {
		return
	}
	text, err := os.ReadFile(filepath.Join(group, "cgroup.procs"))
	if err != nil {
		return
	}
	for _, word := range strings.Fields(string(text)) {
		if pid, err := strconv.Atoi(word); err == nil && pid > 1 {
			_ = unix.Kill(pid, unix.SIGKILL) // it may have ended
		}
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// shimsOf finds the processes that hold a container for containerd.
func shimsOf(containerID string) ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("list the processes: %w", err)
	}
	var found []int
	for _, entry := range entries {
		if pid, err := strconv.Atoi(entry.Name()); err == nil && isShim(pid, containerID) {
			found = append(found, pid)
		}
	}
	return found, nil
}

func isShim(pid int, containerID string) bool {
	data, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
	if err != nil {
		return false
	}
	words := strings.Split(string(data), "\x00")
	return strings.HasPrefix(filepath.Base(words[0]), "containerd-shim") && slices.Contains(words, containerID) &&
		!slices.Contains(words, "delete") // which is how containerd removes what a dead shim left
}

// killShim kills through a descriptor, so that a process id that is used again meanwhile is not another's death.
func killShim(pid int, containerID string) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("end process %d: %w", pid, err)
	}
	defer unix.Close(fd)
	if !isShim(pid, containerID) {
		return nil
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("end process %d: %w", pid, err)
	}
	return nil
}
