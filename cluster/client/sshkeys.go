package client

import (
	"context"
	"net/http"
	"net/url"

	"github.com/ciaocloud/ciao/cluster/api"
)

// CreateSSHKey has the tenant keep a public key.
func (c *Client) CreateSSHKey(ctx context.Context, request api.CreateSSHKey) (api.SSHKey, error) {
	return exchange[api.SSHKey](ctx, c, http.MethodPost, "ssh-keys", nil, request)
}

// SSHKeys lists the tenant's keys.
func (c *Client) SSHKeys(ctx context.Context) ([]api.SSHKey, error) {
	return all[api.SSHKey](ctx, c, "ssh-keys", nil)
}

// SSHKey shows one, by id or name.
func (c *Client) SSHKey(ctx context.Context, ref string) (api.SSHKey, error) {
	return get[api.SSHKey](ctx, c, "ssh-keys/"+url.PathEscape(ref), nil)
}

// DeleteSSHKey forgets a key. Instances that were created with it keep it.
func (c *Client) DeleteSSHKey(ctx context.Context, ref string) error {
	return c.call(ctx, http.MethodDelete, "ssh-keys/"+url.PathEscape(ref), nil, nil, nil)
}
