package controller

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/quota"
	"github.com/ciaocloud/ciao/cluster/store"
)

// Blobs keeps the contents of images; *Store of package blob does, and says what each method means.
type Blobs interface {
	Uploaded(id string) int64
	Free() (int64, error)
	Append(id string, offset, limit int64, r io.Reader) (size int64, err error)
	Complete(ctx context.Context, id, want string, format cluster.ImageFormat) (cluster.ImageContent, error)
	Discard(id string) error
	Open(digest string) (io.ReadSeekCloser, error)
	Sweep(keepBlob, keepUpload func(string) bool) error
}

// ImageRequest is an image to be created; its content is uploaded afterwards.
type ImageRequest struct {
	Name       string
	Visibility cluster.Visibility  // empty: public for the operator, private for a tenant
	Format     cluster.ImageFormat // empty: whatever the content is
	Bytes      int64               // that the content has
	Digest     string              // that the content must have; empty: any
}

// ImageUpload is an image with how much of its content is there.
type ImageUpload struct {
	cluster.Image
	Uploaded int64
}

func imageClaim(owner, name string) string { return "image/" + owner + "/" + name }

// imageStore refuses what needs a place for contents where there is none.
func (c *Controller) imageStore() (Blobs, error) {
	if c.blobs == nil {
		return nil, fmt.Errorf("%w: this controller keeps no images", cluster.ErrUnavailable)
	}
	return c.blobs, nil
}

// CreateImage records an image that waits for its content. ErrPermission: a tenant makes private ones only. ErrTooLarge, ErrNoCapacity:
// its content would not fit.
func (c *Controller) CreateImage(ctx context.Context, scope string, request ImageRequest) (ImageUpload, error) {
	blobs, err := c.imageStore()
	if err != nil {
		return ImageUpload{}, err
	}
	image := cluster.Image{
		ID: uuid.NewString(), Name: request.Name, Tenant: scope, Visibility: request.Visibility, State: cluster.ImageUploading,
		Format: request.Format, Bytes: request.Bytes, Digest: request.Digest, Created: time.Now().UTC(),
	}
	if image.Visibility == "" {
		image.Visibility = cluster.Private
		if scope == Operator {
			image.Visibility = cluster.Public
		}
	}
	if err := c.validateImage(image); err != nil {
		return ImageUpload{}, err
	}
	if free, err := blobs.Free(); err != nil || free < image.Bytes {
		return ImageUpload{}, errors.Join(err, fmt.Errorf("image %q: %w: it has %d MiB, and the controller's disk has room for %d MiB; have room made there", image.Name, cluster.ErrNoCapacity, image.Bytes>>20, free>>20))
	}
	_, err = c.update(ctx, func(tx store.Tx) error {
		if scope != Operator {
			if err := reserveImage(tx, scope); err != nil {
				return err
			}
		}
		if err := claimName(tx, imageClaim(scope, image.Name), image.ID, "image", image.Name); err != nil {
			return err
		}
		return images.Create(tx, image)
	})
	if errors.Is(err, cluster.ErrOverQuota) {
		c.noteRefusal(ctx, scope, err)
	}
	if err != nil {
		return ImageUpload{}, err
	}
	return ImageUpload{Image: image}, nil
}

func reserveImage(tx store.Tx, tenantID string) error {
	tenant, err := findTenant(tx, tenantID, tenantID)
	if err != nil {
		return err
	}
	usage, err := usages.Get(tx, tenantID)
	if err != nil {
		return noSuch("tenant", tenantID)
	}
	if usage.Usage, err = quota.Add(tenant.Quota, usage.Usage, cluster.Usage{Images: 1}); err != nil {
		return fmt.Errorf("tenant %s: %w", tenant.Name, err)
	}
	return usages.Put(tx, usage)
}

