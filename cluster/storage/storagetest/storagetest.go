// Package storagetest is the conformance suite of storage drivers.
package storagetest

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/storage"
)

// Harness is a driver under test. Reopen is what a restart of its process does.
type Harness struct {
	Driver storage.Driver
	Reopen func(t *testing.T) storage.Driver

	// Write and Read use a volume as an instance would; a note is a few words that Read finds again.
	Write func(t *testing.T, place storage.Place, note string)
	Read  func(t *testing.T, place storage.Place) string

	// Images begin volumes, of every content: each holds a note that Read finds.
	Images map[cluster.VolumeContent]storage.Image
	Note   string

	// Size is how large a disk is, in MiB.
	Size func(t *testing.T, place storage.Place) int64

	contents []cluster.VolumeContent
}

// Run runs the suite for what a driver keeps; open makes one that is empty.
func Run(t *testing.T, contents []cluster.VolumeContent, open func(t *testing.T) Harness) {
	for _, content := range contents {
		for name, test := range map[string]func(*testing.T, Harness, cluster.VolumeContent){
			"Life": life, "FromImage": fromImage, "FromVolume": fromVolume, "Kept": kept, "Cancelled": cancelled, "Refusals": refusals,
		} {
			t.Run(string(content)+"/"+name, func(t *testing.T) {
				h := open(t)
				h.contents = contents
				test(t, h, content)
			})
		}
	}
}

func volume(content cluster.VolumeContent) storage.Volume {
	return storage.Volume{ID: uuid.NewString(), Content: content, SizeMiB: 16}
}

func (h Harness) create(t *testing.T, v storage.Volume, origin storage.Origin) storage.Place {
	t.Helper()
	if err := h.Driver.Create(t.Context(), v, origin); err != nil {
		t.Fatal(err)
	}
	place, err := h.Driver.Find(t.Context(), v.ID)
	if err != nil {
		t.Fatal(err)
	}
	if err := place.Check(); err != nil || place.Content() != v.Content {
		t.Errorf("the place of a %s: %+v, %v", v.Content, place, err)
	}
	return place
}

func (h Harness) wantAbsent(t *testing.T, id string) {
	t.Helper()
	if _, err := h.Driver.Find(t.Context(), id); !errors.Is(err, cluster.ErrNotFound) {
		t.Errorf("volume %s: %v, want not found", id, err)
	}
	if ids, err := h.Driver.List(t.Context()); err != nil || slices.Contains(ids, id) {
		t.Errorf("listed %v, %v, without %s", ids, err, id)
	}
}

// life: made, found, made again without harm, deleted, deleted again.
func life(t *testing.T, h Harness, content cluster.VolumeContent) {
	v := volume(content)
	h.wantAbsent(t, v.ID)
	place := h.create(t, v, storage.Origin{})
	if h.Read(t, place) != "" {
		t.Error("an empty volume has a note")
	}
	h.Write(t, place, "hello")
	if again := h.create(t, v, storage.Origin{}); again != place || h.Read(t, again) != "hello" {
		t.Errorf("making it again changed it: %+v, %q", again, h.Read(t, again))
	}
	if ids, err := h.Driver.List(t.Context()); err != nil || !slices.Equal(ids, []string{v.ID}) {
		t.Errorf("listed %v, %v", ids, err)
	}
	if content == cluster.ContentDisk && h.Size(t, place) != v.SizeMiB {
		t.Errorf("the disk has %d MiB, want %d", h.Size(t, place), v.SizeMiB)
	}
	for range 2 {
		if err := h.Driver.Delete(t.Context(), v.ID); err != nil {
			t.Error(err)
		}
		h.wantAbsent(t, v.ID)
	}
}

// fromImage: the volume has what the image has, is as large as was asked for, and the image stays as it is.
func fromImage(t *testing.T, h Harness, content cluster.VolumeContent) {
	image := h.Images[content]
	for range 2 {
		place := h.create(t, volume(content), storage.Origin{Image: &image})
		if note := h.Read(t, place); note != h.Note {
			t.Errorf("the copy says %q, want %q", note, h.Note)
		}
		if content == cluster.ContentDisk && h.Size(t, place) != 16 {
			t.Errorf("the disk has %d MiB, want 16", h.Size(t, place))
		}
		h.Write(t, place, "changed")
	}
}

