package qemu_test

import (
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ciaocloud/ciao/ccloudvm/qemu"
	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

func machines() map[string]qemu.Machine {
	tcg, kvm := qemu.Accelerator{Kind: qemu.TCG}, qemu.Accelerator{Kind: qemu.KVM}
	user := qemu.NIC{User: &qemu.UserNet{
		Hostname: "dev", SearchDomains: []string{"example.org"},
		Forwards: []qemu.Forward{
			{Host: netip.MustParseAddrPort("127.3.232.1:10022"), Guest: 22},
			{Protocol: "udp", Host: netip.MustParseAddrPort("127.3.232.1:5353"), Guest: 53},
		},
	}}
	return map[string]qemu.Machine{
		"direct": {
			Name: "dev", UUID: "7f1c9a52-5f0e-4c43-8f5b-000000000001", Accelerator: tcg, VCPUs: 2, MemoryMiB: 4000,
			Boot:     qemu.Boot{Kernel: "/img/kernel", Initrd: "/img/initrd", Append: "root=/dev/vda console=ttyS0"},
			Disks:    []qemu.Disk{{Path: "/vm/disk.qcow2", Volatile: true}, {Path: "/data, all.raw", Format: "raw", ReadOnly: true, Serial: "data"}},
			Seed:     "/vm/seed.iso",
			NICs:     []qemu.NIC{user},
			Shares:   []qemu.Share{{Tag: "go", Path: "/home/me/a,b"}, {Tag: "ro", Path: "/srv", Security: "mapped-xattr", ReadOnly: true}},
			Channels: []qemu.Channel{{Name: "org.ciao.progress", Socket: "/run/vm/progress"}},
			Console:  qemu.Console{Log: "/vm/console.log"},
			Monitors: []string{"/run/vm/qmp0", "/run/vm/qmp1"}, NoShutdown: true,
		},
		"firmware": {
			Name: "cloud", Accelerator: kvm, VCPUs: 1, MemoryMiB: 1024,
			Disks:   []qemu.Disk{{Path: "/vm/disk.qcow2"}},
			NICs:    []qemu.NIC{{MAC: "52:54:00:00:00:01", TapFD: 3}},
			Console: qemu.Console{Log: "/vm/console.log", Socket: "/run/vm/console", Debug: netip.MustParseAddrPort("127.0.0.1:4444")},
		},
		"uefi-restore": {
			Name: "golden", Type: "pc-q35-7.2", Accelerator: qemu.Accelerator{Kind: qemu.KVM, CPU: "qemu64"}, VCPUs: 1, MemoryMiB: 512,
			Boot:   qemu.Boot{UEFI: &qemu.UEFI{Code: "/usr/share/OVMF/OVMF_CODE.fd", Vars: "/vm/vars.fd"}},
			Disks:  []qemu.Disk{{Path: "/vm/disk.qcow2"}},
			NICs:   []qemu.NIC{{User: &qemu.UserNet{Restrict: true}}},
			Shares: []qemu.Share{{Tag: "src", Virtiofs: "/run/vm/virtiofs"}},
			LoadVM: "ready",
		},
		"descriptors": {
			Name: "cloud", Accelerator: tcg, VCPUs: 1, MemoryMiB: 128, FDs: []int{6, 7, 8, 9, 10},
			Disks: []qemu.Disk{{Path: qemu.FD(6), Backing: &qemu.Backing{Path: qemu.FD(7), Format: "raw"}}, {Path: qemu.FD(10), Flat: true, Serial: "volume"}}, Seed: qemu.FD(8),
			NICs: []qemu.NIC{{MAC: "52:54:00:00:00:01", TapFD: 5}}, Console: qemu.Console{FD: 11, Log: qemu.FD(9)},
			MonitorFDs: []int{12}, Balloon: true, PanicExit: true,
		},
		"ceph": {
			Name: "cloud", VCPUs: 1, MemoryMiB: 128,
			Disks: []qemu.Disk{
				{RBD: &qemu.RBD{Configuration: "/etc/ceph/ceph, 1.conf", Pool: "volumes", Image: "root", User: "ciao", Key: "/proc/self/fd/6"}, Flat: true},
				{RBD: &qemu.RBD{Configuration: "/c", Pool: "p", Namespace: "n", Image: "i", User: "u", Key: "/proc/self/fd/7"}, Serial: "data", ReadOnly: true},
			},
		},
		"disk-ports": {
			Name: "cloud", Accelerator: tcg, VCPUs: 1, MemoryMiB: 128, FDs: []int{6, 7}, DiskPorts: 9,
			Disks: []qemu.Disk{{Path: "/vm/disk.qcow2"}, {Path: qemu.FD(6), Flat: true, ID: "volume-a", Removable: true}, {Path: qemu.FD(7), Flat: true, ID: "volume-b", Removable: true, Serial: "b", ReadOnly: true}},
		},
		"bios": {Name: "bios", VCPUs: 1, MemoryMiB: 64, Boot: qemu.Boot{Firmware: "/vm/bios.bin"}},
	}
}

func TestArgs(t *testing.T) {
	for name, m := range machines() {
		t.Run(name, func(t *testing.T) {
			args, err := m.Args()
			if err != nil {
				t.Fatal(err)
			}
			var b strings.Builder
			for _, a := range args {
				if strings.HasPrefix(a, "-") && b.Len() > 0 {
					b.WriteString("\n")
				} else if b.Len() > 0 {
					b.WriteString(" ")
				}
				b.WriteString(a)
			}
			got, file := b.String()+"\n", filepath.Join("testdata", name+".args")
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), got); d != "" {
				t.Errorf("arguments (-want +got), -update accepts them:\n%s", d)
			}
		})
	}
}

