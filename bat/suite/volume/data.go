package volume

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/ciaocloud/ciao/bat"
	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/api"
)

// target is where containers of these tests find a volume.
const target = "/data"

// once runs a script to its end in a container that has volumes, and deletes it.
func once(ctx context.Context, t *bat.T, tenant *bat.Tenant, script string, volumes ...api.InstanceVolume) api.Instance {
	name := t.Name("once")
	tenant.Workload(ctx, t.Cluster.Container(name, script))
	created := tenant.Create(ctx, api.CreateInstances{Workload: name, Volumes: volumes})
	over := tenant.Await(ctx, created, bat.LaunchTime, bat.In(cluster.Exited, cluster.Failed))[0]
	if over.ExitCode == nil || *over.ExitCode != 0 {
		t.Errorf("not so in an instance with volumes: `%s` (%s %s)", script, over.State, over.Reason)
	}
	tenant.Delete(ctx, created...)
	return over
}

func at(volume string) api.InstanceVolume { return api.InstanceVolume{Volume: volume, Target: target} }

// written makes a volume that a container has written a word to.
func written(ctx context.Context, t *bat.T, tenant *bat.Tenant, name, word string) api.Volume {
	tenant.Volume(ctx, api.CreateVolume{Name: name, SizeMiB: 4})
	once(ctx, t, tenant, "echo "+word+" > /data/word && sync", at(name))
	return tenant.VolumeIn(ctx, name, cluster.VolumeAvailable)
}

func data(ctx context.Context, t *bat.T) {
	tenant := t.Tenant(ctx)
	first := written(ctx, t, tenant, "data", "first")
	if first.Node == "" || first.Content != cluster.ContentFiles || first.Instance != "" {
		t.Errorf("after its first instance the volume is %+v", first)
	}
	reading := at("data")
	reading.ReadOnly = true
	second := once(ctx, t, tenant, "[ $(cat /data/word) = first ] && ! touch /data/new 2>/dev/null && ! rm -f /data/word 2>/dev/null", reading)
	once(ctx, t, tenant, "[ $(cat /data/word) = first ] && echo third > /data/word", at("data"))
	if now := tenant.VolumeIn(ctx, "data", cluster.VolumeAvailable); now.Node != first.Node || second.Node != first.Node {
		t.Errorf("the volume was on node %s and is on %s; the second instance ran on %s", first.Node, now.Node, second.Node)
	}
	counted(ctx, t, tenant, "without instances", 1, 4)
}

func fromVolume(ctx context.Context, t *bat.T) {
	tenant := t.Tenant(ctx)
	original := written(ctx, t, tenant, "data", "first")
	tenant.Volume(ctx, api.CreateVolume{Name: "same", Volume: "data"})
	tenant.Volume(ctx, api.CreateVolume{Name: "larger", Volume: "data", SizeMiB: 10})
	t.Ciao(ctx, tenant.ID, "create", "volume", "smaller", "--volume", "data", "--size", "1MiB").Refuses(t, "a copy that is too small", 2, "4 MiB")
	for name, size := range map[string]int64{"same": 4, "larger": 10} {
		if v := tenant.VolumeIn(ctx, name, cluster.VolumeAvailable); v.SizeMiB != size || v.Source != original.ID || v.Node != original.Node {
			t.Errorf("the copy is %+v, expected %d MiB of %s", v, size, original.ID)
		}
	}
	one, other, third := at("same"), at("larger"), at("data")
	one.Target, other.Target = "/same", "/larger"
	once(ctx, t, tenant, "[ $(cat /same/word) = first ] && [ $(cat /larger/word) = first ] && echo changed > /same/word && [ $(cat /data/word) = first ] && [ $(cat /larger/word) = first ]",
		one, other, third)
	tenant.DeleteVolumes(ctx, "data") // its copies do not need it
	once(ctx, t, tenant, "[ $(cat /same/word) = changed ] && [ $(cat /larger/word) = first ]", one, other)
	counted(ctx, t, tenant, "with two copies", 2, 14)
}

