package shim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"
)

// followEvery is how often a follower looks for more.
const followEvery = 50 * time.Millisecond

// Logs writes the last lines of the kept output to w, all of them if lines is negative, and with follow what comes until the program
// has ended or ctx has.
func (s Shim) Logs(ctx context.Context, lines int, follow bool, w io.Writer) error {
	reader, err := s.openOutput()
	if err != nil {
		return err
	}
	defer reader.close()
	kept, err := reader.kept()
	if err != nil {
		return err
	}
	if _, err := w.Write(lastLines(kept, lines)); err != nil || !follow {
		return err
	}
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	for {
		running, err := s.Running() // asked before the reading, so that the last words are not missed
		if err != nil {
			return err
		}
		if err := reader.more(w); err != nil || !running {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// reader is at a place of the output. The file stays open when it becomes output.1, so that nothing is read twice.
type reader struct {
	shim Shim
	file *os.File // nil when there is no output yet
}

func (s Shim) openOutput() (*reader, error) {
	file, err := os.Open(s.file(outputFile))
	if errors.Is(err, fs.ErrNotExist) {
		return &reader{shim: s}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the output of %s: %w", s.Owner, err)
	}
	return &reader{s, file}, nil
}

func (r *reader) close() {
	if r.file != nil {
		r.file.Close()
	}
}

// kept reads all that is kept, to the end of the open file.
func (r *reader) kept() ([]byte, error) {
	older, err := os.ReadFile(r.shim.file(outputFile + ".1"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read the output of %s: %w", r.shim.Owner, err)
	}
	if r.file == nil {
		return older, nil
	}
	newer, err := io.ReadAll(r.file)
	return append(older, newer...), err
}

// more passes on what has come since, in the file and in those after it.
func (r *reader) more(w io.Writer) error {
	if r.file != nil {
		if _, err := io.Copy(w, r.file); err != nil {
			return err
		}
	}
	next, err := r.shim.openOutput()
	if err != nil || next.file == nil {
		return err
	}
	if r.same(next) {
		next.close()
		return nil
	}
	if r.file != nil { // what was written to it between the two looks
		if _, err := io.Copy(w, r.file); err != nil {
			next.close()
			return err
		}
	}
	r.close()
	r.file = next.file
	_, err = io.Copy(w, r.file)
	return err
}

func (r *reader) same(other *reader) bool {
	if r.file == nil {
		return false
	}
	mine, err := r.file.Stat()
	if err != nil {
		return false
	}
	its, err := other.file.Stat()
	return err == nil && os.SameFile(mine, its)
}

// lastLines is the end of a text that has so many lines; a negative number is all of it.
func lastLines(text []byte, lines int) []byte {
	if lines < 0 {
		return text
	}
	start := len(bytes.TrimSuffix(text, []byte("\n")))
	if lines == 0 {
		return nil
	}
	for range lines {
		start = bytes.LastIndexByte(text[:max(start, 0)], '\n')
		if start < 0 {
			return text
		}
	}
	return text[start+1:]
}
