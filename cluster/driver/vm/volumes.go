package vm

import (
	"fmt"
	"os"

	"github.com/ciaocloud/ciao/ccloudvm/qemu"
	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/driver"
	"github.com/ciaocloud/ciao/cluster/storage"
)

// Stores implements driver.Storer: a machine has a volume as a disk.
func (d *Driver) Stores(content cluster.VolumeContent) bool { return content == cluster.ContentDisk }

// reachable refuses volumes that are no disks.
func reachable(volumes []driver.Volume) error {
	for _, v := range volumes {
		if v.Place.Content() != cluster.ContentDisk {
			return fmt.Errorf("volume %s: %w: a virtual machine needs a disk", v.Name, cluster.ErrInvalid)
		}
	}
	return nil
}

// opener opens for QEMU what it may not open itself, and returns the paths under which it finds that.
type opener struct {
	file func(path string, flag int) string
	key  func(storage.Key) string
}

// diskOf is a volume as a disk of the machine.
func diskOf(v driver.Volume, open opener) qemu.Disk {
	disk := qemu.Disk{Flat: true, ID: diskID(v.ID), Serial: serial(v.ID), ReadOnly: v.ReadOnly}
	if remote := v.Place.RBD; remote != (storage.RBD{}) {
		disk.RBD = &qemu.RBD{
			Configuration: remote.Configuration, Pool: remote.Pool, Namespace: remote.Namespace, Image: remote.Image, User: remote.User, Key: open.key(remote.Key),
		}
		return disk
	}
	flag := os.O_RDWR
	if v.ReadOnly {
		flag = os.O_RDONLY
	}
	disk.Path, disk.Format = open.file(v.Place.File.Path, flag), string(v.Place.File.Format)
	return disk
}

// diskID is by what QEMU knows a volume.
func diskID(volume string) string { return "volume-" + serial(volume) }

// serial is by what a guest knows a volume: /dev/disk/by-id/virtio-SERIAL. A disk's has at most 20 bytes, so it is the beginning of the id.
func serial(id string) string { return id[:min(20, len(id))] }
