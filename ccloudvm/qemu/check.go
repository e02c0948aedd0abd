package qemu

import (
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// maxSocketPath is the longest path of a unix socket: sun_path has 108 bytes with the terminating zero (unix(7)).
const maxSocketPath = 107

// check collects everything about m that QEMU would refuse, or worse, accept.
func (m Machine) check() error {
	var errs []error
	bad := func(field, format string, a ...any) {
		errs = append(errs, fmt.Errorf("%s %s", field, fmt.Sprintf(format, a...)))
	}
	if m.Name == "" {
		bad("name", "is empty")
	}
	if m.VCPUs < 1 || m.VCPUs > 255 {
		bad("vcpus", "is %d, must be between 1 and 255", m.VCPUs)
	}
	if m.MemoryMiB < 16 {
		bad("memory", "is %d MiB, must be at least 16", m.MemoryMiB)
	}
	m.checkBoot(bad)
	for i, d := range m.Disks {
		d.check(fmt.Sprintf("disks[%d]", i), bad)
	}
	if n := m.removable(); m.DiskPorts < 0 || m.DiskPorts > maxDiskPorts || n > m.DiskPorts {
		bad("disk ports", "are %d, must be from the number of removable disks, %d, to %d", m.DiskPorts, n, maxDiskPorts)
	}
	for i, n := range m.NICs {
		n.check(fmt.Sprintf("nics[%d]", i), bad)
	}
	for i, s := range m.Shares {
		s.check(fmt.Sprintf("shares[%d]", i), bad)
	}
	for _, path := range m.sockets() {
		if len(path) > maxSocketPath {
			bad("socket", "%s is %d bytes long, the system allows %d: use a shorter runtime directory", path, len(path), maxSocketPath)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("machine %q cannot run: %w", m.Name, err)
	}
	return nil
}

type reporter func(field, format string, a ...any)

func (m Machine) checkBoot(bad reporter) {
	b := m.Boot
	if b.Kernel == "" && (b.Initrd != "" || b.Append != "") {
		bad("boot", "has an initrd or a command line but no kernel")
	}
	if b.UEFI != nil && b.Firmware != "" {
		bad("boot", "has both UEFI and a firmware image")
	}
	if b.UEFI != nil && b.Kernel != "" {
		bad("boot", "has both UEFI and a kernel")
	}
	if b.UEFI != nil && (b.UEFI.Code == "" || b.UEFI.Vars == "") {
		bad("boot", "needs both code and variables of UEFI")
	}
}

func (d Disk) check(field string, bad reporter) {
	switch {
	case d.RBD != nil:
		d.RBD.check(field+".rbd", bad)
		if d.Path != "" || d.Format != "" || d.Backing != nil {
			bad(field+".rbd", "is set, and so is a file")
		}
	case d.Path == "":
		bad(field+".path", "is empty")
	}
	if !slices.Contains([]string{"", "qcow2", "raw"}, d.Format) {
		bad(field+".format", "is %q, must be qcow2 or raw", d.Format)
	}
	if d.Flat && d.Backing != nil {
		bad(field+".flat", "is set, and so is what the image is an overlay of")
	}
	if d.Removable && !diskID.MatchString(d.ID) {
		bad(field+".id", "is %q, must be a letter and up to 30 letters, digits and hyphens", d.ID)
	}
	if len(d.Serial) > 20 {
		bad(field+".serial", "is %d bytes long, virtio allows 20", len(d.Serial))
	}
}

func (r RBD) check(field string, bad reporter) {
	for name, value := range map[string]string{"configuration": r.Configuration, "pool": r.Pool, "image": r.Image, "user": r.User, "key": r.Key} {
		if value == "" {
			bad(field+"."+name, "is empty")
		}
	}
}

// diskID is what can name a node of the block layer (31 bytes, BlockNodeName in QEMU's sources) and a device.
var diskID = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9-]{0,30}$`)

// maxDiskPorts is what two slots of the root bus have room for.
const maxDiskPorts = 16

func (m Machine) removable() (n int) {
	for _, d := range m.Disks {
		if d.Removable {
			n++
		}
	}
	return n
}

func (n NIC) check(field string, bad reporter) {
	if (n.User == nil) == (n.TapFD == 0) {
		bad(field, "needs either a user network or a tap descriptor")
	}
	if n.User == nil {
		return
	}
	for i, f := range n.User.Forwards {
		if !f.Host.IsValid() || f.Host.Port() == 0 || !f.Host.Addr().Is4() || f.Guest == 0 {
			bad(fmt.Sprintf("%s.forwards[%d]", field, i), "needs an IPv4 address and a port on the host, and a port of the guest")
		}
		if p := f.protocol(); p != "tcp" && p != "udp" {
			bad(fmt.Sprintf("%s.forwards[%d].protocol", field, i), "is %q, must be tcp or udp", p)
		}
	}
}

func (s Share) check(field string, bad reporter) {
	if s.Tag == "" || len(s.Tag) > 31 { // limit of virtio-9p (P9_MAXTAG) and near virtiofs' 36
		bad(field+".tag", "is %q, must have 1 to 31 bytes", s.Tag)
	}
	if s.Virtiofs == "" && !filepath.IsAbs(s.Path) {
		bad(field+".path", "is %q, must be absolute", s.Path)
	}
	if !slices.Contains([]string{"", "none", "mapped", "mapped-xattr", "mapped-file", "passthrough"}, s.Security) {
		bad(field+".security", "is %q, must be none, mapped-xattr, mapped-file or passthrough", s.Security)
	}
}

func (m Machine) usesVirtiofs() bool {
	return slices.ContainsFunc(m.Shares, func(s Share) bool { return s.Virtiofs != "" })
}

// sockets are the unix sockets that QEMU listens on or connects to.
func (m Machine) sockets() []string {
	list := slices.Clone(m.Monitors)
	for _, c := range m.Channels {
		list = append(list, c.Socket)
	}
	for _, s := range m.Shares {
		list = append(list, s.Virtiofs)
	}
	list = append(list, m.Console.Socket)
	return slices.DeleteFunc(list, func(s string) bool { return strings.TrimSpace(s) == "" })
}
