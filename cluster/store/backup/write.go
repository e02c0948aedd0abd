package backup

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"hash"
	"io"
	"iter"
	"time"
	"unicode/utf8"

	"github.com/ciaocloud/ciao/cluster/store"
)

// writeBytes are written at a time.
const writeBytes = 64 << 10

// Write writes a backup of a cluster's snapshot, which was taken at a time. When it fails, what it has written is of no use. Its
// errors are those of the writer and of the snapshot.
func Write(w io.Writer, cluster string, at time.Time, s store.Snapshot) (Summary, error) {
	next, stop := iter.Pull2(s.Rows)
	defer stop()
	row, err, more := next()
	if err != nil {
		return Summary{}, fmt.Errorf("read the store: %w", err)
	}
	head := Header{Format: Format, Cluster: cluster, Revision: s.Revision, Time: at.UTC()}
	head.Schema, head.SchemaName, _ = store.SchemaOf(row)
	buffered := bufio.NewWriterSize(w, writeBytes)
	out := &writer{sum: newSum()}
	out.to = io.MultiWriter(buffered, out.sum)
	if err := out.header(head); err != nil {
		return Summary{}, err
	}
	rows := 0
	for ; more; row, err, more = next() {
		if err != nil {
			return Summary{}, fmt.Errorf("read the store: %w", err)
		}
		if err := out.row(row); err != nil {
			return Summary{}, err
		}
		rows++
	}
	if _, err := buffered.WriteString(end(rows, out.sum)); err != nil {
		return Summary{}, err
	}
	return Summary{head, rows}, buffered.Flush()
}

// Source begins snapshots; a *store.DB and a store.Backend are sources.
type Source interface {
	Snapshot(ctx context.Context) (store.Snapshot, error)
}

// Begin takes a snapshot of a cluster's store now, and returns what writes it as a backup, once, while ctx lives.
func Begin(ctx context.Context, cluster string, source Source) (write func(io.Writer) error, err error) {
	s, err := source.Snapshot(ctx)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	return func(w io.Writer) error {
		_, err := Write(w, cluster, now, s)
		return err
	}, nil
}

type writer struct {
	to   io.Writer
	sum  hash.Hash
	line bytes.Buffer
}

func (w *writer) header(h Header) error {
	data, err := json.Marshal(h)
	if err != nil {
		return fmt.Errorf("head of the backup: %w", err)
	}
	_, err = w.to.Write(append(data, '\n'))
	return err
}

func (w *writer) row(r store.RawRow) error {
	if !utf8.ValidString(r.Path) {
		return fmt.Errorf("the store has a row %q, whose key is not valid UTF-8", r.Path)
	}
	path, err := json.Marshal(r.Path)
	if err != nil {
		return err
	}
	w.line.Reset()
	w.line.WriteString(`{"path":`)
	w.line.Write(path)
	w.line.WriteString(`,"value":`)
	if err := json.Compact(&w.line, r.Value); err != nil { // a row is one line, whatever a migration has made of it
		return fmt.Errorf("the store has a row %q, which is not JSON: %w", r.Path, err)
	}
	w.line.WriteString("}\n")
	_, err = w.to.Write(w.line.Bytes())
	return err
}
