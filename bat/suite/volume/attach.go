package volume

import (
	"context"

	"github.com/ciaocloud/ciao/bat"
	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/api"
)

// noting writes a word to a volume if there is one, and waits until it is asked to end. The directory that a volume was bound to stays.
const noting = `! grep -q ' /data ' /proc/mounts || echo attached > /data/word; trap 'exit 0' TERM; while :; do sleep 3600 & wait $!; done`

func attachDetach(ctx context.Context, t *bat.T) {
	tenant := t.Tenant(ctx)
	tenant.Workload(ctx, t.Cluster.Container("noting", noting))
	owner := tenant.Active(ctx, tenant.Create(ctx, api.CreateInstances{Workload: "noting", Name: "owner"}))[0]
	tenant.Volume(ctx, api.CreateVolume{Name: "data", SizeMiB: 1})
	tenant.Stop(ctx, owner)
	t.Ciao(ctx, tenant.ID, "attach", "volume", "data", "owner").Refuses(t, "attach without a target", 2, "target")
	t.Ciao(ctx, tenant.ID, "attach", "volume", "data", "owner", "--target", "data").Refuses(t, "a target that is no path", 2, "absolute")
	t.Ciao(ctx, tenant.ID, "attach", "volume", "data", "nobody", "--target", target).Refuses(t, "attach to nobody", 3, "nobody")
	var attached api.Volume
	t.Ciao(ctx, tenant.ID, "attach", "volume", "data", "owner", "--target", target, "-o", "json").JSON(t, "attach volume", &attached)
	if attached.State != cluster.VolumeAttached || attached.Instance != owner.ID || attached.Target != target || attached.Node != owner.Node {
		t.Errorf("the attached volume is %+v", attached)
	}
	tenant.Start(ctx, owner)
	inside(ctx, t, tenant, "[ $(cat /data/word) = attached ]")
	tenant.Stop(ctx, owner)
	var detached api.Volume
	t.Ciao(ctx, tenant.ID, "detach", "volume", "data", "-o", "json").JSON(t, "detach volume", &detached)
	if detached.State != cluster.VolumeAvailable || detached.Instance != "" || detached.Target != "" {
		t.Errorf("the detached volume is %+v", detached)
	}
	tenant.Start(ctx, owner)
	inside(ctx, t, tenant, "! grep -q ' /data ' /proc/mounts && [ ! -e /data/word ]")
	once(ctx, t, tenant, "[ $(cat /data/word) = attached ]", at("data"))
}

// inside runs a script in the instance owner, which may just have begun.
func inside(ctx context.Context, t *bat.T, tenant *bat.Tenant, script string) {
	t.Ciao(ctx, tenant.ID, "exec", "owner", "--", "sh", "-c", "for i in 1 2 3 4 5 6 7 8 9 10; do "+script+" 2>/dev/null && exit 0; sleep 1; done; exit 1").Works(t, script)
}

func inUse(ctx context.Context, t *bat.T) {
	tenant := t.Tenant(ctx)
	tenant.Volume(ctx, api.CreateVolume{Name: "data", SizeMiB: 1})
	tenant.Volume(ctx, api.CreateVolume{Name: "spare", SizeMiB: 1})
	tenant.Workload(ctx, t.Cluster.Sleeper("sleeper"))
	owner := tenant.Active(ctx, tenant.Create(ctx, api.CreateInstances{Workload: "sleeper", Name: "owner", Volumes: []api.InstanceVolume{at("data")}}))[0]
	t.Ciao(ctx, tenant.ID, "detach", "volume", "data").Refuses(t, "detach from a running instance", 4, "stop it first")
	t.Ciao(ctx, tenant.ID, "attach", "volume", "spare", "owner", "--target", "/spare").Refuses(t, "attach to a running container", 4, "stop it first")
	t.Ciao(ctx, tenant.ID, "detach", "volume", "spare").Refuses(t, "detach of what nothing has", 4, "no instance has it")
	taken := func(when string) {
		t.Ciao(ctx, tenant.ID, "delete", "volume", "data").Refuses(t, when+": delete", 4, "detach it first")
		t.Ciao(ctx, tenant.ID, "create", "volume", "copy", "--volume", "data").Refuses(t, when+": copy", 4, "attached")
		t.Ciao(ctx, tenant.ID, "create", "instance", "sleeper", "--volume", "data:/data").Refuses(t, when+": a second instance", 4, "owner")
	}
	taken("running")
	tenant.Stop(ctx, owner)
	taken("stopped")
	t.Ciao(ctx, tenant.ID, "attach", "volume", "data", "owner", "--target", "/other").Refuses(t, "attach twice", 4, "owner")
	t.Ciao(ctx, tenant.ID, "attach", "volume", "spare", "owner", "--target", target).Refuses(t, "two volumes at one target", 2, "data")
	if v := tenant.VolumeIn(ctx, "data", cluster.VolumeAttached); v.Instance != owner.ID || v.Target != target {
		t.Errorf("after all refusals the volume is %+v", v)
	}
	if all := list(ctx, t, tenant); len(all) != 2 || len(tenant.List(ctx)) != 1 {
		t.Errorf("after all refusals there are %d volumes and %d instances, expected 2 and 1", len(all), len(tenant.List(ctx)))
	}
	tenant.Delete(ctx, owner)
	tenant.DeleteVolumes(ctx, "data", "spare")
	counted(ctx, t, tenant, "after the delete", 0, 0)
}
