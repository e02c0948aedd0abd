// Package ceph keeps disks as RBD images in a Ceph cluster, which every node reaches: a volume is not bound to a node. QEMU opens them by
// itself; the driver makes and removes them with Ceph's own programs rbd and ceph, and with qemu-img and its block driver for RBD
// (Debian: ceph-common, qemu-utils, qemu-block-extra).
//
// An image is a volume once its metadata says that it is whole, which one write does. That names the image's internal id: a node that was
// believed to be dead and goes on with an image that another node has replaced by one of the same name says nothing about the new one. What
// is not whole is not there; the next Create or Delete of that volume removes it.
//
// Ceph's user needs the capabilities that `profile rbd` gives for the monitors and for the pool: it can then put clients on the blocklist,
// by which Fence and Delete keep their word.
package ceph

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/storage"
)

// Config says where volumes are kept. All but Namespace is required.
type Config struct {
	Pool          string
	Namespace     string // of the pool; it must exist
	Configuration string // path of the Ceph cluster's configuration, which everybody must be able to read: QEMU is not root
	User          string // without the "client." before it
	Keyring       string // path of the file with the user's key, for root alone
}

// Driver implements storage.Driver and storage.Fencer, for disks.
type Driver struct {
	config Config
	key    storage.Key
}

var (
	_ storage.Driver = (*Driver)(nil)
	_ storage.Fencer = (*Driver)(nil)
)

// Open reads the key. It does not talk to Ceph: a node whose Ceph is away has everything else.
func Open(c Config) (*Driver, error) {
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("volumes in Ceph: %w", err)
	}
	key, err := readKey(c.Keyring, c.User)
	if err != nil {
		return nil, fmt.Errorf("volumes in Ceph: %w", err)
	}
	return &Driver{c, key}, nil
}

