package instance

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"

	"github.com/ciaocloud/ciao/ccloudvm"
	"github.com/ciaocloud/ciao/ccloudvm/qemu"
)

// minFreeMiB is the free disk space without which no machine is started: a paused guest in the middle of its set-up is worse.
const minFreeMiB = 1024

// checkHost refuses what this machine cannot bear.
func (m *Manager) checkHost(vm ccloudvm.VM) error {
	for _, program := range []string{qemu.Binary, "qemu-img"} {
		if _, err := exec.LookPath(program); err != nil {
			return &ccloudvm.Error{Class: ccloudvm.ErrHost, Cause: err, Text: program + " is not installed: run `ccloudvm setup`"}
		}
	}
	if total, available := memory(); available > 0 && vm.MemMiB > available {
		return &ccloudvm.Error{Class: ccloudvm.ErrHost, Text: fmt.Sprintf(
			"the machine needs %d MiB of memory and this host has %d MiB free (of %d): use a smaller --mem, or stop other instances", vm.MemMiB, available, total)}
	}
	if err := m.Layout.prepare(); err != nil {
		return hostError("the state directory cannot be made", err)
	}
	for _, dir := range []string{m.Layout.State} {
		if free, err := freeMiB(dir); err == nil && free < minFreeMiB {
			return &ccloudvm.Error{Class: ccloudvm.ErrHost, Text: fmt.Sprintf(
				"the disk with %s has only %d MiB free and a machine needs %d: make room, for instance with `ccloudvm delete`", dir, free, minFreeMiB)}
		}
	}
	for _, p := range vm.Ports {
		if p.Host < 1024 && os.Geteuid() != 0 && p.Host < unprivilegedPorts() {
			return &ccloudvm.Error{Class: ccloudvm.ErrInvalid, Text: fmt.Sprintf("port %d of the host is for root alone: use one from 1024 up", p.Host)}
		}
	}
	return nil
}

// memory is the host's memory in MiB, all and what can be had; 0 when it is not known.
func memory() (total, available int) {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0, 0
	}
	defer f.Close()
	scanner := bufio.NewScanner(f)
	for scanner.Scan() {
		fields := strings.Fields(scanner.Text())
		if len(fields) < 2 {
			continue
		}
		kib, _ := strconv.Atoi(fields[1])
		switch fields[0] {
		case "MemTotal:":
			total = kib / 1024
		case "MemAvailable:":
			available = kib / 1024
		}
	}
	return total, available
}

func freeMiB(dir string) (int, error) {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil {
		return 0, err
	}
	return int(fs.Bavail * uint64(fs.Bsize) >> 20), nil
}

// unprivilegedPorts is the first port that anybody may bind (ip-sysctl: ip_unprivileged_port_start).
func unprivilegedPorts() int {
	b, err := os.ReadFile("/proc/sys/net/ipv4/ip_unprivileged_port_start")
	if err != nil {
		return 1024
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return 1024
	}
	return n
}

// HostMemory is the host's memory in MiB, all of it and what can be had; zeroes where that is not known.
func HostMemory() (total, available int) { return memory() }

// FreeMiB is the free disk space where instances are made, or will be.
func (l Layout) FreeMiB() (int, error) {
	if err := l.prepare(); err != nil {
		return 0, err
	}
	return freeMiB(l.State)
}
