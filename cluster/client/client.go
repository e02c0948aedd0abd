// Package client is the typed client of ciao's HTTP interface (package api).
//
// What is guaranteed: every error is of a class of package cluster, with a sentence that says what to do next; every call has a
// deadline, the context's or the client's own; Watch reconnects by itself and says with a resync that changes may have been missed.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/api"
	"github.com/ciaocloud/ciao/cluster/stream"
)

// Bounds of an answer.
const (
	defaultTimeout = 60 * time.Second
	maxAnswer      = 256 << 20
)

// Client calls one controller. It may be used from many goroutines.
type Client struct {
	base   *url.URL
	http   *http.Client
	stream *http.Client // for WebSockets, which need HTTP/1.1
	tenant string
}

// New makes a client. Nothing is sent before the first call.
func New(config Config) (*Client, error) {
	base, transport, err := config.prepare()
	if err != nil {
		return nil, err
	}
	stay := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse } // a controller sends nobody elsewhere
	return &Client{
		base: base, http: &http.Client{Transport: transport, CheckRedirect: stay},
		stream: &http.Client{Transport: stream.HTTP1(transport), CheckRedirect: stay}, tenant: config.Tenant,
	}, nil
}

// ForTenant is the same client acting for another tenant; empty is the certificate's own, or all for an operator.
func (c *Client) ForTenant(tenant string) *Client {
	other := *c
	other.tenant = tenant
	return &other
}

// ActsFor is the id or name of the tenant that the client was told to act for, if any.
func (c *Client) ActsFor() string { return c.tenant }

// Close gives idle connections back.
func (c *Client) Close() {
	c.http.CloseIdleConnections()
	c.stream.CloseIdleConnections()
}

// call sends one request and decodes the answer into answer, which may be nil.
func (c *Client) call(ctx context.Context, method, path string, query url.Values, body, answer any) error {
	if _, bounded := ctx.Deadline(); !bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, defaultTimeout)
		defer cancel()
	}
	response, err := c.send(ctx, method, path, query, body)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if answer == nil {
		return nil
	}
	err = c.decode(response, answer)
	if err != nil && ctx.Err() != nil { // the caller left, or the time was over, while the answer came
		return c.unreachable(ctx, ctx.Err())
	}
	return err
}

func (c *Client) decode(response *http.Response, answer any) error {
	if err := json.NewDecoder(io.LimitReader(response.Body, maxAnswer)).Decode(answer); err != nil {
		return c.unusable(err)
	}
	return nil
}

// send returns an answer that is not an error; the caller closes its body.
func (c *Client) send(ctx context.Context, method, path string, query url.Values, body any) (*http.Response, error) {
	request, err := c.request(ctx, method, path, query, body)
	if err != nil {
		return nil, err
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, c.unreachable(ctx, err)
	}
	if response.StatusCode < 300 {
		return response, nil
	}
	defer response.Body.Close()
	return nil, c.refused(response)
}

func (c *Client) request(ctx context.Context, method, path string, query url.Values, body any) (*http.Request, error) {
	// These would name another resource (RFC 3986, section 5.2.4): deleting instance "." must not delete all.
	for segment := range strings.SplitSeq(path, "/") {
		if segment == "" || segment == "." || segment == ".." {
			return nil, failed(cluster.ErrNotFound, "%q: not found: it is not a name", segment)
		}
	}
	var reader io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("encode the request: %w", err)
		}
		reader = bytes.NewReader(data)
	}
	target := c.base.JoinPath(api.Version, path)
	if query == nil {
		query = url.Values{}
	}
	if c.tenant != "" {
		query.Set("tenant", c.tenant)
	}
	target.RawQuery = query.Encode()
	request, err := http.NewRequestWithContext(ctx, method, target.String(), reader)
	if err != nil {
		return nil, fmt.Errorf("make the request: %w", err)
	}
	request.Header.Set("Accept", "application/json, application/problem+json, text/event-stream")
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	return request, nil
}

// get fetches one thing.
func get[T any](ctx context.Context, c *Client, path string, query url.Values) (T, error) {
	var answer T
	err := c.call(ctx, http.MethodGet, path, query, nil, &answer)
	return answer, err
}

// exchange sends a body and returns the answer.
func exchange[T any](ctx context.Context, c *Client, method, path string, query url.Values, body any) (T, error) {
	var answer T
	err := c.call(ctx, method, path, query, body, &answer)
	return answer, err
}

// all follows the pages of a list to its end.
func all[T any](ctx context.Context, c *Client, path string, query url.Values) ([]T, error) {
	items := []T{}
	if query == nil {
		query = url.Values{}
	}
	for {
		page, err := get[api.List[T]](ctx, c, path, query)
		if err != nil {
			return nil, err
		}
		items = append(items, page.Items...)
		if page.Next == "" {
			return items, nil
		}
		query.Set("after", page.Next)
	}
}

func values(pairs ...string) url.Values {
	query := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			query.Set(pairs[i], pairs[i+1])
		}
	}
	return query
}
