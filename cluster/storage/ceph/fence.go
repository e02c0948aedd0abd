package ceph

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/ciaocloud/ciao/cluster"
)

// Fence implements storage.Fencer. The token is in the image's metadata before anybody is cut off, and who is to be is found out before the
// tokens are read: so a caller with an older token never cuts off the one with a newer.
func (d *Driver) Fence(ctx context.Context, id string, token uint64) error {
	if err := d.fence(ctx, id, token); err != nil {
		return fmt.Errorf("take over volume %s: %w", id, err)
	}
	return nil
}

func (d *Driver) fence(ctx context.Context, id string, token uint64) error {
	if !cluster.ValidID(id) {
		return fmt.Errorf("%w: %q is not an id", cluster.ErrInvalid, id)
	}
	if _, err := d.rbd(ctx, "image-meta", "set", d.spec(id), tokenKey(token), "yes"); err != nil {
		return err
	}
	others, err := d.clients(ctx, id)
	if err != nil {
		return err
	}
	found, err := d.look(ctx, id)
	if err != nil {
		return err
	}
	used := found.sortedTokens()
	if newest := used[len(used)-1]; newest > token {
		return fmt.Errorf("%w: it has been given to another instance or node since", cluster.ErrConflict)
	}
	if err := d.block(ctx, others); err != nil {
		return err
	}
	for _, older := range used[:len(used)-1] {
		if _, err := d.rbd(ctx, "image-meta", "remove", d.spec(id), tokenKey(older)); err != nil {
			return err
		}
	}
	return nil
}

func tokenKey(token uint64) string { return tokenPrefix + strconv.FormatUint(token, 10) }

// expel cuts off all who have an image open for writing.
func (d *Driver) expel(ctx context.Context, id string) error {
	clients, err := d.clients(ctx, id)
	if err != nil {
		return err
	}
	return d.block(ctx, clients)
}

// clients are the addresses of those who have an image open for writing. A dead one is among them for half a minute.
func (d *Driver) clients(ctx context.Context, id string) (addresses []string, err error) {
	said, err := d.rbd(ctx, "status", "--format", "json", d.spec(id))
	if err != nil {
		return nil, err
	}
	var status struct {
		Watchers []struct {
			Address string `json:"address"`
		} `json:"watchers"`
	}
	if err := json.Unmarshal(said, &status); err != nil {
		return nil, fmt.Errorf("%w: `rbd status` says %q", cluster.ErrUnavailable, said)
	}
	for _, watcher := range status.Watchers {
		addresses = append(addresses, watcher.Address)
	}
	return addresses, nil
}

// block has Ceph refuse whatever clients want from now on: each is one process's connection, whose address nobody has again.
func (d *Driver) block(ctx context.Context, clients []string) error {
	for _, address := range clients {
		if _, err := d.ceph(ctx, "osd", "blocklist", "add", address); err != nil {
			return fmt.Errorf("cut off the client %s: %w", address, err)
		}
	}
	return nil
}
