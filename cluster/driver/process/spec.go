package process

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/ciaocloud/ciao/cluster/network/netns"
)

const (
	initPath  = "/dev/init" // of the init, in the process's view
	cpuPeriod = 100_000     // microseconds
)

// privileges are what a privileged process may do: what the Docker Engine gives to every container.
var privileges = []string{
	"CAP_AUDIT_WRITE", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_MKNOD", "CAP_NET_BIND_SERVICE",
	"CAP_NET_RAW", "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_CHROOT",
}

// spec is what the runtime is told.
func (d *Driver) spec(c carrier, described description) (*specs.Spec, error) {
	mounts, err := d.mounts(c, described)
	if err != nil {
		return nil, err
	}
	return &specs.Spec{
		Version:  "1.0.2",
		Root:     &specs.Root{Path: c.file("root")},
		Hostname: described.Name,
		Process:  d.process(described),
		Mounts:   mounts,
		Linux: &specs.Linux{
			CgroupsPath: "/" + d.mark(c.id),
			Resources:   resources(described),
			Namespaces: []specs.LinuxNamespace{
				{Type: specs.NetworkNamespace, Path: netns.Path(d.mark(c.id))},
				{Type: specs.MountNamespace}, {Type: specs.PIDNamespace}, {Type: specs.IPCNamespace}, {Type: specs.UTSNamespace}, {Type: specs.CgroupNamespace},
			},
			MaskedPaths: []string{
				"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/sched_debug",
				"/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/firmware", "/sys/devices/virtual/powercap",
			},
			ReadonlyPaths: []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"},
		},
	}, nil
}

// process is the command under its init, which the kernel kills with the runtime.
func (d *Driver) process(described description) *specs.Process {
	process := &specs.Process{
		User:            specs.User{UID: described.UID, GID: described.GID, AdditionalGids: described.Groups},
		Args:            append([]string{initPath, "-p", "SIGKILL", "--"}, described.Spec.Command...),
		Env:             environment(described),
		Cwd:             described.Spec.Directory,
		Capabilities:    &specs.LinuxCapabilities{},
		NoNewPrivileges: true,
		Rlimits:         []specs.POSIXRlimit{{Type: "RLIMIT_CORE"}},
	}
	if described.Spec.Privileged {
		process.NoNewPrivileges = false
		process.Capabilities = &specs.LinuxCapabilities{Bounding: privileges, Effective: privileges, Permitted: privileges}
	}
	return process
}

func environment(described description) []string {
	variables := map[string]string{"PATH": searchPath, "HOME": described.Home, "HOSTNAME": described.Name}
	maps.Copy(variables, described.Spec.Environment)
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(variables)) {
		lines = append(lines, name+"="+variables[name])
	}
	return lines
}

func resources(described description) *specs.LinuxResources {
	requirements := described.Spec.Requirements
	memory, period := requirements.MemoryMiB<<20, uint64(cpuPeriod)
	quota, pids := int64(requirements.VCPUs)*cpuPeriod/1000, requirements.Pids
	return &specs.LinuxResources{
		Devices: []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}}, // the runtime allows /dev/null and its like
		Memory:  &specs.LinuxMemory{Limit: &memory, Swap: &memory},        // memory and swap together: no swap
		CPU:     &specs.LinuxCPU{Quota: &quota, Period: &period},
		Pids:    &specs.LinuxPids{Limit: pids},
	}
}

// mounts are the kernel's own file systems, what is made for this process alone, what it sees of the node, and its volumes.
func (d *Driver) mounts(c carrier, described description) ([]specs.Mount, error) {
	hidden := []string{"nosuid", "noexec", "nodev"}
	half := fmt.Sprintf("size=%dk", described.Spec.Requirements.MemoryMiB<<9) // of the memory, as the kernel's default is of the machine's
	mounts := []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: hidden},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=64k"}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"}},
		{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: append([]string{"mode=1777", half}, hidden...)},
		{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: hidden},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: append([]string{"ro"}, hidden...)},
		{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: append([]string{"ro", "relatime"}, hidden...)},
		readable(d.init, initPath),
	}
	if described.Spec.Image == "" {
		mounts = append(mounts,
			specs.Mount{Destination: "/tmp", Type: "tmpfs", Source: "tmp", Options: []string{"nosuid", "nodev", half}},
			specs.Mount{Destination: "/run", Type: "tmpfs", Source: "run", Options: []string{"nosuid", "nodev", half}})
	}
	for _, shared := range d.shared(described.Spec) {
		mounts = append(mounts, readable(shared, shared))
	}
	for name, content := range map[string]string{"resolv.conf": resolver(described), "hosts": hosts(described), "hostname": described.Name + "\n"} {
		if err := os.WriteFile(c.file(name), []byte(content), 0o644); err != nil {
			return nil, fmt.Errorf("write %s of instance %s: %w", name, c.id, err)
		}
		mounts = append(mounts, readable(c.file(name), "/etc/"+name))
	}
	for _, v := range described.Volumes {
		mounts = append(mounts, bound(v))
	}
	return mounts, nil
}

// readable is a file or directory of the node that may be read. What else is mounted below it is not in sight.
func readable(source, destination string) specs.Mount {
	return specs.Mount{Destination: destination, Type: "bind", Source: source, Options: []string{"bind", "ro", "nosuid", "nodev"}}
}

// resolver is resolv.conf(5): the gateway of a subnet answers for names.
func resolver(described description) string {
	var text strings.Builder
	if described.Network.Domain != "" {
		fmt.Fprintf(&text, "search %s\n", described.Network.Domain)
	}
	if described.Network.Gateway.IsValid() {
		fmt.Fprintf(&text, "nameserver %s\n", described.Network.Gateway)
	}
	return text.String()
}

// hosts is hosts(5).
func hosts(described description) string {
	text := "127.0.0.1\tlocalhost\n::1\tlocalhost\n"
	names := described.Name
	if described.Network.Domain != "" {
		names = described.Name + "." + described.Network.Domain + " " + described.Name
	}
	for _, address := range described.Network.Addresses {
		text += fmt.Sprintf("%s\t%s\n", address, names)
	}
	return text
}
