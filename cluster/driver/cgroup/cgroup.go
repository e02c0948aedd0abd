package container

import (
	"bufio"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// cgroupRoot is where the kernel shows control groups.
const cgroupRoot = "/sys/fs/cgroup"

// cgroupUsage reads a container's control group, of version 2 or 1, under either of the engine's two naming schemes.
func cgroupUsage(root, containerID string) (usage, bool) {
	for _, name := range []string{"docker/" + containerID, "system.slice/docker-" + containerID + ".scope"} {
		if used, ok := usageV2(filepath.Join(root, name)); ok {
			return used, true
		}
		if used, ok := usageV1(root, name); ok {
			return used, true
		}
	}
	return usage{}, false
}

// usageV2 reads cpu.stat, memory.current, memory.stat and pids.current (kernel, admin-guide/cgroup-v2).
func usageV2(directory string) (usage, bool) {
	memory, ok := number(filepath.Join(directory, "memory.current"))
	if !ok {
		return usage{}, false
	}
	pids, _ := number(filepath.Join(directory, "pids.current"))
	cpu := key(filepath.Join(directory, "cpu.stat"), "usage_usec")
	cache := key(filepath.Join(directory, "memory.stat"), "inactive_file")
	return usage{cpu: time.Duration(cpu) * time.Microsecond, memory: max(memory-cache, 0), pids: pids}, true
}

// usageV1 reads the controllers' own hierarchies (kernel, admin-guide/cgroup-v1).
func usageV1(root, name string) (usage, bool) {
	file := func(controller, file string) string { return filepath.Join(root, controller, name, file) }
	memory, ok := number(file("memory", "memory.usage_in_bytes"))
	if !ok {
		return usage{}, false
	}
	cpu, ok := number(file("cpuacct", "cpuacct.usage"))
	if !ok {
		return usage{}, false
	}
	pids, _ := number(file("pids", "pids.current"))
	cache := key(file("memory", "memory.stat"), "total_inactive_file")
	return usage{cpu: time.Duration(cpu), memory: max(memory-cache, 0), pids: pids}, true
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
