package client

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ciaocloud/ciao/cluster/api"
)

// parsed is an event that outlives the reader's buffer.
type parsed struct{ Name, Data string }

func read(stream string) (all []parsed, lines int) {
	for e := range events(strings.NewReader(stream), func() { lines++ }) {
		all = append(all, parsed{e.name, string(e.data)})
	}
	return all, lines
}

func TestEvents(t *testing.T) {
	for _, test := range []struct {
		name, stream string
		want         []parsed
	}{
		{"nothing", "", nil},
		{"one", "event: change\ndata: {}\n\n", []parsed{{"change", "{}"}}},
		{"fields in any order", "data: 1\nevent: a\n\n", []parsed{{"a", "1"}}},
		{"no space behind the colon", "event:a\ndata:1\n\n", []parsed{{"a", "1"}}},
		{"only the first space is dropped", "data:  1\n\n", []parsed{{"", " 1"}}},
		{"data of several lines", "data: 1\ndata: 2\n\n", []parsed{{"", "1\n2"}}},
		{"CR LF", "event: a\r\ndata: 1\r\n\r\n", []parsed{{"a", "1"}}},
		{"comments and unknown fields", ": alive\nid: 7\nretry: 1\ncolour: red\ndata: 1\n\n", []parsed{{"", "1"}}},
		{"a name does not stay", "event: a\ndata: 1\n\ndata: 2\n\n", []parsed{{"a", "1"}, {"", "2"}}},
		{"without data there is no event", "event: a\n\ndata: 1\n\n", []parsed{{"", "1"}}},
		{"cut off before its end", "data: 1\n\ndata: 2\n", []parsed{{"", "1"}}},
		{"cut off in a line", "data: 1\n\ndata: 2", []parsed{{"", "1"}}},
		{"a line too long", "data: 1\n\ndata: " + strings.Repeat("x", maxEvent+1) + "\n\n", []parsed{{"", "1"}}},
		{"an event too large", "data: 1\n\n" + strings.Repeat("data: "+strings.Repeat("x", 1<<20)+"\n", 5) + "\n", []parsed{{"", "1"}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, _ := read(test.stream)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got): %s", diff)
			}
		})
	}
}

func TestEveryLineIsASignOfLife(t *testing.T) {
	if _, lines := read(": alive\n\nevent: alive\ndata: {}\n\n"); lines != 5 {
		t.Errorf("%d signs of life, want 5", lines)
	}
}

func TestChangesSkipWhatIsNone(t *testing.T) {
	stream := "event: alive\ndata: {}\n\nevent: change\ndata: nonsense\n\nevent: change\ndata: {\"type\":\"resync\"}\n\n"
	var types []string
	for change := range changes(strings.NewReader(stream), func() {}) {
		types = append(types, change.Type)
	}
	if diff := cmp.Diff([]string{api.ChangeResync}, types); diff != "" {
		t.Errorf("(-want +got): %s", diff)
	}
}

// FuzzEvents: whatever arrives, the reader ends, and what it gives survives being written and read again.
func FuzzEvents(f *testing.F) {
	for _, seed := range []string{"", "data: 1\n\n", "event: change\ndata: {\"type\":\"resync\"}\n\n", ":\n\n\n", "data\r\ndata:\r\n\r\n", "event: a\ndata: 1\ndata:  2\n\nda"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, stream string) {
		first, _ := read(stream)
		var again bytes.Buffer
		for _, e := range first {
			if strings.ContainsAny(e.Name, "\r\n") || e.Data == "" {
				t.Fatalf("event %q of %q", e, stream)
			}
			again.WriteString("event: " + e.Name + "\n")
			for line := range strings.SplitSeq(e.Data, "\n") {
				again.WriteString("data: " + line + "\n")
			}
			again.WriteString("\n")
		}
		if strings.Contains(stream, "\r") {
			return // at the end of a line it is part of the end
		}
		second, _ := read(again.String())
		if diff := cmp.Diff(first, second); diff != "" {
			t.Errorf("read again (-first +second): %s", diff)
		}
	})
}
