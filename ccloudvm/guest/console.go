package guest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"time"
)

// ErrBroken says that the guest's own console shows it will not get ready.
var ErrBroken = errors.New("the guest broke down while starting")

// omens are the lines that no guest recovers from by itself. They match one line, without colour codes.
func omens() []*regexp.Regexp {
	return []*regexp.Regexp{
		regexp.MustCompile(`Kernel panic - not syncing: .*`),
		regexp.MustCompile(`You are in (emergency|rescue) mode.*`),
		regexp.MustCompile(`Cannot open access to console, the root account is locked.*`),
		regexp.MustCompile(`Gave up waiting for root (file system )?device.*`),
		regexp.MustCompile(`No bootable device.*`),
		regexp.MustCompile(`Failed loading yaml blob.*|Failed at merging in cloud config part.*`),
		regexp.MustCompile(`(cloud-init|util.py).*\bTraceback \(most recent call last\).*`),
		regexp.MustCompile(`Out of memory and no killable processes.*`),
	}
}

var colour = regexp.MustCompile("\x1b\\[[0-9;?]*[a-zA-Z]")

// WatchConsole follows the log of a guest's serial console, which may not exist yet, until ctx ends (nil) or a line tells that the
// guest is lost ([ErrBroken] with that line).
func WatchConsole(ctx context.Context, log string) error {
	w := consoleWatcher{omens: omens()}
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	var offset int64
	for {
		var err error
		if offset, err = w.readFrom(log, offset); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// maxConsoleLine bounds what is kept of an unfinished line.
const maxConsoleLine = 4096

type consoleWatcher struct {
	omens   []*regexp.Regexp
	partial []byte
}

// readFrom looks at everything in the file behind offset and returns where it stopped.
func (w *consoleWatcher) readFrom(path string, offset int64) (int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return offset, nil // not there yet
	}
	defer f.Close()
	if _, err := f.Seek(offset, io.SeekStart); err != nil {
		return offset, fmt.Errorf("reading the console log: %w", err)
	}
	buffer := make([]byte, 64<<10)
	for {
		n, err := f.Read(buffer)
		offset += int64(n)
		if found := w.add(buffer[:n]); found != "" {
			return offset, fmt.Errorf("%w: %s", ErrBroken, found)
		}
		if err != nil || n == 0 {
			return offset, nil
		}
	}
}

// add takes more of the console and returns the first line that is an omen.
func (w *consoleWatcher) add(b []byte) string {
	w.partial = append(w.partial, b...)
	for {
		line, rest, whole := bytes.Cut(w.partial, []byte("\n"))
		if !whole {
			w.partial = append([]byte(nil), line[max(0, len(line)-maxConsoleLine):]...)
			return ""
		}
		w.partial = rest
		plain := colour.ReplaceAll(line, nil)
		for _, o := range w.omens {
			if m := o.Find(plain); m != nil {
				return printable(string(m))
			}
		}
	}
}