func TestArgsRefuses(t *testing.T) {
	good := func() qemu.Machine { return qemu.Machine{Name: "m", VCPUs: 1, MemoryMiB: 64} }
	long := "/tmp/" + strings.Repeat("x", 110)
	for _, c := range []struct {
		name   string
		change func(*qemu.Machine)
		want   string
	}{
		{"no name", func(m *qemu.Machine) { m.Name = "" }, "name is empty"},
		{"no CPU", func(m *qemu.Machine) { m.VCPUs = 0 }, "vcpus is 0"},
		{"no memory", func(m *qemu.Machine) { m.MemoryMiB = 1 }, "memory is 1 MiB"},
		{"initrd alone", func(m *qemu.Machine) { m.Boot.Initrd = "/i" }, "no kernel"},
		{"two firmwares", func(m *qemu.Machine) { m.Boot = qemu.Boot{Firmware: "b", UEFI: &qemu.UEFI{Code: "c", Vars: "v"}} }, "both UEFI and a firmware"},
		{"half UEFI", func(m *qemu.Machine) { m.Boot.UEFI = &qemu.UEFI{Code: "c"} }, "both code and variables"},
		{"disk format", func(m *qemu.Machine) { m.Disks = []qemu.Disk{{Path: "/d", Format: "iso,x"}} }, "disks[0].format"},
		{"half of Ceph", func(m *qemu.Machine) { m.Disks = []qemu.Disk{{RBD: &qemu.RBD{Pool: "p"}}} }, "disks[0].rbd.image is empty"},
		{"Ceph and a file", func(m *qemu.Machine) { m.Disks = []qemu.Disk{{Path: "/d", RBD: &qemu.RBD{}}} }, "and so is a file"},
		{"no port for a disk", func(m *qemu.Machine) { m.Disks = []qemu.Disk{{Path: "/d", ID: "d", Removable: true}} }, "disk ports are 0"},
		{"too many ports", func(m *qemu.Machine) { m.DiskPorts = 17 }, "disk ports are 17"},
		{"no id of a removable disk", func(m *qemu.Machine) { m.DiskPorts, m.Disks = 1, []qemu.Disk{{Path: "/d", ID: "1,x", Removable: true}} }, "disks[0].id"},
		{"no network kind", func(m *qemu.Machine) { m.NICs = []qemu.NIC{{}} }, "nics[0] needs"},
		{"forward", func(m *qemu.Machine) {
			m.NICs = []qemu.NIC{{User: &qemu.UserNet{Forwards: []qemu.Forward{{Guest: 22}}}}}
		}, "nics[0].forwards[0]"},
		{"share", func(m *qemu.Machine) { m.Shares = []qemu.Share{{Tag: "t", Path: "relative"}} }, `shares[0].path is "relative"`},
		{"security", func(m *qemu.Machine) { m.Shares = []qemu.Share{{Tag: "t", Path: "/p", Security: "x"}} }, "shares[0].security"},
		{"long socket", func(m *qemu.Machine) { m.Monitors = []string{long} }, "the system allows 107"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := good()
			c.change(&m)
			if _, err := m.Args(); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Args = %v, want %q", err, c.want)
			}
		})
	}
}
