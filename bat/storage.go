package bat

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/api"
)

// lookAgain is how often a volume is looked at while it comes to a state: changes of volumes are not watched.
const lookAgain = 50 * time.Millisecond

// Image uploads an image of the tenant through the interface.
func (n *Tenant) Image(ctx context.Context, request api.CreateImage, content []byte) api.Image {
	request.Bytes = int64(len(content))
	_, err := n.API.CreateImage(ctx, request)
	n.t.Need(err, "create image %s", request.Name)
	uploaded, err := n.API.UploadImage(ctx, request.Name, 0, bytes.NewReader(content))
	n.t.Need(err, "upload image %s", request.Name)
	return uploaded
}

// Volume creates a volume of the tenant.
func (n *Tenant) Volume(ctx context.Context, request api.CreateVolume) api.Volume {
	created, err := n.API.CreateVolume(ctx, request)
	n.t.Need(err, "create volume %s", request.Name)
	return created
}

// VolumeIn waits until a volume is in a state and returns it.
func (n *Tenant) VolumeIn(ctx context.Context, ref string, state cluster.VolumeState) api.Volume {
	ctx, cancel := context.WithTimeout(ctx, n.t.Cluster.Scale(SettleTime))
	defer cancel()
	for {
		found, err := n.API.Volume(ctx, ref)
		if err == nil && found.State == state {
			return found
		}
		if err == nil && found.State == cluster.VolumeFailed {
			n.t.Fatalf("volume %s failed: %s", ref, found.Reason)
		}
		n.t.Need(err, "volume %s is %s", ref, state)
		n.t.Need(pause(ctx), "volume %s is %s %s, expected %s", ref, found.State, found.Reason, state)
	}
}

// DeleteVolumes deletes volumes and returns when their nodes have removed them.
func (n *Tenant) DeleteVolumes(ctx context.Context, refs ...string) {
	for _, ref := range refs {
		n.t.Need(n.API.DeleteVolume(ctx, ref), "delete volume %s", ref)
	}
	n.VolumesGone(ctx, refs...)
}

// VolumesGone waits until volumes that are being deleted are gone.
func (n *Tenant) VolumesGone(ctx context.Context, refs ...string) {
	ctx, cancel := context.WithTimeout(ctx, n.t.Cluster.Scale(GoneTime))
	defer cancel()
	for _, ref := range refs {
		n.t.Need(n.API.AwaitNoVolume(ctx, ref), "wait until volume %s is gone", ref)
	}
}

// removeImages deletes the operator's images whose names begin with prefix; those of tenants go with them.
func (c *Cluster) removeImages(ctx context.Context, prefix string) error {
	all, err := c.Operator.Images(ctx)
	for _, image := range all {
		if image.Tenant == "" && strings.HasPrefix(image.Name, prefix) {
			err = errors.Join(err, c.Operator.DeleteImage(ctx, image.ID))
		}
	}
	return err
}

func pause(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(lookAgain):
		return nil
	}
}
