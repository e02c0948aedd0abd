package controller

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/google/uuid"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/quota"
	"github.com/ciaocloud/ciao/cluster/store"
)

// VolumeRequest is a volume to be created: empty, or a copy of an image or of a volume.
type VolumeRequest struct {
	Name    string          // empty is made up
	SizeMiB int64           // 0 is that of what it is a copy of
	Image   string          // name or id
	Volume  string          // name or id
	Storage cluster.Storage // empty leaves it to the cluster
}

// CreateVolume records a volume. An empty one, and a copy of an image, is made on the node of its first instance; a copy of a volume
// beside that, at once.
func (c *Controller) CreateVolume(ctx context.Context, tenant string, request VolumeRequest) (volume cluster.Volume, err error) {
	if err := c.validateVolume(tenant, request); err != nil {
		return cluster.Volume{}, err
	}
	_, err = c.update(ctx, func(tx store.Tx) error {
		volume, err = newVolume(tx, tenant, request)
		if err != nil {
			return err
		}
		c.decideStorage(&volume)
		if err := reserveVolumes(tx, tenant, []cluster.Volume{volume}, 1); err != nil {
			return err
		}
		return volumes.Create(tx, volume)
	})
	if errors.Is(err, cluster.ErrOverQuota) {
		c.noteRefusal(ctx, tenant, err)
	}
	if err != nil {
		return cluster.Volume{}, err
	}
	return volume, nil
}

func (c *Controller) validateVolume(tenant string, request VolumeRequest) error {
	var problems cluster.Problems
	if tenant == Operator {
		problems.Add("tenant", "volumes belong to a tenant; act as one")
	}
	if request.Name != "" && !cluster.ValidName(request.Name) {
		problems.Add("name", "%q must be 1 to 63 lower-case letters, digits and hyphens, with no hyphen at either end", request.Name)
	}
	copied := request.Image != "" || request.Volume != ""
	switch {
	case request.Image != "" && request.Volume != "":
		problems.Add("image", "a volume begins as a copy of an image or of a volume, not of both")
	case request.SizeMiB == 0 && !copied:
		problems.Add("size_mib", "is missing; or name an image or a volume to begin with")
	case request.SizeMiB < 0 || request.SizeMiB > cluster.MaxVolumeMiB:
		problems.Add("size_mib", "must be from 1 to %d", cluster.MaxVolumeMiB)
	}
	request.Storage.Check("storage", &problems)
	c.checkStorage("storage", request.Storage, &problems)
	return problems.Err()
}

func newVolume(tx store.Tx, tenant string, request VolumeRequest) (volume cluster.Volume, err error) {
	volume = cluster.Volume{
		ID: uuid.NewString(), Name: request.Name, Tenant: tenant, State: cluster.VolumeAvailable, SizeMiB: request.SizeMiB, Storage: request.Storage, Created: time.Now().UTC(),
	}
	if volume.Name == "" {
		volume.Name = fmt.Sprintf("volume-%06x", rand.IntN(1<<24))
	}
	for range volumes.By(tx, byName, tenant+"/"+volume.Name) {
		return volume, fmt.Errorf("volume name %q: %w: choose another", volume.Name, cluster.ErrExists)
	}
	switch {
	case request.Image != "":
		return volume, beginAsImage(tx, &volume, tenant, request.Image)
	case request.Volume != "":
		return volume, beginAsVolume(tx, &volume, request.Volume)
	}
	return volume, nil
}

// beginAsImage makes a volume a copy of an image that a scope may see.
func beginAsImage(r store.Reader, volume *cluster.Volume, scope, ref string) error {
	image, err := findImage(r, scope, ref)
	switch {
	case err != nil:
		return err
	case image.State != cluster.ImageActive:
		return fmt.Errorf("image %q: %w: its content is not complete; upload the rest of it", ref, cluster.ErrConflict)
	case image.Format.VolumeContent() == "":
		return fmt.Errorf("image %q: %w: a volume cannot begin as a copy of %s; use qcow2, raw or tar", ref, cluster.ErrInvalid, image.Format)
	}
	content := image.Content()
	volume.Image, volume.Content = &content, image.Format.VolumeContent()
	if !volume.Storage.Keeps(volume.Content) {
		return fmt.Errorf("image %q: %w: as a volume it is a %s, and %s keeps disks of VMs", ref, cluster.ErrInvalid, volume.Content, volume.Storage)
	}
	return enlarge(volume, mebibytes(max(image.DiskBytes, image.Bytes)), "image "+image.Name)
}

// beginAsVolume makes a volume a copy of another one, or, as long as that has not been made, the same as that is to be.
func beginAsVolume(tx store.Tx, volume *cluster.Volume, ref string) error {
	found, err := findVolume(tx, volume.Tenant, ref)
	if err != nil {
		return err
	}
	source, err := volumes.Get(tx, found.ID) // protects it
	if err != nil {
		return noSuch("volume", ref)
	}
	if source.State != cluster.VolumeAvailable {
		return fmt.Errorf("volume %q: %w: it is %s; what is copied must be available, so that nobody writes to it meanwhile", ref, cluster.ErrConflict, source.State)
	}
	volume.Content, volume.Image = source.Content, source.Image
	wanted, kept := volume.Storage, source.Storage
	if source.Made {
		kept = cmp.Or(kept, cluster.StorageLocal)
	}
	volume.Storage = cmp.Or(wanted, kept)
	if source.Made {
		if volume.Storage != kept {
			return fmt.Errorf("volume %q: %w: it is kept in storage %s, and so is a copy of it", ref, cluster.ErrInvalid, kept)
		}
		volume.Source, volume.Image, volume.Node, volume.State = source.ID, nil, source.Node, cluster.VolumeCreating
	}
	return enlarge(volume, source.SizeMiB, "volume "+ref)
}

// enlarge gives a volume at least the size of what it begins as.
func enlarge(volume *cluster.Volume, least int64, of string) error {
	if volume.SizeMiB == 0 {
		volume.SizeMiB = least
	}
	if volume.SizeMiB < least {
		return fmt.Errorf("%w: %s has %d MiB; a volume that begins as a copy of it needs at least as much", cluster.ErrInvalid, of, least)
	}
	return nil
}

func mebibytes(bytes int64) int64 { return max(1, (bytes+1<<20-1)>>20) }

// reserveVolumes counts n times the volumes against the tenant's quota.
func reserveVolumes(tx store.Tx, tenantID string, all []cluster.Volume, n int) error {
	if len(all) == 0 {
		return nil
	}
	tenant, err := findTenant(tx, tenantID, tenantID)
	if err != nil {
		return err
	}
	usage, err := usages.Get(tx, tenantID)
	if err != nil {
		return noSuch("tenant", tenantID)
	}
	if usage.Usage, err = quota.Add(tenant.Quota, usage.Usage, volumesUsage(all, n)); err != nil {
		return fmt.Errorf("tenant %s: %w", tenant.Name, err)
	}
	return usages.Put(tx, usage)
}

func volumesUsage(all []cluster.Volume, n int) (usage cluster.Usage) {
	for _, v := range all {
		usage.Volumes += int64(n)
		usage.DiskMiB += int64(n) * v.SizeMiB
	}
	return usage
}