func (c *Controller) validateImage(image cluster.Image) error {
	var problems cluster.Problems
	if !cluster.ValidImageName(image.Name) {
		problems.Add("name", "%q must be 1 to 63 lower-case letters, digits, hyphens and dots, with a letter or digit at both ends", image.Name)
	}
	if image.Format != "" && !slices.Contains(cluster.ImageFormats(), image.Format) {
		problems.Add("format", "%q is not a format of images; use one of %v, or leave it away", image.Format, cluster.ImageFormats())
	}
	if image.Digest != "" && !cluster.ValidDigest(image.Digest) {
		problems.Add("digest", "%q is not sha256: and 64 hexadecimal digits in lower case, as sha256sum prints them", image.Digest)
	}
	if image.Bytes <= 0 {
		problems.Add("bytes", "must be the size of the file, which is not empty")
	}
	switch image.Visibility {
	case cluster.Private:
		if image.Tenant == Operator {
			problems.Add("visibility", "a private image belongs to a tenant; act as that tenant to create it")
		}
	case cluster.Public, cluster.Internal:
		if image.Tenant != Operator {
			return fmt.Errorf("image %q: %w: only an operator makes %s images; make it private", image.Name, cluster.ErrPermission, image.Visibility)
		}
	default:
		problems.Add("visibility", "%q is not a visibility; use public, private or internal", image.Visibility)
	}
	if err := problems.Err(); err != nil {
		return err
	}
	if image.Bytes > c.maxImage {
		return fmt.Errorf("image %q: %w: it has %d MiB; this cluster takes %d MiB at most (controller.max_image_mib)", image.Name, cluster.ErrTooLarge, image.Bytes>>20, c.maxImage>>20)
	}
	return nil
}

// UploadImage appends to the content of an image from offset on, and makes it active when all of it is there and right. After an error
// the image says how much of it is there: it is 0 when the content was not what it should be. ErrConflict: somebody else is uploading it,
// it is active, or the offset is not the end of what is there.
func (c *Controller) UploadImage(ctx context.Context, scope, ref string, offset int64, content io.Reader) (ImageUpload, error) {
	blobs, err := c.imageStore()
	if err != nil {
		return ImageUpload{}, err
	}
	image, err := c.ownImage(ctx, scope, ref)
	if err != nil {
		return ImageUpload{}, err
	}
	if image.State != cluster.ImageUploading {
		return image, fmt.Errorf("image %q: %w: its content is complete and never changes; delete it and create it anew", ref, cluster.ErrConflict)
	}
	size, err := blobs.Append(image.ID, offset, image.Bytes, content)
	if err != nil {
		return image, fmt.Errorf("image %q: %w", ref, err)
	}
	image.Uploaded = size
	if size < image.Bytes {
		return image, nil
	}
	return c.completeImage(ctx, blobs, image.Image)
}

// completeImage goes on to its end though the uploader leaves: what is checked need not be checked again.
func (c *Controller) completeImage(ctx context.Context, blobs Blobs, image cluster.Image) (ImageUpload, error) {
	ctx = context.WithoutCancel(ctx)
	c.sweeping.RLock() // the blob is kept by nobody until the row names it
	defer c.sweeping.RUnlock()
	content, refusal := blobs.Complete(ctx, image.ID, image.Digest, image.Format)
	if refusal != nil && !errors.Is(refusal, cluster.ErrInvalid) {
		return ImageUpload{Image: image, Uploaded: image.Bytes}, fmt.Errorf("image %q: %w", image.Name, refusal)
	}
	_, err := c.update(ctx, func(tx store.Tx) error {
		current, err := images.Get(tx, image.ID)
		if err != nil {
			return noSuch("image", image.Name) // deleted meanwhile
		}
		if refusal != nil {
			current.Reason = clip(refusal.Error())
		} else {
			current.State, current.Reason = cluster.ImageActive, ""
			current.Digest, current.Format, current.DiskBytes = content.Digest, content.Format, content.DiskBytes
		}
		image = current
		return images.Put(tx, current)
	})
	if err == nil && refusal != nil {
		err = fmt.Errorf("image %q: %w", image.Name, refusal)
	}
	return ImageUpload{Image: image, Uploaded: content.Bytes}, err
}

// ownImage finds an image that a caller may change.
func (c *Controller) ownImage(ctx context.Context, scope, ref string) (ImageUpload, error) {
	image, err := c.Image(ctx, scope, ref)
	if err == nil && scope != Operator && image.Tenant != scope {
		err = fmt.Errorf("image %q: %w: it is public; only an operator changes it", ref, cluster.ErrPermission)
	}
	return image, err
}