// fromVolume: the two go their own ways.
func fromVolume(t *testing.T, h Harness, content cluster.VolumeContent) {
	source, copied := volume(content), volume(content)
	copied.SizeMiB = 32
	place := h.create(t, source, storage.Origin{})
	h.Write(t, place, "first")
	other := h.create(t, copied, storage.Origin{Volume: source.ID})
	if content == cluster.ContentDisk && h.Size(t, other) != 32 {
		t.Errorf("the copy has %d MiB, want 32", h.Size(t, other))
	}
	h.Write(t, place, "second")
	if note := h.Read(t, other); note != "first" {
		t.Errorf("the copy says %q, want first", note)
	}
	if err := h.Driver.Delete(t.Context(), source.ID); err != nil {
		t.Fatal(err)
	}
	if note := h.Read(t, other); note != "first" {
		t.Errorf("without its source the copy says %q", note)
	}
}

// kept: a restart changes nothing.
func kept(t *testing.T, h Harness, content cluster.VolumeContent) {
	v := volume(content)
	h.Write(t, h.create(t, v, storage.Origin{}), "kept")
	h.Driver = h.Reopen(t)
	place, err := h.Driver.Find(t.Context(), v.ID)
	if err != nil || h.Read(t, place) != "kept" {
		t.Errorf("after a restart: %v", err)
	}
}

// cancelled: what was not finished is not there, also after a restart, and can be made.
func cancelled(t *testing.T, h Harness, content cluster.VolumeContent) {
	v, source := volume(content), volume(content)
	h.Write(t, h.create(t, source, storage.Origin{}), "source")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := h.Driver.Create(ctx, v, storage.Origin{Volume: source.ID}); err == nil {
		t.Fatal("made although its context had ended")
	}
	h.wantAbsent(t, v.ID)
	h.Driver = h.Reopen(t)
	h.wantAbsent(t, v.ID)
	if note := h.Read(t, h.create(t, v, storage.Origin{Volume: source.ID})); note != "source" {
		t.Errorf("made after all, it says %q", note)
	}
}

func refusals(t *testing.T, h Harness, content cluster.VolumeContent) {
	v := volume(content)
	if err := h.Driver.Create(t.Context(), v, storage.Origin{Volume: uuid.NewString()}); !errors.Is(err, cluster.ErrNotFound) {
		t.Errorf("copy of nothing: %v, want not found", err)
	}
	other := cluster.ContentDisk
	if content == other {
		other = cluster.ContentFiles
	}
	source := volume(other)
	if slices.Contains(h.contents, other) {
		h.create(t, source, storage.Origin{})
		if err := h.Driver.Create(t.Context(), v, storage.Origin{Volume: source.ID}); !errors.Is(err, cluster.ErrInvalid) {
			t.Errorf("copy of a %s: %v, want invalid", other, err)
		}
	} else if err := h.Driver.Create(t.Context(), source, storage.Origin{}); !errors.Is(err, cluster.ErrInvalid) {
		t.Errorf("a %s: %v, want invalid", other, err)
	}
	image := h.Images[other]
	if err := h.Driver.Create(t.Context(), v, storage.Origin{Image: &image}); !errors.Is(err, cluster.ErrInvalid) {
		t.Errorf("copy of an image of a %s: %v, want invalid", other, err)
	}
	h.wantAbsent(t, v.ID)
	for _, name := range []string{"", ".", "..", "../" + source.ID, strings.ToUpper(source.ID)} {
		_, found := h.Driver.Find(t.Context(), name)
		made := h.Driver.Create(t.Context(), storage.Volume{ID: name, Content: content, SizeMiB: 1}, storage.Origin{})
		for what, err := range map[string]error{"find": found, "make": made, "delete": h.Driver.Delete(t.Context(), name)} {
			if !errors.Is(err, cluster.ErrInvalid) {
				t.Errorf("%s %q: %v, want invalid", what, name, err)
			}
		}
	}
}
