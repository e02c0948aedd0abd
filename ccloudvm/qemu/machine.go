package qemu

import (
	"net/netip"
	"strconv"
)

// Machine describes one virtual machine. The zero value of an optional field leaves the thing out.
type Machine struct {
	Name string // shown in process lists; required
	UUID string // SMBIOS system UUID, optional

	// Type is the machine type; "" means [DefaultType].
	Type string

	// Accelerator comes from [Prober.Choose].
	Accelerator Accelerator

	VCPUs     int // at least 1
	MemoryMiB int // at least 16

	Boot  Boot
	Disks []Disk // /dev/vda, /dev/vdb, ... in this order
	// DiskPorts is how many PCI Express ports there are, at most 16, that a disk can be plugged into and pulled out of while the machine runs
	// ([Monitor.AddDisk], [Monitor.RemoveDisk]). Removable disks take the first of them.
	DiskPorts int

	Seed string // path of a cloud-init seed ISO, given to the guest as a read-only CD-ROM
	NICs []NIC

	Shares   []Share
	Channels []Channel
	Console  Console

	// Monitors are the paths of QMP sockets. QEMU serves one client per socket at a time, so whoever needs its own
	// connection (the supervisor, the command line) needs its own socket.
	Monitors []string

	// MonitorFDs are descriptors of listening QMP sockets in the QEMU process, in addition to Monitors.
	MonitorFDs []int

	// FDs are descriptors in the QEMU process (see [Launch.Files]) that take the place of files: wherever a path of a disk, of the seed, of
	// the firmware or of the console's log is wanted, [FD] of one may stand. A QEMU that gets all its files so needs no file of the
	// host. A writable file must be open for reading and writing, a read-only one for reading only.
	FDs []int

	// Balloon lets the host ask the guest for memory back, and know how much it uses.
	Balloon bool

	// PanicExit ends QEMU with exit status 1 when the guest's kernel panics, as it tells by a pvpanic device. Without it there is no such
	// device.
	PanicExit bool

	// NoShutdown keeps QEMU alive, paused and answering QMP after the guest has powered off, so that how it ended can be
	// read. Whoever sets it must end QEMU ([Process.Stop] does).
	NoShutdown bool

	// LoadVM starts from this internal snapshot instead of booting.
	LoadVM string
}

// FD is the path that stands for a descriptor of [Machine.FDs].
func FD(n int) string { return "/dev/fdset/" + strconv.Itoa(n) }

// DefaultType is the machine type used when none is named.
const DefaultType = "q35"

// Boot says how the guest starts. The zero value boots the first disk through the default (legacy BIOS) firmware.
type Boot struct {
	// Kernel, Initrd and Append start a Linux kernel directly, which saves firmware and boot loader.
	Kernel, Initrd, Append string

	// Firmware is a whole firmware image that replaces the default one.
	Firmware string

	// UEFI boots through UEFI firmware with variables of the machine's own.
	UEFI *UEFI
}

// UEFI names the two halves of a UEFI firmware: shared read-only code, and this machine's writable variables.
type UEFI struct {
	Code, Vars string
}

// Disk is a virtio block device, in a file or in Ceph.
type Disk struct {
	Path   string
	Format string // "qcow2" (also for ""), or "raw"

	// RBD is a disk in a Ceph cluster, instead of Path and Format.
	RBD *RBD

	// Backing names the file that the image is an overlay of, whatever the image itself says; nil leaves it to the image.
	Backing *Backing

	// Flat says that there is nothing below the image, whatever that itself says.
	Flat bool

	Serial string // shown in the guest as /dev/disk/by-id/virtio-SERIAL, optional, at most 20 bytes

	ReadOnly bool

	// ID is by what [Monitor.RemoveDisk] knows a disk: a letter, then letters, digits and hyphens, at most 31 bytes. Removable disks need one.
	ID        string
	Removable bool

	// Volatile lets the host lose writes in a crash of the host, which makes flushes free. For machines that can be made
	// again.
	Volatile bool
}

// RBD is an image of a Ceph cluster, which QEMU's block driver of that name reaches over the network.
type RBD struct {
	Configuration   string // path of the Ceph cluster's configuration
	Pool, Namespace string // the latter is optional
	Image           string
	User            string // without the "client." before it
	Key             string // path of a file with the user's key in base64; for this one [FD] cannot stand, but /proc/self/fd/N of [Launch.Files]
}

// Backing is what an overlay is on top of.
type Backing struct {
	Path   string
	Format string // "qcow2" (also for ""), or "raw"
}

// NIC is a virtio network device; exactly one of User and TapFD is set.
type NIC struct {
	MAC   string // optional
	User  *UserNet
	TapFD int // descriptor number of an open tap device in the QEMU process (see [Launch.Files]); 0 means none
}

// UserNet is QEMU's built-in user-mode network: the guest is 10.0.2.15, the host 10.0.2.2, the name server 10.0.2.3.
type UserNet struct {
	Hostname      string // handed out by DHCP
	SearchDomains []string
	Forwards      []Forward
	Restrict      bool // no traffic but Forwards: the guest reaches neither the host nor the world
}

// Forward listens on the host and forwards to a port of the guest.
type Forward struct {
	Protocol string // "tcp" (also for ""), or "udp"
	Host     netip.AddrPort
	Guest    uint16
}

// Share gives a directory of the host to the guest, which mounts it by Tag.
type Share struct {
	Tag  string
	Path string // for 9p

	// Security is the 9p security model: "none" (also for ""; right for an ordinary user), "mapped-xattr", "mapped-file"
	// or "passthrough" (only as root).
	Security string
	ReadOnly bool

	// Virtiofs is the socket of a running virtiofsd; then the share is virtiofs instead of 9p.
	Virtiofs string
}

// Channel is a virtio-serial port: /dev/virtio-ports/NAME in the guest, a unix socket on the host that QEMU listens on.
// Bytes the guest writes while nobody is connected are kept in the guest until its writer blocks.
type Channel struct {
	Name   string
	Socket string
}

// Console is the first serial port of the guest.
type Console struct {
	Log    string         // file that receives everything written to it
	Socket string         // optional unix socket to talk to it
	FD     int            // optional descriptor of a listening socket in the QEMU process, instead of Socket; 0 means none
	Debug  netip.AddrPort // optional second serial port, listening on TCP
}
