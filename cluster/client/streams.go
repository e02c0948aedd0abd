package client

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"strconv"
)

// Logs is how a log is to be read.
type Logs struct {
	Tail   int  // only the last so many lines; negative is all
	Follow bool // go on until the instance ends, or ctx does
}

// Logs writes what an instance printed to out. It has no deadline but that of ctx.
func (c *Client) Logs(ctx context.Context, ref string, logs Logs, out io.Writer) error {
	query := values("tail", strconv.Itoa(logs.Tail), "follow", strconv.FormatBool(logs.Follow))
	response, err := c.send(ctx, http.MethodGet, "instances/"+url.PathEscape(ref)+"/logs", query, nil)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	into := &sink{Writer: out}
	_, err = io.Copy(into, response.Body)
	switch {
	case into.err != nil:
		return into.err
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		return c.unusable(err)
	}
	return nil
}

// sink tells an error of writing from one of reading.
type sink struct {
	io.Writer
	err error
}

func (s *sink) Write(data []byte) (n int, err error) {
	n, s.err = s.Writer.Write(data)
	return n, s.err
}
