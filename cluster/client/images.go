package client

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/api"
)

// CreateImage creates an image, whose content is then uploaded.
func (c *Client) CreateImage(ctx context.Context, request api.CreateImage) (api.Image, error) {
	return exchange[api.Image](ctx, c, http.MethodPost, "images", nil, request)
}

// Images lists the tenant's and the public images.
func (c *Client) Images(ctx context.Context) ([]api.Image, error) {
	return all[api.Image](ctx, c, "images", nil)
}

// Image shows one, by id or name.
func (c *Client) Image(ctx context.Context, ref string) (api.Image, error) {
	return get[api.Image](ctx, c, "images/"+url.PathEscape(ref), nil)
}

// DeleteImage deletes an image that nothing uses.
func (c *Client) DeleteImage(ctx context.Context, ref string) error {
	return c.call(ctx, http.MethodDelete, "images/"+url.PathEscape(ref), nil, nil, nil)
}

// UploadImage uploads the content of an image from offset on, which must be what the image says is uploaded; content gives the rest. It may
// take long; a controller that takes nothing for half a minute is given up. After cluster.ErrUnavailable or cluster.ErrTimeout it may be
// taken up again.
func (c *Client) UploadImage(ctx context.Context, ref string, offset int64, content io.Reader) (api.Image, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	quiet := time.AfterFunc(silence, func() { cancel(errSilent) })
	defer quiet.Stop()
	request, err := c.request(ctx, http.MethodPut, "images/"+url.PathEscape(ref)+"/content", values("offset", strconv.FormatInt(offset, 10)), nil)
	if err != nil {
		return api.Image{}, err
	}
	request.Body = io.NopCloser(heard{content, func() { quiet.Reset(silence) }})
	request.Header.Set("Content-Type", "application/octet-stream")
	image, err := answered[api.Image](c, request)
	if errors.Is(context.Cause(ctx), errSilent) {
		return image, failed(cluster.ErrTimeout, "the controller at %s took nothing for %s: try again, and the upload goes on where it broke off", c.base.Host, silence)
	}
	return image, err
}

// DownloadImage writes the content of an image to w. What w holds after an error is not all of it.
func (c *Client) DownloadImage(ctx context.Context, ref string, w io.Writer) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	quiet := time.AfterFunc(silence, func() { cancel(errSilent) })
	defer quiet.Stop()
	response, err := c.send(ctx, http.MethodGet, "images/"+url.PathEscape(ref)+"/content", nil, nil)
	if err == nil {
		defer response.Body.Close()
		err = relay(w, response.Body, func() { quiet.Reset(silence) })
	}
	if errors.Is(context.Cause(ctx), errSilent) || errors.Is(err, errBroken) && ctx.Err() == nil {
		return failed(cluster.ErrUnavailable, "the content of image %q broke off: try again", ref)
	}
	if errors.Is(err, errBroken) {
		return context.Cause(ctx)
	}
	return err
}

// heard tells of every piece that is read.
type heard struct {
	io.Reader
	alive func()
}

func (h heard) Read(data []byte) (int, error) {
	h.alive()
	return h.Reader.Read(data)
}

// answered does a request that was made by hand.
func answered[T any](c *Client, request *http.Request) (answer T, err error) {
	response, err := c.http.Do(request)
	if err != nil {
		return answer, c.unreachable(request.Context(), err)
	}
	defer response.Body.Close()
	if response.StatusCode >= 300 {
		return answer, c.refused(response)
	}
	return answer, c.decode(response, &answer)
}
