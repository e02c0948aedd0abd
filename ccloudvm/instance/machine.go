package instance

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"

	"github.com/ciaocloud/ciao/ccloudvm"
	"github.com/ciaocloud/ciao/ccloudvm/guest"
	"github.com/ciaocloud/ciao/ccloudvm/qemu"
)

// machine is the virtual machine of a record. sockets is its directory for sockets.
func machine(r *Record, l Layout, accelerator qemu.Accelerator, sockets string) (qemu.Machine, error) {
	vm := r.Spec.VM
	m := qemu.Machine{
		Name: r.Name, UUID: r.UUID, Accelerator: accelerator, VCPUs: vm.CPUs, MemoryMiB: vm.MemMiB,
		Boot:     qemu.Boot{Kernel: r.Image.Kernel, Initrd: r.Image.Initrd, Append: r.Image.Append},
		Disks:    []qemu.Disk{{Path: l.file(r.Name, diskFile), Format: "qcow2"}},
		Seed:     l.file(r.Name, seedFile),
		Channels: []qemu.Channel{{Name: guest.ProgressPort, Socket: filepath.Join(sockets, progressSocket)}},
		Console:  qemu.Console{Log: l.ConsoleLog(r.Name)},
		Monitors: []string{filepath.Join(sockets, superviseSocket), filepath.Join(sockets, commandSocket), filepath.Join(sockets, statusSocket)},
		// How the guest ended can be read; the supervisor, or else the next command, ends QEMU.
		NoShutdown: true,
	}
	if r.Spec.BIOS != "" {
		m.Boot.Firmware = l.file(r.Name, biosFile)
	}
	for _, d := range vm.Drives {
		disk, err := drive(d)
		if err != nil {
			return m, err
		}
		m.Disks = append(m.Disks, disk)
	}
	for _, s := range r.Shares {
		if s.Backend == ccloudvm.Backend9P {
			m.Shares = append(m.Shares, qemu.Share{Tag: s.Tag, Path: s.Path, Security: s.SecurityModel, ReadOnly: s.ReadOnly})
		}
	}
	if vm.QEMUPort != 0 {
		m.Console.Debug = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(vm.QEMUPort))
	}
	m.NICs = []qemu.NIC{{User: network(r)}}
	return m, nil
}

func network(r *Record) *qemu.UserNet {
	n := &qemu.UserNet{Hostname: r.Name, SearchDomains: r.SearchDomains}
	for _, p := range r.Spec.VM.Ports {
		n.Forwards = append(n.Forwards, qemu.Forward{Host: netip.AddrPortFrom(r.Address, uint16(p.Host)), Guest: uint16(p.Guest)})
	}
	return n
}

// drive understands the options of QEMU's -drive that make sense for a further disk.
func drive(d ccloudvm.Drive) (qemu.Disk, error) {
	disk := qemu.Disk{Path: d.Path, Format: d.Format}
	for option := range strings.SplitSeq(d.Options, ",") {
		key, value, _ := strings.Cut(strings.TrimSpace(option), "=")
		switch key {
		case "":
		case "readonly", "read-only":
			disk.ReadOnly = value == "" || value == "on"
		case "cache":
			disk.Volatile = value == "unsafe"
		case "serial":
			disk.Serial = value
		case "if", "media", "aio", "discard": // virtio disks with the best of each
		default:
			return disk, &ccloudvm.Error{Class: ccloudvm.ErrInvalid,
				Text: fmt.Sprintf("drive %s: the option %s is not supported: there are readonly=on, cache=unsafe and serial=TEXT", d.Path, key)}
		}
	}
	return disk, nil
}
