package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/api"
)

// CreateVolume creates a volume.
func (c *Client) CreateVolume(ctx context.Context, request api.CreateVolume) (api.Volume, error) {
	return exchange[api.Volume](ctx, c, http.MethodPost, "volumes", nil, request)
}

// Volumes lists the tenant's volumes.
func (c *Client) Volumes(ctx context.Context) ([]api.Volume, error) {
	return all[api.Volume](ctx, c, "volumes", nil)
}

// Volume shows one, by id or name.
func (c *Client) Volume(ctx context.Context, ref string) (api.Volume, error) {
	return get[api.Volume](ctx, c, "volumes/"+url.PathEscape(ref), nil)
}

// AttachVolume gives a volume to an instance; it is attaching while that runs and has not got it.
func (c *Client) AttachVolume(ctx context.Context, ref string, request api.AttachVolume) (api.Volume, error) {
	return exchange[api.Volume](ctx, c, http.MethodPost, "volumes/"+url.PathEscape(ref)+"/attach", nil, request)
}

// DetachVolume takes a volume from its instance; it is detaching while that runs and has not let go of it.
func (c *Client) DetachVolume(ctx context.Context, ref string) (api.Volume, error) {
	return exchange[api.Volume](ctx, c, http.MethodPost, "volumes/"+url.PathEscape(ref)+"/detach", nil, nil)
}

// AwaitVolume waits until a volume is in a state that lasts, attached or available. The other one is an error of class cluster.ErrConflict, with
// the reason.
func (c *Client) AwaitVolume(ctx context.Context, ref string, state cluster.VolumeState) (api.Volume, error) {
	for {
		found, err := c.Volume(ctx, ref)
		switch {
		case err != nil || found.State == state:
			return found, err
		case !found.State.Changing():
			return found, fmt.Errorf("volume %s: %w: it is %s: %s", ref, cluster.ErrConflict, found.State, cmp.Or(found.Reason, "somebody else changed that"))
		}
		select {
		case <-ctx.Done():
			return found, fmt.Errorf("volume %s: %w: it is %s; %s", ref, cluster.ErrTimeout, found.State, found.Reason)
		case <-time.After(lookAgain):
		}
	}
}

// DeleteVolume deletes a volume that no instance has. It is there, deleting, until its node has confirmed.
func (c *Client) DeleteVolume(ctx context.Context, ref string) error {
	return c.call(ctx, http.MethodDelete, "volumes/"+url.PathEscape(ref), nil, nil, nil)
}

// AwaitNoVolume waits until a volume that is being deleted is gone.
func (c *Client) AwaitNoVolume(ctx context.Context, ref string) error {
	for {
		found, err := c.Volume(ctx, ref)
		if errors.Is(err, cluster.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("volume %s: %w: it is %s; %s", ref, cluster.ErrTimeout, found.State, found.Reason)
		case <-time.After(lookAgain):
		}
	}
}

// DeleteVolumes deletes all volumes of a tenant whose instances are gone, and waits until they are gone, too. One that is copied just
// now is refused as a conflict, and asked again.
func (c *Client) DeleteVolumes(ctx context.Context) error {
	for {
		all, err := c.Volumes(ctx)
		if err != nil || len(all) == 0 {
			return err
		}
		for _, v := range all {
			if err := c.DeleteVolume(ctx, v.ID); err != nil && !errors.Is(err, cluster.ErrNotFound) && !errors.Is(err, cluster.ErrConflict) {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("volume %s: %w: it is %s; %s", all[0].ID, cluster.ErrTimeout, all[0].State, all[0].Reason)
		case <-time.After(lookAgain):
		}
	}
}
