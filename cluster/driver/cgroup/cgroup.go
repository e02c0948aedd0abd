// Package cgroup makes control groups, reads what their processes use, and ends them.
//
// Groups of containers and processes are made and limited by the Docker Engine and an OCI runtime; Make makes those of other programs. Both
// versions are understood, and a group is known by its path below the root of every hierarchy.
package cgroup

import (
	"bufio"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Root is where the kernel shows control groups.
const Root = "/sys/fs/cgroup"

// Usage is what a group has used, and uses now.
type Usage struct {
	CPU    time.Duration
	Memory int64 // bytes, without the cache of files that can be dropped at once
	Pids   int64
}

// Read reads the first of the named groups that is there.
func Read(root string, names ...string) (Usage, bool) {
	for _, name := range names {
		if used, ok := usageV2(filepath.Join(root, name)); ok {
			return used, true
		}
		if used, ok := usageV1(root, name); ok {
			return used, true
		}
	}
	return Usage{}, false
}

// OutOfMemory says whether the kernel has ended a process of the group because the group needed more than its limit.
func OutOfMemory(root, name string) bool {
	return key(filepath.Join(root, name, "memory.events"), "oom_kill") > 0 ||
		key(filepath.Join(root, "memory", name, "memory.oom_control"), "oom_kill") > 0
}

// usageV2 reads cpu.stat, memory.current, memory.stat and pids.current (kernel, admin-guide/cgroup-v2).
func usageV2(directory string) (Usage, bool) {
	memory, ok := number(filepath.Join(directory, "memory.current"))
	if !ok {
		return Usage{}, false
	}
	pids, _ := number(filepath.Join(directory, "pids.current"))
	cpu := key(filepath.Join(directory, "cpu.stat"), "usage_usec")
	cache := key(filepath.Join(directory, "memory.stat"), "inactive_file")
	return Usage{CPU: time.Duration(cpu) * time.Microsecond, Memory: max(memory-cache, 0), Pids: pids}, true
}

// usageV1 reads the controllers' own hierarchies (kernel, admin-guide/cgroup-v1).
func usageV1(root, name string) (Usage, bool) {
	file := func(controller, file string) string { return filepath.Join(root, controller, name, file) }
	memory, ok := number(file("memory", "memory.usage_in_bytes"))
	if !ok {
		return Usage{}, false
	}
	cpu, ok := number(file("cpuacct", "cpuacct.usage"))
	if !ok {
		return Usage{}, false
	}
	pids, _ := number(file("pids", "pids.current"))
	cache := key(file("memory", "memory.stat"), "total_inactive_file")
	return Usage{CPU: time.Duration(cpu), Memory: max(memory-cache, 0), Pids: pids}, true
}

func number(path string) (int64, bool) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, false
	}
	value, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	return value, err == nil
}

// key reads one line "name value" of a flat keyed file; 0 when it is not there.
func key(path, name string) int64 {
	file, err := os.Open(path)
	if err != nil {
		return 0
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if value, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			parsed, _ := strconv.ParseInt(value, 10, 64)
			return parsed
		}
	}
	return 0
}
