package blob

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/require"
)

// TestFullDisk: an upload that finds no room is refused in one sentence, and gives back what it took; it goes on where it was when there is room. A
// reserve stays free for others.
func TestFullDisk(t *testing.T) {
	disk, fill := require.Disk(t, 4<<20)
	s, err := Open(disk)
	if err != nil {
		t.Fatal(err)
	}
	s.Reserve = 1 << 20
	data := archive(t, strings.Repeat("a file ", 1000))
	size := int64(len(data))
	if size <= 1<<20 || size >= 3<<20 {
		t.Fatalf("the test is about another size than %d", size)
	}
	for _, c := range []struct {
		name        string
		left, begin int64 // what is free, and what of the upload is there
	}{
		{"to the brim", 0, 0}, {"in the reserve", s.Reserve / 2, 0}, {"midway", s.Reserve + 700_000, 0}, {"midway, gone on with", s.Reserve + 700_000, 512},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.begin > 0 {
				if _, err := s.Append(upload, 0, size, bytes.NewReader(data[:c.begin])); err != nil {
					t.Fatal(err)
				}
			}
			free := fill(c.left)
			before, err := s.Free()
			if err != nil {
				t.Fatal(err)
			}
			n, err := s.Append(upload, c.begin, size, bytes.NewReader(data[c.begin:]))
			if !errors.Is(err, cluster.ErrNoCapacity) || n != c.begin || !strings.Contains(err.Error(), "the controller's disk, of "+disk+", has no room") || strings.Contains(err.Error(), "\n") {
				t.Errorf("%d bytes, %v", n, err)
			}
			if after, err := s.Free(); err != nil || after != before || s.Uploaded(upload) != c.begin {
				t.Errorf("%d bytes are free, %v, before there were %d; %d are uploaded", after, err, before, s.Uploaded(upload))
			}
			free()
			if n, err := s.Append(upload, c.begin, size, bytes.NewReader(data[c.begin:])); err != nil || n != size {
				t.Fatalf("when there is room: %d bytes, %v", n, err)
			}
			if _, err := s.Complete(t.Context(), upload, digestOf(data), cluster.FormatTar); err != nil {
				t.Error(err)
			}
			if err := s.Sweep(func(string) bool { return false }, func(string) bool { return false }); err != nil {
				t.Error(err)
			}
		})
	}
}
