package backup

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/store"
)

// The golden file is of the first form, which every later program must read: when the form changes, it stays and gets a neighbour.
const golden = "testdata/form-1.backup"

var update = flag.Bool("update", false, "write "+golden)

var noon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

func example() []store.RawRow {
	return []store.RawRow{
		{Path: "_/schema", Value: []byte(`{"number":2,"name":"split names"}`), Revision: 1},
		{Path: "claims/tenant/blue & <green>", Value: []byte(`{"owner":"1"}`), Revision: 7},
		{Path: "tenants/1", Value: []byte(`{"id":"1","name":"Grüße\u003c\n"}`), Revision: 8},
	}
}

func snapshot(rows []store.RawRow, fails error) store.Snapshot {
	return store.Snapshot{Revision: 8, Rows: func(yield func(store.RawRow, error) bool) {
		for _, row := range rows {
			if !yield(row, nil) {
				return
			}
		}
		if fails != nil {
			yield(store.RawRow{}, fails)
		}
	}}
}

func written(t *testing.T, rows []store.RawRow) []byte {
	t.Helper()
	var out bytes.Buffer
	if _, err := Write(&out, "lab", noon, snapshot(rows, nil)); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func read(r io.Reader) (Header, []store.RawRow, error) {
	b, err := NewReader(r)
	if err != nil {
		return Header{}, nil, err
	}
	var rows []store.RawRow
	for row, err := range b.Rows() {
		if err != nil {
			return b.Header, rows, err
		}
		rows = append(rows, row)
	}
	return b.Header, rows, nil
}

func withoutRevisions(rows []store.RawRow) (out []store.RawRow) {
	for _, row := range rows {
		row.Revision = 0
		out = append(out, row)
	}
	return out
}

func TestGoldenIsReadAndWritten(t *testing.T) {
	data := written(t, example())
	if *update {
		if err := os.WriteFile(golden, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	kept, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(kept), string(data)); diff != "" {
		t.Errorf("what is written is another form (-golden +now): give it a new number: %s", diff)
	}
	head, rows, err := read(bytes.NewReader(kept))
	if err != nil {
		t.Fatal(err)
	}
	want := Header{Format: 1, Cluster: "lab", Schema: 2, SchemaName: "split names", Revision: 8, Time: noon}
	if diff := cmp.Diff(want, head); diff != "" {
		t.Errorf("head (-want +got): %s", diff)
	}
	if diff := cmp.Diff(withoutRevisions(example()), rows); diff != "" {
		t.Errorf("rows (-want +got): %s", diff)
	}
	summary, err := Check(bytes.NewReader(kept))
	if diff := cmp.Diff(Summary{want, 3}, summary); diff != "" || err != nil {
		t.Errorf("%v (-want +got): %s", err, diff)
	}
}

func TestEmptyStore(t *testing.T) {
	head, rows, err := read(bytes.NewReader(written(t, nil)))
	if err != nil || len(rows) != 0 || head.Schema != 0 || head.Cluster != "lab" {
		t.Errorf("%+v, %v, %v", head, rows, err)
	}
}

// TestEveryDamageIsSeen cuts the golden file at every byte, and changes every byte in several ways.
func TestEveryDamageIsSeen(t *testing.T) {
	good := written(t, example())
	refused := func(what string, data []byte) {
		if _, err := Check(bytes.NewReader(data)); !errors.Is(err, cluster.ErrInvalid) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", what, err)
		}
	}
	for at := range good {
		refused(fmt.Sprintf("cut at %d", at), good[:at])
		for _, flip := range []byte{1, 4, 0x20, 0x80} {
			bad := bytes.Clone(good)
			bad[at] ^= flip
			refused(fmt.Sprintf("bits %x of byte %d changed", flip, at), bad)
		}
	}
	refused("repeated", append(bytes.Clone(good), good...))
	lines := bytes.SplitAfter(bytes.TrimSuffix(good, []byte("\n")), []byte("\n"))
	for i := range lines {
		refused(fmt.Sprintf("without line %d", i+1), append(bytes.Join(slices.Delete(slices.Clone(lines), i, i+1), nil), '\n'))
	}
}

func TestRefusalsSayWhatToDo(t *testing.T) {
	head := magic + `1,"cluster":"lab","schema":0,"revision":1,"time":"2026-03-04T12:00:00Z"}` + "\n"
	row := func(path string) string { return `{"path":"` + path + `","value":{}}` + "\n" }
	for _, test := range []struct{ name, data, says string }{
		{"nothing", "", "is not a backup of a ciao store"},
		{"a text", "Dear operator,\n", "name a file that `ciao store backup` has made"},
		{"an archive", "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03", "is not a backup"},
		{"zeroes", strings.Repeat("\x00", 1<<16), "is not a backup"},
		{"head cut", head[:40], "breaks off before its end"},
		{"a newer form", magic + `2,"everything":"else"}` + "\n", "use a program as new as the backup"},
		{"no form", magic + `0}` + "\n", "is not a backup"},
		{"no end", head, "breaks off before its end"},
		{"rows in disorder", head + row("b/1") + row("a/1"), `row "a/1" is not in its place`},
		{"a row twice", head + row("b/1") + row("b/1"), `row "b/1" is not in its place`},
		{"a row without a key", head + row("b/"), "line 2 is not a row"},
		{"a row without a value", head + `{"path":"b/1"}` + "\n", "line 2 is not a row"},
		{"a huge line", head + `{"path":"b/1","value":"` + strings.Repeat("x", 2*maxLineBytes) + `"}`, "a line has more than"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := Check(strings.NewReader(test.data))
			if !errors.Is(err, cluster.ErrInvalid) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("got %v, want it to say %q", err, test.says)
			}
		})
	}
}

