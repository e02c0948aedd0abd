package volume

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ciaocloud/ciao/bat"
	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/api"
)

// watching tells on the console which disks there are beside the machine's own, whenever that changes, with the first four letters of each; it
// writes mine to one that begins with nothing.
const watching = `#cloud-config
bootcmd:
- |
  watch() {
    while :; do
      now=
      for disk in /sys/block/vd[b-z]; do
        [ -e "$disk/serial" ] || continue
        name=${disk##*/}
        [ -n "$(head -c 4 "/dev/$name")" ] || printf mine | dd of="/dev/$name" conv=fsync
        now="$now; disk $(cat "$disk/serial") has $(head -c 4 "/dev/$name")"
      done 2>/dev/null
      [ "${now:-; no disk}" = "$before" ] || echo "${now:-; no disk}."
      before=${now:-; no disk}
      usleep 100000
    done
  }
  watch &
`

// runningMachine gives a machine that runs a disk, which its guest finds and writes to, takes it away and gives it again.
func runningMachine(ctx context.Context, t *bat.T) {
	if !slices.Contains(t.Kinds(ctx), cluster.KindVM) {
		t.Skipf("no node runs virtual machines, or there is no public workload whose image they could have")
	}
	tenant := t.Tenant(ctx)
	recipe := t.Cluster.SleeperOf(cluster.KindVM, "watching")
	recipe.CloudInit = watching
	tenant.Workload(ctx, recipe)
	vm := tenant.Active(ctx, tenant.Create(ctx, api.CreateInstances{Workload: "watching", Name: "vm"}))[0]
	made := tenant.Volume(ctx, api.CreateVolume{Name: "data", SizeMiB: 1})
	disk := fmt.Sprintf("disk %s has mine", made.ID[:20])
	says(ctx, t, tenant, "without a disk", "no disk.", 1)

	var now api.Volume
	t.Ciao(ctx, tenant.ID, "attach", "volume", "data", "vm", "--wait", "-o", "json").JSON(t, "attach to a running machine", &now)
	if now.State != cluster.VolumeAttached || now.Instance != vm.ID || now.Node != vm.Node || now.Content != cluster.ContentDisk {
		t.Errorf("the attached volume is %+v", now)
	}
	says(ctx, t, tenant, "the guest finds the disk", disk, 1)
	t.Ciao(ctx, tenant.ID, "attach", "volume", "data", "vm").Refuses(t, "attach twice", 4, "detach it first")
	t.Ciao(ctx, tenant.ID, "delete", "volume", "data").Refuses(t, "delete what it has", 4, "detach it first")
	t.Ciao(ctx, tenant.ID, "detach", "volume", "data", "--wait", "-o", "json").JSON(t, "detach from a running machine", &now)
	if now.State != cluster.VolumeAvailable || now.Instance != "" || now.Node != vm.Node {
		t.Errorf("the detached volume is %+v", now)
	}
	says(ctx, t, tenant, "the disk is gone", "no disk.", 2)
	t.Ciao(ctx, tenant.ID, "detach", "volume", "data").Refuses(t, "detach what nothing has", 4, "no instance has it")

	t.Ciao(ctx, tenant.ID, "attach", "volume", "data", "vm", "--wait").Works(t, "attach again")
	says(ctx, t, tenant, "the guest finds the disk again, as it left it", disk, 2)
	tenant.Stop(ctx, vm)
	if now = tenant.VolumeIn(ctx, "data", cluster.VolumeAttached); now.Instance != vm.ID {
		t.Errorf("the volume of the stopped machine is %+v", now)
	}
	tenant.Delete(ctx, vm)
	tenant.DeleteVolumes(ctx, "data")
}

// says waits until the machine's console, of all its runs, has said something so many times.
func says(ctx context.Context, t *bat.T, tenant *bat.Tenant, what, words string, times int) {
	limited, cancel := context.WithTimeout(ctx, t.Cluster.Scale(2*bat.LaunchTime)) // the guest has to boot
	defer cancel()
	look := time.NewTicker(200 * time.Millisecond)
	defer look.Stop()
	for {
		said := t.Ciao(ctx, tenant.ID, "logs", "vm").Works(t, "logs").Out
		if strings.Count(said, words) >= times {
			return
		}
		select {
		case <-limited.Done():
			t.Fatalf("%s: its console does not say %q %d times, but at its end %q", what, words, times, said[max(0, len(said)-300):])
		case <-look.C:
		}
	}
}
