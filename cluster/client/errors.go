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

// failure is an error of a class whose sentence need not repeat the class.
type failure struct {
	class error
	error
}

// Unwrap gives the class and what the sentence wraps.
func (f failure) Unwrap() []error { return []error{f.class, f.error} }

func failed(class error, format string, args ...any) error {
	return failure{class, fmt.Errorf(format, args...)}
}

// refused is the error of an answer that is one.
func (c *Client) refused(response *http.Response) error {
	problem := &api.Problem{}
	data, err := io.ReadAll(io.LimitReader(response.Body, maxProblem))
	if err == nil && json.Unmarshal(data, problem) == nil && problem.Code != "" {
		return problem
	}
	return &api.Problem{Status: response.StatusCode, Title: response.Status, Code: api.CodeOf(response.StatusCode),
		Detail: fmt.Sprintf("%s answered %s, which is not how a ciao controller answers: check %s", c.base.Host, response.Status, EnvController)}
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
		return failed(cluster.ErrTimeout, "the controller at %s did not answer in time; `singlevm status` or its log says how it is", c.base.Host)
	case isTLS(err):
		return failed(cluster.ErrPermission, "the controller at %s has no certificate that you trust (%w): is %s right, and %s the authority of that cluster?",
			c.base.Host, err, EnvController, EnvCA)
	default:
		return failed(cluster.ErrUnavailable, "cannot reach the controller at %s (%w): is it running, and is %s right?", c.base.Host, err, EnvController)
	}
}

func (c *Client) unusable(err error) error {
	return failed(cluster.ErrUnavailable, "the answer of %s broke off or is not of this version's form (%w)", c.base.Host, err)
}
