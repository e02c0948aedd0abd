package backup

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"iter"
	"strings"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/store"
)

var (
	errForeign   = fmt.Errorf("this is not a backup of a ciao store: name a file that `ciao store backup` has made: %w", cluster.ErrInvalid)
	errTruncated = fmt.Errorf("the backup breaks off before its end: use a whole copy of it: %w", cluster.ErrInvalid)
)

// magic is how every backup begins, of whatever version.
const magic = `{"ciao_store_backup":`

// Reader reads a backup.
type Reader struct {
	Header Header
	lines  *bufio.Reader
	sum    hash.Hash
}

// NewReader reads the head of a backup.
func NewReader(r io.Reader) (*Reader, error) {
	b := &Reader{lines: bufio.NewReaderSize(r, maxLineBytes), sum: newSum()}
	if head, err := b.lines.Peek(len(magic)); string(head) != magic {
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("read the backup: %w", err)
		}
		return nil, errForeign
	}
	text, err := b.next()
	if err != nil {
		return nil, err
	}
	var version struct {
		Format int `json:"ciao_store_backup"`
	}
	switch err := json.Unmarshal(text, &version); {
	case err != nil || len(text) > maxHeaderBytes || version.Format < 1:
		return nil, errForeign
	case version.Format > Format:
		return nil, fmt.Errorf("the backup has form %d and this program knows up to %d: use a program as new as the backup: %w: %w",
			version.Format, Format, store.ErrNewer, cluster.ErrInvalid)
	}
	if err := json.Unmarshal(text, &b.Header); err != nil {
		return nil, damaged("its head: %v", err)
	}
	b.sum.Write(text)
	return b, nil
}

// Rows yields all rows, in order of their paths, once. An error is the last thing that comes; without one the backup was whole.
func (b *Reader) Rows() iter.Seq2[store.RawRow, error] {
	return func(yield func(store.RawRow, error) bool) {
		last, count := "", 0
		for {
			row, done, err := b.row(last, count)
			if err != nil {
				yield(store.RawRow{}, err)
				return
			}
			if done || !yield(row, nil) {
				return
			}
			last = row.Path
			count++
		}
	}
}

// row reads one line; done says that it was the last.
func (b *Reader) row(last string, count int) (row store.RawRow, done bool, err error) {
	text, err := b.next()
	if err != nil {
		return row, false, err
	}
	var l line
	if err := json.Unmarshal(text, &l); err != nil {
		return row, false, damaged("line %d: %v", count+2, err)
	}
	if l.Sum != "" {
		return row, true, b.end(text, count)
	}
	table, key, _ := strings.Cut(l.Path, "/")
	switch {
	case l.Value == nil || table == "" || key == "" || len(key) > store.MaxKeyBytes:
		return row, false, damaged("line %d is not a row", count+2)
	case l.Path <= last:
		return row, false, damaged("row %q is not in its place", l.Path)
	case len(l.Value) > store.MaxRowBytes:
		return row, false, damaged("row %q is too large", l.Path)
	}
	b.sum.Write(text)
	return store.RawRow{Path: l.Path, Value: l.Value}, false, nil
}

// end compares the last line, and wants nothing behind it.
func (b *Reader) end(text []byte, count int) error {
	if !bytes.Equal(text, []byte(end(count, b.sum))) {
		return damaged("its checksum is another")
	}
	if _, err := b.lines.ReadByte(); !errors.Is(err, io.EOF) {
		return damaged("something follows its end")
	}
	return nil
}

// next is the next line, with its end, until the one after it is read.
func (b *Reader) next() ([]byte, error) {
	text, err := b.lines.ReadSlice('\n')
	switch {
	case errors.Is(err, io.EOF):
		return nil, errTruncated
	case errors.Is(err, bufio.ErrBufferFull):
		return nil, damaged("a line has more than %d bytes", maxLineBytes)
	case err != nil:
		return nil, fmt.Errorf("read the backup: %w", err)
	}
	return text, nil
}

func damaged(format string, args ...any) error {
	return fmt.Errorf("the backup is damaged (%s): use another copy of it: %w", fmt.Sprintf(format, args...), cluster.ErrInvalid)
}

// Check reads a backup to its end.
func Check(r io.Reader) (Summary, error) {
	b, err := NewReader(r)
	if err != nil {
		return Summary{}, err
	}
	found := Summary{Header: b.Header}
	for _, err := range b.Rows() {
		if err != nil {
			return Summary{}, err
		}
		found.Rows++
	}
	return found, nil
}
