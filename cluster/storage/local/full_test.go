package local

import (
	"archive/tar"
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/storage"
	"github.com/ciaocloud/ciao/require"
)

// bulk is no run of zeros, which would take no room.
var bulk = bytes.Repeat([]byte("not nothing, not"), 3<<20/16)

// TestFullDisk: a volume that finds no room on the node's disk is refused in one sentence that says which disk that is, leaves nothing, and is made
// when there is room.
func TestFullDisk(t *testing.T) {
	require.Command(t, "qemu-img")
	disk, fill := require.Disk(t, 9<<20)
	d, err := Open(filepath.Join(disk, "volumes"))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	raw, archive := filepath.Join(t.TempDir(), "raw"), bulkArchive(t)
	if err := os.WriteFile(raw, bulk, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name    string
		content cluster.VolumeContent
		image   *storage.Image
		left    []int64 // bytes that are free when it is refused
	}{
		{"an empty disk", cluster.ContentDisk, nil, []int64{0}},
		{"a disk of an image", cluster.ContentDisk, &storage.Image{Path: raw, Format: cluster.FormatRaw}, []int64{0, 1 << 20}},
		{"files of an image", cluster.ContentFiles, &storage.Image{Path: archive, Format: cluster.FormatTar}, []int64{0, 1 << 20}},
	} {
		t.Run(c.name, func(t *testing.T) {
			first := storage.Volume{ID: uuid.NewString(), Content: c.content, SizeMiB: 8}
			copied := storage.Volume{ID: uuid.NewString(), Content: c.content, SizeMiB: 8}
			for _, step := range []struct {
				storage.Volume
				storage.Origin
			}{{first, storage.Origin{Image: c.image}}, {copied, storage.Origin{Volume: first.ID}}} {
				for _, left := range c.left {
					free := fill(left)
					wantNoRoom(t, d, step.Volume, step.Origin)
					free()
				}
				if err := d.Create(t.Context(), step.Volume, step.Origin); err != nil {
					t.Fatalf("when there is room: %v", err)
				}
			}
			if err := errors.Join(d.Delete(t.Context(), first.ID), d.Delete(t.Context(), copied.ID)); err != nil {
				t.Error(err)
			}
		})
	}
}

func bulkArchive(t *testing.T) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "tar")
	file, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(file)
	err = w.WriteHeader(&tar.Header{Name: "bulk", Mode: 0o644, Size: int64(len(bulk))})
	if err == nil {
		_, err = w.Write(bulk)
	}
	if err := errors.Join(err, w.Close(), file.Close()); err != nil {
		t.Fatal(err)
	}
	return name
}

func wantNoRoom(t *testing.T, d *Driver, v storage.Volume, origin storage.Origin) {
	t.Helper()
	before, err := os.ReadDir(d.directory)
	if err != nil {
		t.Fatal(err)
	}
	err = d.Create(t.Context(), v, origin)
	if !errors.Is(err, cluster.ErrNoCapacity) || !strings.HasSuffix(err.Error(), "the disk of "+d.directory+" is full: free some space there, and try again") || strings.Contains(err.Error(), "\n") {
		t.Errorf("on a full disk: %v", err)
	}
	after, err := os.ReadDir(d.directory)
	if err != nil || len(after) != len(before) {
		t.Errorf("left: %v, %v; before: %v", after, err, before)
	}
}
