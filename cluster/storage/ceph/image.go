package ceph

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/ciaocloud/ciao/cluster"
)

// image is an RBD image as Ceph tells of it.
type image struct {
	name string
	ID   string `json:"id"` // Ceph's own, another one for each image that ever had the name
	meta map[string]bool
}

// Keys of metadata.
const (
	wholePrefix = "ciao.whole." // and the image's id: it is a volume
	tokenPrefix = "ciao.token." // and a number: somebody has fenced the volume with that
)

func (i image) whole() bool {
	return i.meta[wholePrefix+i.ID]
}

func (i image) tokens() (all []uint64) {
	for key := range i.meta {
		number, is := strings.CutPrefix(key, tokenPrefix)
		if token, err := strconv.ParseUint(number, 10, 64); is && err == nil {
			all = append(all, token)
		}
	}
	return all
}

// look reads what Ceph says of an image; cluster.ErrNotFound: there is none.
func (d *Driver) look(ctx context.Context, id string) (image, error) {
	if !cluster.ValidID(id) {
		return image{}, fmt.Errorf("volume %q: %w: it is not an id", id, cluster.ErrInvalid)
	}
	found := image{name: id}
	said, err := d.rbd(ctx, "info", "--format", "json", d.spec(id))
	if err != nil {
		return image{}, fmt.Errorf("volume %s: %w", id, err)
	}
	if err := json.Unmarshal(said, &found); err != nil || found.ID == "" {
		return image{}, fmt.Errorf("volume %s: %w: `rbd info` says %q", id, cluster.ErrUnavailable, said)
	}
	if found.meta, err = d.metadata(ctx, found.ID); err != nil {
		return image{}, fmt.Errorf("volume %s: %w", id, err)
	}
	return found, nil
}

// metadata are the keys of an image's metadata, read where RBD keeps them: `rbd image-meta list` opens the image for writing, which makes it
// one of its clients, and wait where Ceph is full.
func (d *Driver) metadata(ctx context.Context, image string) (map[string]bool, error) {
	said, err := d.rados(ctx, "listomapkeys", "rbd_header."+image)
	if err != nil {
		return nil, err
	}
	keys := map[string]bool{}
	for line := range strings.Lines(string(said)) {
		if key, is := strings.CutPrefix(strings.TrimSpace(line), "metadata_"); is {
			keys[key] = true
		}
	}
	return keys, nil
}

// mark makes an image count as a volume, and unmark makes it stop.
func (d *Driver) mark(ctx context.Context, i image) error {
	_, err := d.rbd(ctx, "image-meta", "set", d.spec(i.name), wholePrefix+i.ID, "yes")
	return err
}

func (d *Driver) unmark(ctx context.Context, i image) error {
	_, err := d.rbd(ctx, "image-meta", "remove", d.spec(i.name), wholePrefix+i.ID)
	return err
}