// name is what is passed to programs: nothing in it separates.
var name = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$`)

func (c Config) check() error {
	var problems cluster.Problems
	for field, path := range map[string]string{"configuration": c.Configuration, "keyring": c.Keyring} {
		if !filepath.IsAbs(path) {
			problems.Add(field, "%q must be an absolute path", path)
		}
	}
	for field, value := range map[string]string{"pool": c.Pool, "user": c.User, "namespace": c.Namespace} {
		if !name.MatchString(value) && (field != "namespace" || value != "") {
			problems.Add(field, "%q must be letters, digits, hyphens, dots and underscores", value)
		}
	}
	return problems.Err()
}

// spec is how Ceph's programs are told of an image.
func (d *Driver) spec(id string) string { return d.pool() + "/" + id }

func (d *Driver) pool() string {
	if d.config.Namespace != "" {
		return d.config.Pool + "/" + d.config.Namespace
	}
	return d.config.Pool
}

func (d *Driver) place(id string) storage.Place {
	return storage.Place{RBD: storage.RBD{
		Configuration: d.config.Configuration, Pool: d.config.Pool, Namespace: d.config.Namespace, Image: id, User: d.config.User, Key: d.key,
	}}
}

// Find implements storage.Driver.
func (d *Driver) Find(ctx context.Context, id string) (storage.Place, error) {
	image, err := d.look(ctx, id)
	switch {
	case err != nil:
		return storage.Place{}, err
	case !image.whole():
		return storage.Place{}, fmt.Errorf("volume %s: %w: in Ceph there is only the beginning of it", id, cluster.ErrNotFound)
	}
	return d.place(id), nil
}

// List implements storage.Driver.
func (d *Driver) List(ctx context.Context) (ids []string, err error) {
	said, err := d.rbd(ctx, "ls", "--format", "json", d.pool())
	if err != nil {
		return nil, fmt.Errorf("list the volumes in Ceph: %w", err)
	}
	var names []string
	if err := json.Unmarshal(said, &names); err != nil {
		return nil, fmt.Errorf("list the volumes in Ceph: %w: %w", cluster.ErrUnavailable, err)
	}
	for _, id := range names {
		if !cluster.ValidID(id) {
			continue
		}
		image, err := d.look(ctx, id)
		switch {
		case errors.Is(err, cluster.ErrNotFound): // gone meanwhile
		case err != nil:
			return nil, err
		case image.whole():
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// Create implements storage.Driver.
func (d *Driver) Create(ctx context.Context, volume storage.Volume, origin storage.Origin) error {
	if err := d.room(ctx); err != nil {
		return fmt.Errorf("make volume %s: %w", volume.ID, err)
	}
	found, err := d.look(ctx, volume.ID)
	switch {
	case err == nil && found.whole():
		return nil
	case err == nil:
		err = d.remove(ctx, volume.ID)
	case errors.Is(err, cluster.ErrNotFound):
		err = nil
	}
	if err == nil {
		err = d.make(ctx, volume, origin)
	}
	if err != nil {
		return fmt.Errorf("make volume %s: %w", volume.ID, err)
	}
	return nil
}

// cleanLimit bounds the removal of what could not be finished.
const cleanLimit = time.Minute

// make makes an image that is not there, whole or not at all.
func (d *Driver) make(ctx context.Context, volume storage.Volume, origin storage.Origin) error {
	if volume.Content != cluster.ContentDisk {
		return fmt.Errorf("%w: Ceph keeps disks of virtual machines, not a %s", cluster.ErrInvalid, volume.Content)
	}
	source, err := d.source(ctx, origin)
	if err != nil {
		return err
	}
	return d.whileRoom(ctx, func(ctx context.Context) error {
		if _, err := d.rbd(ctx, "create", "--size", fmt.Sprintf("%dM", volume.SizeMiB), "--image-feature", "layering", d.spec(volume.ID)); err != nil {
			return err
		}
		made, err := d.look(ctx, volume.ID)
		if err != nil {
			return err
		}
		if source != nil {
			err = d.copy(ctx, source, volume.ID)
		}
		if err == nil {
			err = d.mark(ctx, made)
		}
		if err != nil {
			return errors.Join(err, d.clean(ctx, made))
		}
		return nil
	})
}

// clean removes an image that could not be finished, unless another node has made a new one of that name meanwhile.
func (d *Driver) clean(ctx context.Context, made image) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanLimit)
	defer cancel()
	found, err := d.look(ctx, made.name)
	switch {
	case errors.Is(err, cluster.ErrNotFound) || err == nil && found.ID != made.ID:
		return nil
	case err != nil:
		return err
	}
	return d.remove(ctx, made.name)
}

// source describes to qemu-img what a volume begins as; nil is nothing. Of a volume that it is a copy of, it cuts off whoever still writes to it.
func (d *Driver) source(ctx context.Context, origin storage.Origin) (options, error) {
	switch {
	case origin.Volume != "":
		if _, err := d.Find(ctx, origin.Volume); err != nil {
			return nil, fmt.Errorf("the volume that it is a copy of: %w", err)
		}
		return d.options(origin.Volume), d.expel(ctx, origin.Volume)
	case origin.Image == nil:
		return nil, nil
	case origin.Image.Format != cluster.FormatQcow2 && origin.Image.Format != cluster.FormatRaw:
		return nil, fmt.Errorf("%w: a disk cannot begin as a copy of %s", cluster.ErrInvalid, origin.Image.Format)
	}
	return options{{"driver", string(origin.Image.Format)}, {"file.driver", "file"}, {"file.filename", origin.Image.Path}}, nil
}

// Delete implements storage.Driver. Whoever still has the volume open is cut off.
func (d *Driver) Delete(ctx context.Context, id string) error {
	found, err := d.look(ctx, id)
	switch {
	case errors.Is(err, cluster.ErrNotFound):
		return nil
	case err == nil && found.whole():
		err = d.forget(ctx, found)
	}
	if err == nil {
		err = d.remove(ctx, id)
	}
	if err != nil {
		return fmt.Errorf("delete volume %s: %w", id, err)
	}
	return nil
}

// forget makes an image count no more, but for a full Ceph, which takes no writes, and from which it must be possible to delete.
func (d *Driver) forget(ctx context.Context, found image) error {
	err := d.room(ctx)
	switch {
	case errors.Is(err, cluster.ErrNoCapacity):
		return nil
	case err != nil:
		return err
	}
	return d.unmark(ctx, found)
}

const (
	removeTries = 20 // a client that was cut off may be listed as a watcher for a moment
	removeEvery = 500 * time.Millisecond
)

// remove removes an image, whatever is in it.
func (d *Driver) remove(ctx context.Context, id string) error {
	for try := 1; ; try++ {
		if err := d.expel(ctx, id); err != nil {
			return err
		}
		_, err := d.rbd(ctx, "rm", "--no-progress", d.spec(id))
		switch {
		case err == nil, errors.Is(err, cluster.ErrNotFound):
			return nil
		case !errors.Is(err, errBusy) || try == removeTries:
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(removeEvery):
		}
	}
}

// sortedTokens are the fencing tokens in an image's metadata, the largest last.
func (i image) sortedTokens() []uint64 {
	tokens := i.tokens()
	slices.Sort(tokens)
	return tokens
}
