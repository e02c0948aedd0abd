package client

import (
	"context"
	"net/http"
	"net/url"

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

// AttachVolume gives a volume to an instance that does not run.
func (c *Client) AttachVolume(ctx context.Context, ref string, request api.AttachVolume) (api.Volume, error) {
	return exchange[api.Volume](ctx, c, http.MethodPost, "volumes/"+url.PathEscape(ref)+"/attach", nil, request)
}

// DetachVolume takes a volume from its instance, which does not run.
func (c *Client) DetachVolume(ctx context.Context, ref string) (api.Volume, error) {
	return exchange[api.Volume](ctx, c, http.MethodPost, "volumes/"+url.PathEscape(ref)+"/detach", nil, nil)
}

// DeleteVolume deletes a volume that no instance has. It is there, deleting, until its node has confirmed.
func (c *Client) DeleteVolume(ctx context.Context, ref string) error {
	return c.call(ctx, http.MethodDelete, "volumes/"+url.PathEscape(ref), nil, nil, nil)
}
