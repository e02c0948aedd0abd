package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/api"
)

// maxProblem bounds what is read of an error, in bytes.
const maxProblem = 1 << 20

// refused is the error of an answer that is one.
func (c *Client) refused(response *http.Response) error {
	problem := &api.Problem{}
	data, err := io.ReadAll(io.LimitReader(response.Body, maxProblem))
	if err == nil && json.Unmarshal(data, problem) == nil && problem.Code != "" {
		return problem
	}
	return &api.Problem{Status: response.StatusCode, Title: response.Status, Code: api.CodeOf(response.StatusCode),
		Detail: fmt.Sprintf("%s answered %s; is it a ciao controller?", c.base.Host, response.Status)}
}

// unreachable says why no answer came.
func (c *Client) unreachable(ctx context.Context, err error) error {
	var inner *url.Error
	if errors.As(err, &inner) {
		err = inner.Err
	}
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return context.Cause(ctx)
	case errors.Is(err, context.DeadlineExceeded) || os.IsTimeout(err):
		return fmt.Errorf("%w: the controller at %s did not answer in time; `singlevm status` or its log says how it is", cluster.ErrTimeout, c.base.Host)
	case isTLS(err):
		return fmt.Errorf("%w: no trust between you and the controller at %s (%w): check %s and %s", cluster.ErrPermission, c.base.Host, err, EnvCA, EnvClientCert)
	default:
		return fmt.Errorf("%w: cannot reach the controller at %s (%w): is it running, and is %s right?", cluster.ErrUnavailable, c.base.Host, err, EnvController)
	}
}

func (c *Client) unusable(err error) error {
	return fmt.Errorf("%w: the answer of %s broke off or is not of this version's form (%w)", cluster.ErrUnavailable, c.base.Host, err)
}
