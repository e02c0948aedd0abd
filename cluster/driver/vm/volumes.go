package vm

import (
	"fmt"
	"os"

	"github.com/ciaocloud/ciao/ccloudvm/qemu"
	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/driver"
)

// Stores implements driver.Storer: a machine has a volume as a disk.
func (d *Driver) Stores(content cluster.VolumeContent) bool { return content == cluster.ContentDisk }

// reachable refuses volumes that QEMU is not told how to reach.
func reachable(volumes []driver.Volume) error {
	for _, v := range volumes {
		if v.Place.File.Path == "" {
			return fmt.Errorf("volume %s: %w: virtual machines of this node have disks in files only", v.Name, cluster.ErrInvalid)
		}
	}
	return nil
}

// diskOf is a volume as a disk of the machine; open opens a file for QEMU and returns the path under which it finds it.
func diskOf(v driver.Volume, open func(path string, flag int) string) qemu.Disk {
	flag := os.O_RDWR
	if v.ReadOnly {
		flag = os.O_RDONLY
	}
	return qemu.Disk{
		Path: open(v.Place.File.Path, flag), Format: string(v.Place.File.Format), Flat: true, Serial: serial(v.ID), ReadOnly: v.ReadOnly,
	}
}

// serial is by what a guest knows a volume: /dev/disk/by-id/virtio-SERIAL. A disk's has at most 20 bytes, so it is the beginning of the id.
func serial(id string) string { return id[:min(20, len(id))] }
