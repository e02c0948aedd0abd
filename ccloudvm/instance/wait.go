package instance

import (
	"bytes"
	"context"
	"errors"
	"os"
	"regexp"
	"time"

	"github.com/ciaocloud/ciao/ccloudvm"
)

// pause waits and tells whether ctx let it.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// endedBy is the error of work that failed in a phase: when it failed because its context ended, that is what is said.
func endedBy(ctx context.Context, err error, phase string) error {
	if ctx.Err() == nil || errors.Is(err, ccloudvm.ErrTimeout) {
		return err
	}
	cause := context.Cause(ctx)
	if errors.Is(cause, context.DeadlineExceeded) {
		return timeoutError("the time that --timeout gave was over in the phase %q", phase)
	}
	return cause
}

// pollEvery is how often files that other processes write are looked at.
const pollEvery = 100 * time.Millisecond

// tail reads the complete lines that are added to a file, which may not exist yet.
type tail struct {
	path   string
	offset int64
}

// maxTail bounds what one look takes in.
const maxTail = 1 << 20

// lines returns the new complete lines. A file that has become shorter is a new one.
func (t *tail) lines() [][]byte {
	f, err := os.Open(t.path)
	if err != nil {
		return nil
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil
	}
	if info.Size() < t.offset {
		t.offset = 0
	}
	b := make([]byte, min(info.Size()-t.offset, maxTail))
	n, _ := f.ReadAt(b, t.offset)
	b = b[:n]
	end := bytes.LastIndexByte(b, '\n') + 1
	if end == 0 && n == maxTail { // a line without an end: not ours
		end = n
	}
	t.offset += int64(end)
	return bytes.SplitAfter(b[:end], []byte("\n"))
}

// waitForLine tells whether a line of the file matches before ctx ends.
func waitForLine(ctx context.Context, path string, pattern *regexp.Regexp) bool {
	t := tail{path: path}
	for {
		for _, line := range t.lines() {
			if pattern.Match(line) {
				return true
			}
		}
		if !pause(ctx, 4*pollEvery) {
			return false
		}
	}
}
