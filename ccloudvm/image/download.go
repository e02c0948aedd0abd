package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

// attempts is how often a download that breaks off is taken up again.
const attempts = 5

// download leaves the content of url in the file partial, going on from what is there already.
func (s *Store) download(ctx context.Context, url, partial string, report Report) error {
	started := time.Now()
	var err error
	for try := range attempts {
		if try > 0 {
			select {
			case <-ctx.Done():
				return context.Cause(ctx)
			case <-time.After(time.Duration(try) * time.Second / 2):
			}
		}
		before := size(partial)
		var again bool
		again, err = s.attempt(ctx, url, partial, started, report)
		if err == nil || !again || ctx.Err() != nil {
			return err
		}
		if try == 0 && size(partial) == before {
			return err // not even a beginning: the site is not there
		}
	}
	return err
}

// attempt makes one request. again says that another one may get further.
func (s *Store) attempt(ctx context.Context, url, partial string, started time.Time, report Report) (again bool, err error) {
	f, err := os.OpenFile(partial, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	have, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return false, err
	}
	stall := s.Stall
	if stall == 0 {
		stall = time.Minute
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watchdog := time.AfterFunc(stall, func() { cancel(fmt.Errorf("%w: nothing came for %v", ErrUnreachable, stall)) })
	defer watchdog.Stop()

	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false, err
	}
	if tag := readTag(partial); have > 0 && tag != "" {
		req.Header.Set("Range", "bytes="+strconv.FormatInt(have, 10)+"-")
		req.Header.Set("If-Range", tag) // the rest of another file would be refused by its digest only at the end
	} else {
		have = 0
	}
	resp, err := s.client().Do(req)
	if err != nil {
		return true, unreachable(ctx, err)
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusPartialContent:
	case http.StatusRequestedRangeNotSatisfiable:
		return true, errors.Join(fmt.Errorf("%s: what was downloaded before is of no use", url), f.Truncate(0))
	case http.StatusOK:
		have = 0
	default:
		return resp.StatusCode >= 500, fmt.Errorf("%w: %s answers %s", ErrUnreachable, url, resp.Status)
	}
	if err := f.Truncate(have); err != nil {
		return false, err
	}
	if _, err := f.Seek(have, io.SeekStart); err != nil {
		return false, err
	}
	writeTag(partial, resp)
	w := &progressWriter{w: f, p: Progress{Phase: "download", Text: url, Done: have}, report: report, started: started,
		wrote: func() { watchdog.Reset(stall) }}
	if resp.ContentLength >= 0 {
		w.p.Total = have + resp.ContentLength
	}
	if _, err := io.Copy(w, resp.Body); err != nil {
		if w.failed != nil {
			return false, w.failed
		}
		return true, unreachable(ctx, err)
	}
	w.flush()
	return false, nil
}

func size(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}

// A partial download keeps the validator it came with beside it: only a strong one may be used to go on (RFC 9110, 13.1.5).
func writeTag(partial string, resp *http.Response) {
	tag := resp.Header.Get("ETag")
	if strings.HasPrefix(tag, "W/") || tag == "" {
		tag = resp.Header.Get("Last-Modified")
	}
	os.WriteFile(partial+".tag", []byte(tag), 0o600) // without it the next attempt starts over
}

func readTag(partial string) string {
	b, _ := os.ReadFile(partial + ".tag")
	return string(b)
}

// progressWriter reports what passes, ten times a second at most.
type progressWriter struct {
	w       io.Writer
	p       Progress
	report  Report
	started time.Time
	last    time.Time
	wrote   func()
	failed  error // to write
}

func (w *progressWriter) Write(b []byte) (int, error) {
	n, err := w.w.Write(b)
	w.p.Done += int64(n)
	w.failed = err
	w.wrote()
	if now := time.Now(); now.Sub(w.last) >= 100*time.Millisecond {
		w.last = now
		w.flush()
	}
	return n, err
}

func (w *progressWriter) flush() {
	w.p.Elapsed = time.Since(w.started)
	w.report.send(w.p)
}

// copyFile copies a local image into the store.
func copyFile(ctx context.Context, from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	_, err = io.Copy(out, readerContext{ctx, in})
	return err
}

// readerContext is a reader that ends with a context.
type readerContext struct {
	ctx context.Context //nolint:containedctx // io.Reader has no place for it
	r   io.Reader
}

func (r readerContext) Read(b []byte) (int, error) {
	if r.ctx.Err() != nil {
		return 0, context.Cause(r.ctx)
	}
	return r.r.Read(b)
}
