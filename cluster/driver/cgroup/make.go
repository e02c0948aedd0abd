package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/ciaocloud/ciao/cluster"
)

// Limits bound what the processes of a group use together.
type Limits struct {
	CPU       cluster.CPU
	MemoryMiB int64
	Pids      int64
}

// period is the time over which processor time is counted, in microseconds.
const period = 100_000

// Make makes a group, or changes its limits, and returns the files by which a process joins it: it writes 0 to each.
func Make(root, name string, limits Limits) (join []string, err error) {
	quota := strconv.FormatInt(int64(limits.CPU)*period/int64(cluster.VCPU), 10)
	memory, pids := strconv.FormatInt(limits.MemoryMiB<<20, 10), strconv.FormatInt(limits.Pids, 10)
	if _, err := os.Stat(filepath.Join(root, "cgroup.controllers")); err == nil { // version 2 (kernel, admin-guide/cgroup-v2)
		// Where a service manager has switched them on, this changes nothing.
		if err := write(filepath.Join(root, "cgroup.subtree_control"), "+cpu +memory +pids"); err != nil {
			return nil, err
		}
		directory := filepath.Join(root, name)
		return []string{filepath.Join(directory, "cgroup.procs")}, makeOne(directory,
			"cpu.max", quota+" "+strconv.Itoa(period), "memory.max", memory, "pids.max", pids)
	}
	// Version 1 (kernel, admin-guide/cgroup-v1).
	for controller, settings := range map[string][]string{
		"cpu":     {"cpu.cfs_period_us", strconv.Itoa(period), "cpu.cfs_quota_us", quota},
		"cpuacct": nil,
		"memory":  {"memory.limit_in_bytes", memory},
		"pids":    {"pids.max", pids},
	} {
		directory := filepath.Join(root, controller, name)
		if err := makeOne(directory, settings...); err != nil {
			return nil, err
		}
		join = append(join, filepath.Join(directory, "cgroup.procs"))
	}
	return join, nil
}

// Raise lets the processes of a group use as much memory, and be as many, as limits say. What they may already is left: they may have used it.
func Raise(root, name string, limits Limits) error {
	memory, pids := filepath.Join(root, name, "memory.max"), filepath.Join(root, name, "pids.max")
	if _, err := os.Stat(filepath.Join(root, "cgroup.controllers")); err != nil { // version 1
		memory, pids = filepath.Join(root, "memory", name, "memory.limit_in_bytes"), filepath.Join(root, "pids", name, "pids.max")
	}
	for path, wanted := range map[string]int64{memory: limits.MemoryMiB << 20, pids: limits.Pids} {
		if now, limited := number(path); !limited || now >= wanted {
			continue
		}
		if err := write(path, strconv.FormatInt(wanted, 10)); err != nil {
			return err
		}
	}
	return nil
}

// makeOne makes a directory of a hierarchy and writes to files there.
func makeOne(directory string, settings ...string) error {
	if err := os.Mkdir(directory, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%w: make the control group: %w", cluster.ErrUnavailable, err)
	}
	for i := 0; i < len(settings); i += 2 {
		if err := write(filepath.Join(directory, settings[i]), settings[i+1]); err != nil {
			return err
		}
	}
	return nil
}

func write(path, text string) error {
	if err := os.WriteFile(path, []byte(text), 0); err != nil {
		return fmt.Errorf("%w: limit the control group: %w", cluster.ErrUnavailable, err)
	}
	return nil
}