// Images lists a tenant's own and all public images; the operator sees all.
func (c *Controller) Images(ctx context.Context, scope string, p Page) (list []ImageUpload, next string, err error) {
	var found []cluster.Image
	err = c.view(ctx, func(r store.Reader) error {
		for image := range images.All(r) {
			if mayRead(scope, image) {
				found = append(found, image)
			}
		}
		found, next = Paged(found, p, func(i cluster.Image) string { return i.ID })
		return nil
	})
	for _, image := range found {
		list = append(list, c.progressOf(image))
	}
	return list, next, err
}

func mayRead(scope string, image cluster.Image) bool {
	return scope == Operator || image.Tenant == scope || image.Visibility == cluster.Public
}

// Image looks an image up by id or name; a tenant's own goes before a public one of the same name.
func (c *Controller) Image(ctx context.Context, scope, ref string) (found ImageUpload, err error) {
	err = c.view(ctx, func(r store.Reader) error {
		image, err := findImage(r, scope, ref)
		found = c.progressOf(image)
		return err
	})
	return found, err
}

func (c *Controller) progressOf(image cluster.Image) ImageUpload {
	upload := ImageUpload{Image: image, Uploaded: image.Bytes}
	if image.State == cluster.ImageUploading && c.blobs != nil {
		upload.Uploaded = c.blobs.Uploaded(image.ID)
	}
	return upload
}

func findImage(r store.Reader, scope, ref string) (cluster.Image, error) {
	id := ref
	if !cluster.ValidID(ref) {
		own, err := claims.Get(r, imageClaim(scope, ref))
		if err != nil {
			own, err = claims.Get(r, imageClaim("", ref))
		}
		if err != nil {
			return cluster.Image{}, noSuch("image", ref)
		}
		id = own.Owner
	}
	image, err := images.Get(r, id)
	if err != nil || !mayRead(scope, image) {
		return cluster.Image{}, noSuch("image", ref)
	}
	return image, nil
}

// OpenImage opens the content of an active image for reading.
func (c *Controller) OpenImage(ctx context.Context, scope, ref string) (cluster.Image, io.ReadSeekCloser, error) {
	blobs, err := c.imageStore()
	if err != nil {
		return cluster.Image{}, nil, err
	}
	image, err := c.Image(ctx, scope, ref)
	if err != nil {
		return cluster.Image{}, nil, err
	}
	if image.State != cluster.ImageActive {
		return cluster.Image{}, nil, fmt.Errorf("image %q: %w: its content is not complete: upload the rest of it", ref, cluster.ErrConflict)
	}
	content, err := blobs.Open(image.Digest)
	return image.Image, content, err
}

// OpenBlob opens a content for a node that needs it: one with an instance that starts from it, or a volume that begins as a copy of it.
func (c *Controller) OpenBlob(ctx context.Context, node, digest string) (io.ReadSeekCloser, error) {
	blobs, err := c.imageStore()
	if err != nil {
		return nil, err
	}
	needed := false
	err = c.view(ctx, func(r store.Reader) error {
		for instance := range instances.By(r, byNode, node) {
			needed = needed || instance.Image != nil && instance.Image.Digest == digest || sharesImage(r, instance.ID, digest)
		}
		for volume := range volumes.By(r, byNode, node) {
			needed = needed || volume.Image != nil && volume.Image.Digest == digest
		}
		return nil
	})
	if err == nil && !needed {
		err = fmt.Errorf("blob %q: %w: nothing on this node needs it", clip(digest), cluster.ErrPermission)
	}
	if err != nil {
		return nil, err
	}
	return blobs.Open(digest)
}

// DeleteImage removes an image that nothing uses, else ErrConflict, with its content if no other image has the same.
func (c *Controller) DeleteImage(ctx context.Context, scope, ref string) error {
	image, err := c.ownImage(ctx, scope, ref)
	if err != nil {
		return err
	}
	_, err = c.update(ctx, func(tx store.Tx) error {
		current, err := images.Get(tx, image.ID)
		if err != nil {
			return noSuch("image", ref)
		}
		if err := unusedImage(tx, current); err != nil {
			return err
		}
		return removeImage(tx, current)
	})
	if err != nil {
		return err
	}
	return c.sweepImages(ctx)
}

