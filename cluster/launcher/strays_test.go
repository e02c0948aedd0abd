package launcher_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/uuid"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/launcher"
	"github.com/ciaocloud/ciao/cluster/payload"
	"github.com/ciaocloud/ciao/cluster/storage"
	"github.com/ciaocloud/ciao/ssntp"
)

// stray orders a volume that the controller does not know deleted, and returns the answer.
func (n *node) stray(id string) cluster.VolumeState {
	n.Helper()
	n.mu.Lock()
	delete(n.volumes, id)
	n.mu.Unlock()
	n.send(ssntp.Volume, n.id.String(), payload.VolumeOrder{Volume: payload.Volume{ID: id}, Delete: true, Stray: true})
	var report payload.VolumeReport
	n.eventually("an answer on a stray", func() (there bool) {
		report, there = n.volumes[id]
		return there
	})
	if !report.Stray {
		n.Errorf("the answer is not told from others: %+v", report)
	}
	return report.State
}

// The node tells which volumes it keeps, and deletes those that nobody knows, but none that an instance has, which it knew before this launcher.
func TestStrays(t *testing.T) {
	n := newWorld(t).node()
	kept := n.keeping()
	lost := storage.Volume{ID: uuid.NewString(), Content: cluster.ContentFiles}
	if err := kept.Create(t.Context(), lost, storage.Origin{}); err != nil {
		t.Fatal(err)
	}
	n.run()
	s := newStart(1)
	first := order(s, "first", 0, false).Volume
	s.Volumes = []payload.Volume{first}
	n.send(ssntp.Start, n.id.String(), s)
	n.becomes(s.Instance, cluster.Active)
	second := order(s, "second", 1, false)
	n.settles(second, cluster.VolumeAttached)
	n.stop()
	n.run()
	told := n.listed[len(n.listed)-1].Volumes
	if want := []string{lost.ID, first.ID, second.Volume.ID}; len(told) != 3 || slices.ContainsFunc(want, func(id string) bool { return !slices.Contains(told, id) }) {
		t.Errorf("it tells of %v, want %v", told, want)
	}
	if got := n.stray(lost.ID); got != cluster.VolumeGone {
		t.Errorf("one that nobody has is %s", got)
	}
	for _, id := range []string{first.ID, second.Volume.ID} {
		if got := n.stray(id); got != cluster.VolumeAttached {
			t.Errorf("one that an instance has is %s", got)
		}
	}
	n.send(ssntp.Delete, n.id.String(), payload.Delete{Instance: s.Instance, Generation: 1})
	n.becomes(s.Instance, cluster.Gone)
	n.send(ssntp.Volume, n.id.String(), payload.VolumeOrder{Volume: payload.Volume{ID: "../x"}, Delete: true, Stray: true})
	for _, id := range []string{first.ID, second.Volume.ID} {
		if got := n.stray(id); got != cluster.VolumeGone {
			t.Errorf("one whose instance is gone is %s", got)
		}
	}
	if left, err := kept.List(t.Context()); err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// While there are instances whose records cannot be read, nobody knows what they have.
func TestStraysBesideUnreadableRecords(t *testing.T) {
	n := newWorld(t).node()
	kept := n.keeping()
	v := storage.Volume{ID: uuid.NewString(), Content: cluster.ContentFiles}
	broken := filepath.Join(launcher.InstancesDirectory(filepath.Join(n.dir, "launcher")), uuid.NewString())
	err := errors.Join(kept.Create(t.Context(), v, storage.Origin{}), os.MkdirAll(broken, 0o700), os.WriteFile(filepath.Join(broken, "instance.json"), []byte("{"), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	n.run()
	n.send(ssntp.Volume, n.id.String(), payload.VolumeOrder{Volume: payload.Volume{ID: v.ID}, Delete: true, Stray: true})
	n.active() // orders are followed beside each other, but by then this one was taken
	n.stop()
	if _, err := kept.Find(t.Context(), v.ID); err != nil {
		t.Errorf("it is not kept: %v", err)
	}
}
