package vm

import (
	"context"
	"os"
	"syscall"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/driver/cgroup"
)

// group is the name of an instance's control group; those of processes have the id alone behind the mark.
func (d *Driver) group(id string) string { return d.config.Mark + "-vm-" + id }

// Statistics implements driver.Sampler: what QEMU uses, and the room that the disk takes on the node.
func (d *Driver) Statistics(_ context.Context, ids []string) ([]cluster.InstanceStatistics, error) {
	samples := map[string]cgroup.Sample{}
	for _, id := range ids {
		if running, err := d.carrier(id).shim().Running(); err != nil || !running {
			continue
		}
		if used, ok := cgroup.Read(cgroup.Root, d.group(id)); ok {
			samples[id] = cgroup.Sample{At: time.Now(), Used: used}
		}
	}
	list := d.meter.Compare(samples)
	for i := range list {
		list[i].DiskMiB = d.carrier(list[i].Instance).diskMiB()
	}
	return list, nil
}

// diskMiB is the room that the machine's disk takes, its image excepted; -1 is unknown.
func (c carrier) diskMiB() int64 {
	info, err := os.Stat(c.file(diskFile))
	if err != nil {
		return -1
	}
	return info.Sys().(*syscall.Stat_t).Blocks * 512 >> 20
}