func fromImage(ctx context.Context, t *bat.T) {
	tenant := t.Tenant(ctx)
	tenant.Image(ctx, api.CreateImage{Name: "files"}, files(t))
	tenant.Image(ctx, api.CreateImage{Name: "disk", Format: cluster.FormatRaw}, make([]byte, 1<<20+512))
	for _, wanted := range []struct {
		request api.CreateVolume
		size    int64
		content cluster.VolumeContent
	}{
		{api.CreateVolume{Name: "files", Image: "files"}, 4, cluster.ContentFiles},
		{api.CreateVolume{Name: "larger", Image: "files", SizeMiB: 10240}, 10240, cluster.ContentFiles},
		{api.CreateVolume{Name: "disk", Image: "disk"}, 2, cluster.ContentDisk},
	} {
		if v := tenant.Volume(ctx, wanted.request); v.SizeMiB != wanted.size || v.Content != wanted.content || v.Image != wanted.request.Image {
			t.Errorf("the volume is %+v, expected %d MiB of a %s", v, wanted.size, wanted.content)
		}
	}
	t.Ciao(ctx, tenant.ID, "create", "volume", "small", "--image", "files", "--size", "3MiB").Refuses(t, "a volume that is too small", 2, "4 MiB")
	tenant.Workload(ctx, t.Cluster.Sleeper("sleeper"))
	t.Ciao(ctx, tenant.ID, "create", "instance", "sleeper", "--volume", "disk:/data").Refuses(t, "a disk for a container", 2, "needs a filesystem")
	other := at("larger")
	other.Target = "/larger"
	once(ctx, t, tenant, "[ $(cat /data/etc/word) = uploaded ] && [ $(cat /larger/etc/word) = uploaded ] && echo changed > /data/etc/word", at("files"), other)
	once(ctx, t, tenant, "[ $(cat /data/etc/word) = changed ]", at("files"))
	counted(ctx, t, tenant, "with three", 3, 4+10240+2)
}

// files is a tar of 3.5 MiB.
func files(t *bat.T) []byte {
	var out bytes.Buffer
	archive := tar.NewWriter(&out)
	for _, f := range []struct {
		name string
		data []byte
	}{{"etc/word", []byte("uploaded\n")}, {"filler", make([]byte, 3<<20+500<<10)}} {
		t.Need(archive.WriteHeader(&tar.Header{Name: f.name, Mode: 0o644, Size: int64(len(f.data))}), "write a tar archive")
		_, err := archive.Write(f.data)
		t.Need(err, "write a tar archive")
	}
	t.Need(archive.Close(), "write a tar archive")
	return out.Bytes()
}

func workload(ctx context.Context, t *bat.T) {
	tenant := t.Tenant(ctx)
	recipe := t.Cluster.Sleeper("with")
	recipe.Volumes = []api.VolumeSpec{{SizeMiB: 2, Target: "/scratch", Ephemeral: true}, {SizeMiB: 3, Target: target}}
	tenant.Workload(ctx, recipe)
	created := tenant.Active(ctx, tenant.Create(ctx, api.CreateInstances{Workload: "with", Count: 2}))
	has := map[string]int{}
	for _, v := range list(ctx, t, tenant) {
		has[fmt.Sprint(v.Instance, v.Ephemeral, v.State)]++
	}
	for _, i := range created {
		if has[fmt.Sprint(i.ID, true, cluster.VolumeAttached)] != 1 || has[fmt.Sprint(i.ID, false, cluster.VolumeAttached)] != 1 {
			t.Errorf("instance %s does not have one volume of each: %v", i.ID, has)
		}
	}
	counted(ctx, t, tenant, "with two instances", 4, 10)
	tenant.Delete(ctx, created...)
	lasting := 0
	for _, v := range list(ctx, t, tenant) {
		if v.Ephemeral || v.State == cluster.VolumeDeleting {
			tenant.VolumesGone(ctx, v.ID)
			continue
		}
		tenant.VolumeIn(ctx, v.ID, cluster.VolumeAvailable)
		lasting++
	}
	if lasting != 2 {
		t.Errorf("%d volumes are left, expected 2", lasting)
	}
	counted(ctx, t, tenant, "without instances", 2, 6)
}

func failedStart(ctx context.Context, t *bat.T) {
	tenant := t.Tenant(ctx)
	tenant.Volume(ctx, api.CreateVolume{Name: "data", SizeMiB: 1})
	bad := t.Cluster.Sleeper("bad")
	bad.Image, bad.Pull = "bat-nowhere:none", cluster.PullNever
	tenant.Workload(ctx, bad)
	created := tenant.Create(ctx, api.CreateInstances{Workload: "bad", Volumes: []api.InstanceVolume{at("data")}})
	tenant.Await(ctx, created, bat.LaunchTime, bat.In(cluster.Failed))
	tenant.Delete(ctx, created...)
	tenant.VolumeIn(ctx, "data", cluster.VolumeAvailable)
	tenant.Workload(ctx, t.Cluster.Sleeper("hasty"))
	hasty := tenant.Create(ctx, api.CreateInstances{Workload: "hasty", Volumes: []api.InstanceVolume{at("data")}})
	if err := tenant.API.DeleteVolume(ctx, "data"); !errors.Is(err, cluster.ErrConflict) {
		t.Errorf("delete of the volume of an instance that starts: %v, expected a conflict", err)
	}
	tenant.Delete(ctx, hasty...)
	tenant.VolumeIn(ctx, "data", cluster.VolumeAvailable)
	once(ctx, t, tenant, "touch /data/there", at("data"))
}
