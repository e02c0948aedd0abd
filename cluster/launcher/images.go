package launcher

import (
	"context"
	"fmt"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/driver"
	"github.com/ciaocloud/ciao/cluster/payload"
)

// ImageCache brings the contents of uploaded images to the node; *Cache of package imagecache does.
type ImageCache interface {
	// Fetch returns the file with a content, which it gets from a controller if the node does not have it, however many ask for it at a
	// time. It stays as long as inUse says that its digest is. A controller that does not answer is cluster.ErrUnavailable.
	Fetch(ctx context.Context, content cluster.ImageContent, controller string, inUse func(digest string) bool, progress func(message string)) (path string, err error)
}

// image brings the image that an instance starts from to the node.
func (j *job) image(ctx context.Context, progress func(step, message string)) (*driver.Image, error) {
	wanted := j.record.Image
	if wanted == nil {
		return nil, nil
	}
	path, err := j.launcher.fetchImage(ctx, wanted, j.launcher.usesImage, func(message string) { progress("pull", message) })
	return &driver.Image{ImageContent: wanted.Content, Path: path}, err
}

func (l *Launcher) fetchImage(ctx context.Context, wanted *payload.Image, inUse func(digest string) bool, progress func(message string)) (path string, err error) {
	if l.config.Images == nil {
		return "", fmt.Errorf("image %s: %w: this node fetches no images", wanted.Content.Name, cluster.ErrInvalid)
	}
	if path, err = l.config.Images.Fetch(ctx, wanted.Content, wanted.Controller, inUse, progress); err != nil {
		return "", fmt.Errorf("image %s: %w", wanted.Content.Name, err)
	}
	return path, nil
}

// usesImage says whether an instance of the node starts from a content: one that is about to be created, too.
func (l *Launcher) usesImage(digest string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, o := range l.owners {
		if o.image == digest {
			return true
		}
	}
	return false
}

// needs notes what on the node an instance needs.
func (o *owner) needs(r record) {
	o.launcher.mu.Lock()
	defer o.launcher.mu.Unlock()
	o.image, o.volumes = digestOf(r.Image), r.Volumes
}

func digestOf(image *payload.Image) string {
	if image == nil {
		return ""
	}
	return image.Content.Digest
}
