package container

import (
	"context"
	"fmt"
	"slices"
	"strings"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/mount"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/driver"
)

// Stores implements driver.Storer: a container finds the files of a volume in a directory.
func (d *Driver) Stores(content cluster.VolumeContent) bool { return content == cluster.ContentFiles }

// mounts are the volumes of an instance, as the engine binds them. A volume is not made where it is missing.
func mounts(instance driver.Instance) (all []mount.Mount) {
	for _, v := range instance.Volumes {
		all = append(all, mount.Mount{
			Type: mount.TypeBind, Source: v.Place.Directory, Target: v.Target, ReadOnly: v.ReadOnly,
			BindOptions: &mount.BindOptions{Propagation: mount.PropagationRPrivate},
		})
	}
	return all
}

// sameVolumes says whether a container has the volumes that its instance should have.
func sameVolumes(found container.InspectResponse, instance driver.Instance) bool {
	key := func(m mount.Mount) string { return fmt.Sprint(m.Source, "\x00", m.Target, "\x00", m.ReadOnly) }
	keys := func(all []mount.Mount) (keys []string) {
		for _, m := range all {
			keys = append(keys, key(m))
		}
		slices.Sort(keys)
		return keys
	}
	return slices.Equal(keys(found.HostConfig.Mounts), keys(mounts(instance)))
}

// The engine cannot change the volumes of a container. So one that is to have others is made anew, from what it wrote itself: that is kept
// as an image of the instance's own, which goes with it.

func (d *Driver) keptRepository() string { return "ciao-kept/" + d.config.Cluster }

func (d *Driver) keptImage(id string) string { return d.keptRepository() + ":" + id }

// imageOf is what the instance's container is made from.
func (d *Driver) imageOf(ctx context.Context, instance driver.Instance) (string, error) {
	if instance.Generation == 1 {
		return d.reference(instance), nil // it has never been made anew
	}
	ctx, cancel := context.WithTimeout(ctx, quickCall)
	defer cancel()
	_, err := d.engine.ImageInspect(ctx, d.keptImage(instance.ID))
	if cerrdefs.IsNotFound(err) {
		return d.reference(instance), nil
	}
	return d.keptImage(instance.ID), classify("look for what the container wrote", err)
}

// remake removes a container that has ended, to be made again with other volumes. What it wrote is kept first, so that it is somewhere
// whatever dies in between.
func (d *Driver) remake(ctx context.Context, instance driver.Instance, found container.InspectResponse) error {
	doing := "give other volumes to the container of instance " + instance.Name
	ctx, cancel := context.WithTimeout(ctx, slowCall)
	defer cancel()
	if found.State.StartedAt != "" && !strings.HasPrefix(found.State.StartedAt, "0001") {
		if _, err := d.engine.ContainerCommit(ctx, found.ID, container.CommitOptions{Reference: d.keptImage(instance.ID)}); err != nil {
			return classify(doing, err)
		}
	}
	return classify(doing, d.remove(ctx, found.ID, false))
}

// forgetKept removes what was kept of an instance that is deleted.
func (d *Driver) forgetKept(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, slowCall)
	defer cancel()
	_, err := d.engine.ImageRemove(ctx, d.keptImage(id), image.RemoveOptions{Force: true, PruneChildren: true})
	if cerrdefs.IsNotFound(err) {
		return nil
	}
	return classify("remove what was kept of the container of instance "+id, err)
}