func TestWritingFails(t *testing.T) {
	broken := errors.New("broken")
	for _, rows := range [][]store.RawRow{nil, example()} {
		var out bytes.Buffer
		if _, err := Write(&out, "lab", noon, snapshot(rows, broken)); !errors.Is(err, broken) {
			t.Errorf("after %d rows: %v", len(rows), err)
		}
		if _, err := Check(&out); err == nil {
			t.Errorf("after %d rows: half a backup passes", len(rows))
		}
	}
	for _, row := range []store.RawRow{{Path: "a/1", Value: []byte("{")}, {Path: "a/\xff", Value: []byte("{}")}} {
		if _, err := Write(io.Discard, "lab", noon, snapshot([]store.RawRow{row}, nil)); err == nil {
			t.Errorf("%q: written", row.Path)
		}
	}
	full := &limited{left: 100}
	if _, err := Write(full, "lab", noon, snapshot(example(), nil)); !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("full disk: %v", err)
	}
}

type limited struct{ left int }

func (l *limited) Write(p []byte) (int, error) {
	if l.left -= len(p); l.left < 0 {
		return 0, io.ErrShortWrite
	}
	return len(p), nil
}

// FuzzRead: no input does harm, and what is taken for a backup comes out the same when it is written again.
func FuzzRead(f *testing.F) {
	var good bytes.Buffer
	if _, err := Write(&good, "lab", noon, snapshot(example(), nil)); err != nil {
		f.Fatal(err)
	}
	f.Add(good.Bytes())
	f.Add(good.Bytes()[:150])
	f.Add([]byte(magic + "1}\n"))
	f.Add([]byte(magic + "2}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		// A checksum is hard to guess: the input gets the right one.
		if at := bytes.LastIndexByte(bytes.TrimSuffix(data, []byte("\n")), '\n'); at > 0 {
			sum := newSum()
			sum.Write(data[:at+1])
			data = append(bytes.Clone(data[:at+1]), end(bytes.Count(data[:at+1], []byte("\n"))-1, sum)...)
		}
		head, rows, err := read(bytes.NewReader(data))
		if err != nil {
			return
		}
		var out bytes.Buffer
		if _, err := Write(&out, head.Cluster, head.Time, snapshot(rows, nil)); err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		_, again, err := read(&out)
		if err != nil {
			t.Fatal(err)
		}
		for i, row := range rows {
			var want bytes.Buffer
			if err := json.Compact(&want, row.Value); err != nil || i >= len(again) || again[i].Path != row.Path || !bytes.Equal(again[i].Value, want.Bytes()) {
				t.Fatalf("row %q changes: %v", row.Path, err)
			}
		}
	})
}
