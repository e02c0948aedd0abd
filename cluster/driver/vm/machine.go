package vm

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/ciaocloud/ciao/ccloudvm/qemu"
	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/driver/cgroup"
	"github.com/ciaocloud/ciao/cluster/storage"
)

const (
	firstFile = 5 // descriptor of the shim's first file
	logFile   = 9 // descriptor that stands for standard output, which QEMU takes for nothing else
)

// handed are the open files that QEMU gets, by the descriptors that they have there.
type handed struct{ files []*os.File }

// add takes a file over, even when it cannot be opened, and returns its descriptor in QEMU.
func (h *handed) add(file *os.File) int {
	if firstFile+len(h.files) == logFile {
		h.files = append(h.files, file) // in that place it is never seen
	}
	h.files = append(h.files, file)
	return firstFile + len(h.files) - 1
}

func (h *handed) close() {
	for _, file := range h.files {
		file.Close()
	}
}

// open opens what a machine consists of and describes it to QEMU by descriptors.
func (c carrier) open(described description, accelerator qemu.Accelerator, tap *os.File, h *handed) (qemu.Machine, error) {
	m := qemu.Machine{
		Name: described.Name, UUID: c.id, Accelerator: accelerator, VCPUs: int((described.VCPUs + cluster.VCPU - 1) / cluster.VCPU),
		MemoryMiB: int(described.MemoryMiB), DiskPorts: cluster.MaxVolumesPerInstance, Balloon: true, PanicExit: true, FDs: []int{logFile},
	}
	var errs []error
	open := func(path string, flag int) string {
		opened, err := os.OpenFile(path, flag, 0)
		if err != nil {
			errs = append(errs, err)
			return ""
		}
		fd := h.add(opened)
		m.FDs = append(m.FDs, fd)
		return qemu.FD(fd)
	}
	file := func(name string, flag int) string { return open(c.file(name), flag) }
	key := func(k storage.Key) string {
		opened, err := k.File()
		errs = append(errs, err)
		return "/proc/self/fd/" + strconv.Itoa(h.add(opened))
	}
	if described.Base != "" {
		m.Disks = []qemu.Disk{{Path: file(diskFile, os.O_RDWR), Backing: &qemu.Backing{Path: file(baseFile, os.O_RDONLY), Format: described.Base}}}
	}
	for _, v := range described.Volumes {
		disk := diskOf(v, opener{open, key})
		disk.Removable = !described.boots(v.ID)
		m.Disks = append(m.Disks, disk)
	}
	m.Seed = file(seedFile, os.O_RDONLY)
	if described.Firmware == cluster.UEFI {
		parts, err := findUEFI()
		errs = append(errs, err)
		m.Boot.UEFI = &qemu.UEFI{Code: parts.Code, Vars: file(varsFile, os.O_RDWR)}
	}
	if tap != nil {
		m.NICs = []qemu.NIC{{MAC: described.MAC, TapFD: h.add(tap)}}
	}
	monitor := func(fd int) { m.MonitorFDs = append(m.MonitorFDs, fd) }
	for name, set := range map[string]func(fd int){
		monitorFile: monitor,
		attendFile:  monitor,
		consoleFile: func(fd int) { m.Console = qemu.Console{FD: fd, Log: qemu.FD(logFile)} },
	} {
		listener, err := c.listen(name)
		errs = append(errs, err)
		if err == nil {
			set(h.add(listener))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return m, fmt.Errorf("open the files of the machine: %w", err)
	}
	return m, nil
}

// listen makes a listening socket in the machine's directory.
func (c carrier) listen(name string) (*os.File, error) {
	if err := os.Remove(c.file(name)); err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	var listening *os.File
	err := c.short(name, func(path string) error {
		listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		if err != nil {
			return err
		}
		listener.SetUnlinkOnClose(false)
		listening, err = listener.File()
		return errors.Join(err, listener.Close())
	})
	return listening, err
}

// short calls f with a path of a file that is short whatever the directory is: that of a socket has at most 107 bytes (unix(7)).
func (c carrier) short(name string, f func(path string) error) error {
	directory, err := os.Open(c.directory)
	if err != nil {
		return err
	}
	defer directory.Close()
	return f(filepath.Join("/proc/self/fd", strconv.Itoa(int(directory.Fd())), name))
}

// What QEMU needs beside the guest's memory and the translated code, and for each disk in Ceph, of which it is a client of its own.
const (
	ownMemoryMiB    = 192
	clientMemoryMiB = 128
	clientPids      = 64
)

// limits are those of QEMU's control group.
func limits(accelerator qemu.Accelerator, described description) cgroup.Limits {
	overhead := int64(accelerator.OverheadMiB(int(described.MemoryMiB)))
	limits := cgroup.Limits{CPU: described.VCPUs, MemoryMiB: described.MemoryMiB + ownMemoryMiB + overhead, Pids: described.Pids}
	for _, v := range described.Volumes {
		if v.Place.RBD != (storage.RBD{}) {
			limits.MemoryMiB, limits.Pids = limits.MemoryMiB+clientMemoryMiB, limits.Pids+clientPids
		}
	}
	return limits
}

// command is QEMU's command line: in its control group, as a user of its own without any capability or group, but for that of /dev/kvm.
func (c carrier) command(m qemu.Machine, join []string) ([]string, error) {
	arguments, err := m.Args()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", cluster.ErrInvalid, err)
	}
	binary, err := exec.LookPath(qemu.Binary)
	if err != nil {
		return nil, fmt.Errorf("%w: QEMU is not installed on this node: %w", cluster.ErrUnavailable, err)
	}
	line := []string{
		"/bin/sh", "-c", fmt.Sprintf(`for group in %s; do echo 0 >"$group" || exit 1; done; exec "$@" %d>&1`, strings.Join(join, " "), logFile), "qemu",
	}
	return slices.Concat(line, as(userOf(c.id), m.Accelerator.Kind), []string{binary}, arguments), nil
}

// as begins the command line of what runs as a user without any capability or group, but for that of the accelerator's device.
func as(id uint64, accelerator qemu.Kind) []string {
	user := strconv.FormatUint(id, 10)
	groups := "--clear-groups"
	if accelerator == qemu.KVM {
		groups = "--groups=" + groupOfKVM()
	}
	return []string{"setpriv", "--reuid=" + user, "--regid=" + user, groups, "--no-new-privs", "--inh-caps=-all", "--bounding-set=-all"}
}

// firstUser begins a range of 2^24 user ids that neither adduser, subuid(5) nor systemd give to anybody.
const firstUser = 2_000_000_000 // the one before it runs trial guests

// userOf is the user id as which an instance's QEMU runs: another one for each instance.
func userOf(id string) uint64 {
	sum := sha256.Sum256([]byte("user/" + id))
	return firstUser + uint64(binary.BigEndian.Uint32(sum[:])>>8)
}

func groupOfKVM() string {
	info, err := os.Stat("/dev/kvm")
	if err != nil {
		return "0"
	}
	return strconv.FormatUint(uint64(info.Sys().(*syscall.Stat_t).Gid), 10)
}
