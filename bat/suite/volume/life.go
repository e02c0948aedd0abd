package volume

import (
	"context"
	"fmt"

	"github.com/ciaocloud/ciao/bat"
	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/api"
)

// counted fails the test unless the tenant's usage is exactly that.
func counted(ctx context.Context, t *bat.T, tenant *bat.Tenant, when string, volumes, diskMiB float64) {
	if used := tenant.Usage(ctx); used[api.QuotaVolumes] != volumes || used[api.QuotaDiskMiB] != diskMiB {
		t.Errorf("%s: %g volumes and %g MiB are counted, expected %g and %g", when, used[api.QuotaVolumes], used[api.QuotaDiskMiB], volumes, diskMiB)
	}
}

func list(ctx context.Context, t *bat.T, tenant *bat.Tenant) []api.Volume {
	all, err := tenant.API.Volumes(ctx)
	t.Need(err, "list volumes")
	return all
}

func life(ctx context.Context, t *bat.T) {
	const n = 10
	tenant := t.Tenant(ctx)
	for k := range n {
		var made, shown api.Volume
		name := fmt.Sprint("volume-", k)
		t.Ciao(ctx, tenant.ID, "create", "volume", name, "--size", "3MiB", "-o", "json").JSON(t, "create volume", &made)
		t.Ciao(ctx, tenant.ID, "show", "volume", name, "-o", "json").JSON(t, "show volume", &shown)
		if shown != made || made.SizeMiB != 3 || made.State != cluster.VolumeAvailable || made.Name != name || made.Tenant != tenant.ID || made.Instance != "" {
			t.Errorf("the volume is created as %+v and shown as %+v", made, shown)
		}
	}
	t.Ciao(ctx, tenant.ID, "create", "volume", "volume-0", "--size", "1MiB").Refuses(t, "a name that is taken", 4, "volume-0")
	t.Ciao(ctx, tenant.ID, "create", "volume", "none").Refuses(t, "neither size nor origin", 2, "size")
	t.Ciao(ctx, tenant.ID, "create", "volume", "none", "--size", "3").Refuses(t, "a size without a unit", 2, "unit")
	t.Ciao(ctx, tenant.ID, "create", "volume", "No Name", "--size", "3MiB").Refuses(t, "a wrong name", 2, "name")
	t.Ciao(ctx, tenant.ID, "create", "volume", "none", "--image", "a", "--volume", "b").Refuses(t, "two origins", 2, "both")
	t.Ciao(ctx, tenant.ID, "create", "volume", "none", "--volume", "nowhere").Refuses(t, "a copy of nothing", 3, "nowhere")
	t.Ciao(ctx, tenant.ID, "delete", "volume", "nowhere").Refuses(t, "delete of what is not there", 3, "nowhere")
	if all := list(ctx, t, tenant); len(all) != n {
		t.Errorf("%d volumes are listed, expected %d", len(all), n)
	}
	counted(ctx, t, tenant, "with all", n, 3*n)
	for k := range n {
		t.Ciao(ctx, tenant.ID, "delete", "volume", fmt.Sprint("volume-", k)).Works(t, "delete volume")
	}
	for k := range n {
		tenant.VolumesGone(ctx, fmt.Sprint("volume-", k))
	}
	counted(ctx, t, tenant, "after the delete", 0, 0)
}

func quota(ctx context.Context, t *bat.T) {
	tenant := t.Tenant(ctx)
	limit := func(name, value string) {
		_, err := t.Cluster.Operator.UpdateQuota(ctx, tenant.ID, api.UpdateQuota{Limits: map[string]string{name: value}})
		t.Need(err, "set the quota of %s", name)
	}
	tenant.Volume(ctx, api.CreateVolume{Name: "one", SizeMiB: 5})
	tenant.Volume(ctx, api.CreateVolume{Name: "two", SizeMiB: 5})
	with := t.Cluster.Sleeper("with")
	with.Volumes = []api.VolumeSpec{{SizeMiB: 1, Target: "/data", Ephemeral: true}}
	tenant.Workload(ctx, with)
	for name, value := range map[string]string{api.QuotaVolumes: "2", api.QuotaDiskMiB: "10"} {
		limit(name, value)
		t.Ciao(ctx, tenant.ID, "create", "volume", "three", "--size", "1MiB").Refuses(t, "a volume beyond the quota of "+name, 6, "")
		t.Ciao(ctx, tenant.ID, "create", "volume", "three", "--volume", "one").Refuses(t, "a copy beyond the quota of "+name, 6, "")
		t.Ciao(ctx, tenant.ID, "create", "instance", "with").Refuses(t, "an instance beyond the quota of "+name, 6, "")
		counted(ctx, t, tenant, "at the quota of "+name, 2, 10)
		if all := list(ctx, t, tenant); len(all) != 2 || len(tenant.List(ctx)) != 0 {
			t.Errorf("after the refusals there are %d volumes and %d instances, expected 2 and none", len(all), len(tenant.List(ctx)))
		}
		limit(name, "unlimited")
	}
	limit(api.QuotaVolumes, "2")
	tenant.DeleteVolumes(ctx, "one")
	tenant.Volume(ctx, api.CreateVolume{Name: "three", SizeMiB: 2})
	counted(ctx, t, tenant, "after one made room", 2, 7)
}

func tenants(ctx context.Context, t *bat.T) {
	blue, green := t.Tenant(ctx), t.Tenant(ctx)
	made := blue.Volume(ctx, api.CreateVolume{Name: "data", SizeMiB: 1})
	green.Workload(ctx, t.Cluster.Sleeper("sleeper"))
	if all := list(ctx, t, green); len(all) != 0 {
		t.Errorf("another tenant has %d volumes listed", len(all))
	}
	for _, ref := range []string{"data", made.ID} {
		t.Ciao(ctx, green.ID, "show", "volume", ref).Refuses(t, "show", 3, ref)
		t.Ciao(ctx, green.ID, "detach", "volume", ref).Refuses(t, "detach", 3, ref)
		t.Ciao(ctx, green.ID, "delete", "volume", ref).Refuses(t, "delete", 3, ref)
		t.Ciao(ctx, green.ID, "create", "volume", "copy", "--volume", ref).Refuses(t, "copy", 3, ref)
		t.Ciao(ctx, green.ID, "create", "instance", "sleeper", "--volume", ref+":/data").Refuses(t, "an instance with it", 3, ref)
	}
	if left := len(green.List(ctx)) + len(list(ctx, t, green)); left != 0 {
		t.Errorf("the refused requests left %d instances and volumes", left)
	}
	if now, err := blue.API.Volume(ctx, "data"); err != nil || now != made {
		t.Errorf("the volume was %+v and is %+v, %v", made, now, err)
	}
}