func removeImage(tx store.Tx, image cluster.Image) error {
	var given error
	if image.Tenant != Operator {
		usage, err := usages.Get(tx, image.Tenant)
		if err != nil {
			return err
		}
		usage.Usage = quota.Sub(usage.Usage, cluster.Usage{Images: 1})
		given = usages.Put(tx, usage)
	}
	return errors.Join(given, claims.Delete(tx, imageClaim(image.Tenant, image.Name)), images.Delete(tx, image.ID))
}

// unusedImage refuses an image that instances or workloads start from, or a volume is to begin as, naming one.
func unusedImage(r store.Reader, image cluster.Image) error {
	used := func(what, name string) error {
		return fmt.Errorf("image %q: %w: %s %s starts from it; delete that first", image.Name, cluster.ErrConflict, what, name)
	}
	for instance := range visible(r, Operator) {
		if instance.Image != nil && instance.Image.ID == image.ID {
			return used("instance", instance.Name)
		}
	}
	for workload := range workloads.All(r) {
		for _, name := range imagesOf(workload.Spec) {
			if meant, found := meantImage(r, workload.Tenant, name); found && meant.ID == image.ID {
				return used("workload", workload.Name)
			}
		}
	}
	for volume := range toBeMade(r) {
		if volume.Image != nil && volume.Image.ID == image.ID {
			return used("volume", label(volume))
		}
	}
	return nil
}

// imagesOf are the names of images in a workload.
func imagesOf(spec cluster.WorkloadSpec) []string {
	names := []string{spec.Image}
	for _, v := range spec.Volumes {
		names = append(names, v.Image)
	}
	return names
}

// toBeMade yields the volumes that have not been on a node yet.
func toBeMade(r store.Reader) iter.Seq[cluster.Volume] {
	return func(yield func(cluster.Volume) bool) {
		for volume := range volumes.All(r) {
			if !volume.Made && !yield(volume) {
				return
			}
		}
		for batch := range batches.All(r) {
			for _, volume := range batch.Volumes {
				if !yield(volume) {
					return
				}
			}
		}
	}
}

// sweepImages removes contents and uploads that no image has (any more), also those that a killed controller left.
func (c *Controller) sweepImages(ctx context.Context) error {
	c.sweeping.Lock()
	defer c.sweeping.Unlock()
	ids, digests := map[string]bool{}, map[string]bool{}
	err := c.view(ctx, func(r store.Reader) error {
		for image := range images.All(r) {
			ids[image.ID] = image.State == cluster.ImageUploading
			digests[image.Digest] = true
		}
		return nil
	})
	if err != nil {
		return err
	}
	return c.blobs.Sweep(func(digest string) bool { return digests[digest] }, func(id string) bool { return ids[id] })
}

// meantImage is the uploaded image that a workload of a tenant, or a public one, names; none if it names something else.
func meantImage(r store.Reader, owner, name string) (cluster.Image, bool) {
	if !cluster.ValidImageName(name) {
		return cluster.Image{}, false
	}
	image, err := findImage(r, owner, name)
	return image, err == nil
}

// resolveImage is the content that instances of a workload start from; nil when it names no uploaded image: nodes know what it is then.
func resolveImage(r store.Reader, workload cluster.Workload) (*cluster.ImageContent, error) {
	image, found := meantImage(r, workload.Tenant, workload.Spec.Image)
	switch {
	case workload.Spec.BootsFromVolume():
		return nil, nil
	case !found && workload.Spec.Kind == cluster.KindVM:
		return nil, fmt.Errorf("workload %q: %w: there is no image %s; upload it with `ciao create image`", workload.Name, cluster.ErrNotFound, workload.Spec.Image)
	case !found:
		return nil, nil
	case image.State != cluster.ImageActive:
		return nil, fmt.Errorf("workload %q: %w: the content of image %s is not complete; upload the rest of it", workload.Name, cluster.ErrConflict, image.Name)
	case !image.Format.Suits(workload.Spec.Kind):
		return nil, fmt.Errorf("workload %q: %w: image %s is %s, from which no %s starts; use one that is %s",
			workload.Name, cluster.ErrInvalid, image.Name, image.Format, workload.Spec.Kind, suitable(workload.Spec.Kind))
	}
	content := image.Content()
	return &content, nil
}

func suitable(kind cluster.Kind) string {
	var formats []string
	for _, format := range cluster.ImageFormats() {
		if format.Suits(kind) {
			formats = append(formats, string(format))
		}
	}
	return strings.Join(formats, " or ")
}
