package client

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/api"
)

// CreatePool creates a pool of external IPs.
func (c *Client) CreatePool(ctx context.Context, request api.CreatePool) (api.Pool, error) {
	return exchange[api.Pool](ctx, c, http.MethodPost, "pools", nil, request)
}

// Pools lists the pools of external IPs.
func (c *Client) Pools(ctx context.Context) ([]api.Pool, error) {
	return all[api.Pool](ctx, c, "pools", nil)
}

// Pool shows one, by id or name.
func (c *Client) Pool(ctx context.Context, ref string) (api.Pool, error) {
	return get[api.Pool](ctx, c, "pools/"+url.PathEscape(ref), nil)
}

// UpdatePool gives a pool addresses, and takes some from it.
func (c *Client) UpdatePool(ctx context.Context, ref string, update api.UpdatePool) (api.Pool, error) {
	return exchange[api.Pool](ctx, c, http.MethodPatch, "pools/"+url.PathEscape(ref), nil, update)
}

// DeletePool deletes a pool that no tenant has an address of.
func (c *Client) DeletePool(ctx context.Context, ref string) error {
	return c.call(ctx, http.MethodDelete, "pools/"+url.PathEscape(ref), nil, nil, nil)
}

// CreateExternalIP takes an address from a pool, and attaches it if the request names an instance.
func (c *Client) CreateExternalIP(ctx context.Context, request api.CreateExternalIP) (api.ExternalIP, error) {
	return exchange[api.ExternalIP](ctx, c, http.MethodPost, "external-ips", nil, request)
}

// ExternalIPs lists the tenant's external IPs.
func (c *Client) ExternalIPs(ctx context.Context) ([]api.ExternalIP, error) {
	return all[api.ExternalIP](ctx, c, "external-ips", nil)
}

// ExternalIP shows one, by its address.
func (c *Client) ExternalIP(ctx context.Context, address string) (api.ExternalIP, error) {
	return get[api.ExternalIP](ctx, c, "external-ips/"+url.PathEscape(address), nil)
}

// AttachExternalIP attaches an external IP to an instance.
func (c *Client) AttachExternalIP(ctx context.Context, address, instance string) (api.ExternalIP, error) {
	return exchange[api.ExternalIP](ctx, c, http.MethodPost, "external-ips/"+url.PathEscape(address)+"/attach", nil, api.AttachExternalIP{Instance: instance})
}

// DetachExternalIP detaches an external IP from its instance.
func (c *Client) DetachExternalIP(ctx context.Context, address string) (api.ExternalIP, error) {
	return exchange[api.ExternalIP](ctx, c, http.MethodPost, "external-ips/"+url.PathEscape(address)+"/detach", nil, nil)
}

// DeleteExternalIP gives an external IP back to its pool.
func (c *Client) DeleteExternalIP(ctx context.Context, address string) error {
	return c.call(ctx, http.MethodDelete, "external-ips/"+url.PathEscape(address), nil, nil, nil)
}

// lookAgain is how often an external IP or a volume is looked at while it comes to a state.
const lookAgain = 20 * time.Millisecond

// AwaitExternalIP waits until an external IP is in a state. One that failed is an error of class cluster.ErrUnavailable with its reason,
// although the cluster goes on trying.
func (c *Client) AwaitExternalIP(ctx context.Context, address string, state cluster.ExternalIPState) (api.ExternalIP, error) {
	for {
		found, err := c.ExternalIP(ctx, address)
		switch {
		case err != nil || found.State == state:
			return found, err
		case found.State == cluster.ExternalFailed:
			return found, fmt.Errorf("external IP %s: %w: %s", address, cluster.ErrUnavailable, found.Reason)
		}
		select {
		case <-ctx.Done():
			return found, fmt.Errorf("external IP %s: %w: it is %s; %s", address, cluster.ErrTimeout, found.State, found.Reason)
		case <-time.After(lookAgain):
		}
	}
}
