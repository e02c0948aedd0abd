package controller

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/quota"
	"github.com/ciaocloud/ciao/cluster/store"
)

// VolumeRequest is a volume to be created: empty, or a copy of an image or of a volume.
type VolumeRequest struct {
	Name    string // empty is made up
	SizeMiB int64  // 0 is that of what it is a copy of
	Image   string // name or id
	Volume  string // name or id
}

// CreateVolume records a volume. An empty one, and a copy of an image, is made on the node of its first instance; a copy of a volume
// beside that, at once.
func (c *Controller) CreateVolume(ctx context.Context, tenant string, request VolumeRequest) (volume cluster.Volume, err error) {
	if err := validateVolume(tenant, request); err != nil {
		return cluster.Volume{}, err
	}
	_, err = c.update(ctx, func(tx store.Tx) error {
		volume, err = newVolume(tx, tenant, request)
		if err != nil {
			return err
		}
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

func validateVolume(tenant string, request VolumeRequest) error {
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
	return problems.Err()
}

func newVolume(tx store.Tx, tenant string, request VolumeRequest) (volume cluster.Volume, err error) {
	volume = cluster.Volume{
		ID: uuid.NewString(), Name: request.Name, Tenant: tenant, State: cluster.VolumeAvailable, SizeMiB: request.SizeMiB, Created: time.Now().UTC(),
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
	if source.Made {
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

// Volumes lists the volumes of a scope.
func (c *Controller) Volumes(ctx context.Context, scope string, p Page) (list []cluster.Volume, next string, err error) {
	err = c.view(ctx, func(r store.Reader) error {
		all := volumes.All(r)
		if scope != Operator {
			all = volumes.By(r, byTenant, scope)
		}
		list = slices.SortedFunc(all, func(a, b cluster.Volume) int { return compareText(a.ID, b.ID) })
		list, next = Paged(list, p, func(v cluster.Volume) string { return v.ID })
		return nil
	})
	return list, next, err
}

// Volume looks a volume up by id or name.
func (c *Controller) Volume(ctx context.Context, scope, ref string) (volume cluster.Volume, err error) {
	err = c.view(ctx, func(r store.Reader) error {
		volume, err = findVolume(r, scope, ref)
		return err
	})
	return volume, err
}

func findVolume(r store.Reader, scope, ref string) (cluster.Volume, error) {
	if cluster.ValidID(ref) {
		volume, err := volumes.Get(r, ref)
		if err != nil || scope != Operator && volume.Tenant != scope {
			return cluster.Volume{}, noSuch("volume", ref)
		}
		return volume, nil
	}
	name := ref
	if scope != Operator {
		name = scope + "/" + ref
	}
	found := slices.Collect(volumes.By(r, byName, name))
	switch len(found) {
	case 0:
		return cluster.Volume{}, noSuch("volume", ref)
	case 1:
		return found[0], nil
	}
	return cluster.Volume{}, fmt.Errorf("volume %q: %w: several tenants have one of that name; give its id", ref, cluster.ErrConflict)
}

// changeVolume changes one volume with the instance that has it, or is to have it, protected.
func (c *Controller) changeVolume(ctx context.Context, scope, ref string, change func(store.Tx, *cluster.Volume) error) (volume cluster.Volume, err error) {
	_, err = c.update(ctx, func(tx store.Tx) error {
		found, err := findVolume(tx, scope, ref)
		if err != nil {
			return err
		}
		if volume, err = volumes.Get(tx, found.ID); err != nil { // protects it
			return noSuch("volume", ref)
		}
		if err := change(tx, &volume); err != nil {
			return fmt.Errorf("volume %q: %w", ref, err)
		}
		return volumes.Put(tx, volume)
	})
	if err != nil {
		return cluster.Volume{}, err
	}
	return volume, nil
}

// AttachVolume gives a volume to an instance of the same tenant that does not run; it is there from its next start on. ErrConflict: the
// volume has an instance, the instance runs, or the two are on different nodes.
func (c *Controller) AttachVolume(ctx context.Context, scope, ref, instanceRef string, place cluster.VolumePlace) (cluster.Volume, error) {
	if err := c.unfoldFor(ctx, scope, instanceRef); err != nil {
		return cluster.Volume{}, err
	}
	return c.changeVolume(ctx, scope, ref, func(tx store.Tx, v *cluster.Volume) error {
		i, err := quietInstance(tx, v.Tenant, instanceRef)
		if err != nil {
			return err
		}
		return give(tx, v, i, place)
	})
}

// quietInstance finds an instance that no node runs, nor will before the transaction is over.
func quietInstance(tx store.Tx, tenant, ref string) (cluster.Instance, error) {
	found, _, err := findInstance(tx, tenant, ref)
	if err != nil {
		return found, err
	}
	i, err := instances.Get(tx, found.ID) // protects it
	if err != nil {
		return i, noSuch("instance", ref)
	}
	if !ended(i.State) {
		return i, fmt.Errorf("%w: instance %s is %s; stop it first", cluster.ErrConflict, i.Name, i.State)
	}
	return i, nil
}

// give attaches a volume to an instance, in a transaction that protects both.
func give(tx store.Tx, v *cluster.Volume, i cluster.Instance, place cluster.VolumePlace) error {
	var problems cluster.Problems
	place.Check("", i.Kind, &problems)
	own := slices.Collect(volumes.By(tx, byInstance, i.ID))
	for _, other := range own {
		if other.Place.Target != "" && other.Place.Target == place.Target {
			problems.Add("target", "%q is where instance %s finds volume %s", place.Target, i.Name, label(other))
		}
		place.Number = max(place.Number, other.Place.Number+1)
	}
	if err := problems.Err(); err != nil {
		return err
	}
	needed := cluster.ContentFor(i.Kind)
	switch {
	case v.State == cluster.VolumeAttached:
		return fmt.Errorf("%w: instance %s has it; detach it first", cluster.ErrConflict, instanceName(tx, v.Instance))
	case v.State != cluster.VolumeAvailable:
		return fmt.Errorf("%w: it is %s", cluster.ErrConflict, v.State)
	case v.Content != "" && v.Content != needed:
		return fmt.Errorf("%w: it is a %s, and a %s needs a %s; create another volume for it", cluster.ErrInvalid, v.Content, i.Kind, needed)
	case v.Node != "" && i.Node != "" && v.Node != i.Node:
		return fmt.Errorf("%w: it is on node %s, and instance %s belongs to node %s; create an instance that has it from the beginning (`ciao create instance … --volume`)",
			cluster.ErrConflict, v.Node, i.Name, i.Node)
	case len(own) >= cluster.MaxVolumesPerInstance:
		return fmt.Errorf("%w: instance %s has %d volumes, which is the most", cluster.ErrConflict, i.Name, len(own))
	}
	v.State, v.Instance, v.Place, v.Content, v.Reason = cluster.VolumeAttached, i.ID, place, needed, ""
	if i.Node != "" {
		v.Node = i.Node
	}
	return events.Put(tx, instanceEvent(i, cluster.Info, "VolumeAttached", fmt.Sprintf("Volume %s was attached to instance %s.", label(*v), i.Name)))
}

// DetachVolume takes a volume from its instance, which must not run.
func (c *Controller) DetachVolume(ctx context.Context, scope, ref string) (cluster.Volume, error) {
	return c.changeVolume(ctx, scope, ref, func(tx store.Tx, v *cluster.Volume) error {
		if v.State != cluster.VolumeAttached {
			return fmt.Errorf("%w: no instance has it", cluster.ErrConflict)
		}
		i, err := quietInstance(tx, v.Tenant, v.Instance)
		if err != nil {
			return err
		}
		detach(v)
		return events.Put(tx, instanceEvent(i, cluster.Info, "VolumeDetached", fmt.Sprintf("Volume %s was detached from instance %s.", label(*v), i.Name)))
	})
}

func detach(v *cluster.Volume) {
	v.State, v.Instance, v.Place = cluster.VolumeAvailable, "", cluster.VolumePlace{}
}

// DeleteVolume wants a volume gone that no instance has. It is there, deleting, until its node has confirmed.
func (c *Controller) DeleteVolume(ctx context.Context, scope, ref string) (cluster.Volume, error) {
	return c.changeVolume(ctx, scope, ref, func(tx store.Tx, v *cluster.Volume) error {
		switch {
		case v.State == cluster.VolumeAttached:
			return fmt.Errorf("%w: instance %s has it; detach it first", cluster.ErrConflict, instanceName(tx, v.Instance))
		case copying(tx, v.ID):
			return fmt.Errorf("%w: another volume is being made as a copy of it; wait until that is done", cluster.ErrConflict)
		}
		v.State, v.Reason = cluster.VolumeDeleting, ""
		return nil
	})
}

// copying says whether a node copies a volume just now.
func copying(r store.Reader, id string) bool {
	for v := range volumes.By(r, byState, string(cluster.VolumeCreating)) {
		if v.Source == id {
			return true
		}
	}
	return false
}

// giveVolumes attaches the existing volumes that a request or a workload names to the one instance of a batch, and reserves those that
// are made with each instance. The rows of the latter come when the batch is unfolded.
func giveVolumes(tx store.Tx, batch cluster.Batch, named []VolumeAttachment) error {
	for k, spec := range batch.Template.Spec.Volumes {
		if spec.Volume != "" {
			named = append(named, VolumeAttachment{spec.Volume, cluster.VolumePlace{Number: k, Target: spec.Target, ReadOnly: spec.ReadOnly}})
		}
	}
	if len(named) > 0 && batch.Count > 1 {
		return fmt.Errorf("%w: a volume is one instance's at a time; create one instance, or volumes that are made with each", cluster.ErrInvalid)
	}
	instance, _ := batch.Instance(0)
	node := instance.Spec.Requirements.Node
	for _, one := range named {
		found, err := findVolume(tx, instance.Tenant, one.Volume)
		if err != nil {
			return err
		}
		v, err := volumes.Get(tx, found.ID) // protects it
		if err != nil {
			return noSuch("volume", one.Volume)
		}
		if err := give(tx, &v, instance, one.Place); err != nil {
			return fmt.Errorf("volume %q: %w", one.Volume, err)
		}
		if node != "" && v.Node != "" && v.Node != node {
			return fmt.Errorf("volume %q: %w: it is on node %s, and what else the instance needs is on %s", one.Volume, cluster.ErrConflict, v.Node, node)
		}
		if v.Node != "" {
			node = v.Node
		}
		if err := volumes.Put(tx, v); err != nil {
			return err
		}
	}
	return reserveVolumes(tx, instance.Tenant, batch.Volumes, batch.Count)
}

// VolumeAttachment is an existing volume that a new instance has.
type VolumeAttachment struct {
	Volume string // name or id
	Place  cluster.VolumePlace
}

// volumesOf are the volumes that are made with each instance of a workload, as far as they are the same for all.
func volumesOf(r store.Reader, workload cluster.Workload, tenant string, now time.Time) (made []cluster.Volume, err error) {
	kind := workload.Spec.Kind
	for k, spec := range workload.Spec.Volumes {
		if spec.Volume != "" {
			continue
		}
		v := cluster.Volume{
			Tenant: tenant, State: cluster.VolumeAttached, Content: cluster.ContentFor(kind), SizeMiB: spec.SizeMiB, Ephemeral: spec.Ephemeral, Created: now,
			Place: cluster.VolumePlace{Number: k, Target: spec.Target, ReadOnly: spec.ReadOnly},
		}
		if spec.Image != "" {
			if err := beginAsImage(r, &v, workload.Tenant, spec.Image); err != nil {
				return nil, err
			}
			if needed := cluster.ContentFor(kind); v.Content != needed {
				return nil, fmt.Errorf("image %q: %w: as a volume it is a %s, and a %s needs a %s", spec.Image, cluster.ErrInvalid, v.Content, kind, needed)
			}
		}
		made = append(made, v)
	}
	return made, nil
}

// leaveVolumes takes the volumes of an instance that is gone from it. What was never made is nowhere.
func leaveVolumes(tx store.Tx, i cluster.Instance) error {
	for _, v := range slices.Collect(volumes.By(tx, byInstance, i.ID)) {
		ephemeral := v.Ephemeral
		detach(&v)
		if !v.Made {
			v.Node = ""
		}
		if ephemeral {
			v.State = cluster.VolumeDeleting
		}
		if err := volumes.Put(tx, v); err != nil {
			return err
		}
	}
	return nil
}

// removeVolume removes a volume that no node has, and gives back what was reserved for it.
func removeVolume(tx store.Tx, v cluster.Volume) error {
	usage, err := usages.Get(tx, v.Tenant)
	if err != nil {
		return err
	}
	usage.Usage = quota.Sub(usage.Usage, volumesUsage([]cluster.Volume{v}, 1))
	event := newEvent(cluster.Info, "VolumeDeleted", "Volume "+label(v)+" was deleted.")
	event.Tenant, event.Node = v.Tenant, v.Node
	return errors.Join(usages.Put(tx, usage), volumes.Delete(tx, v.ID), events.Put(tx, event))
}

// label is how people are told of a volume.
func label(v cluster.Volume) string {
	if v.Name != "" {
		return v.Name
	}
	return v.ID
}
