package launcher_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/driver"
	"github.com/ciaocloud/ciao/cluster/launcher"
	"github.com/ciaocloud/ciao/cluster/payload"
	"github.com/ciaocloud/ciao/cluster/storage"
	"github.com/ciaocloud/ciao/ssntp"
)

// storingDriver takes disks for its instances.
type storingDriver struct{ *fileDriver }

func (storingDriver) Stores(content cluster.VolumeContent) bool {
	return content == cluster.ContentDisk
}

// sharedStore keeps volumes that other nodes reach, too: their tokens are those that are fenced with.
type sharedStore struct {
	mu     sync.Mutex
	tokens map[string]uint64
	said   []string
}

func (s *sharedStore) do(call, id string, then func() error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.said = append(s.said, call)
	if _, there := s.tokens[id]; !there && call != "create" {
		return fmt.Errorf("volume %s: %w", id, cluster.ErrNotFound)
	}
	return then()
}

func (s *sharedStore) Create(_ context.Context, v storage.Volume, _ storage.Origin) error {
	return s.do("create", v.ID, func() error { s.tokens[v.ID] = 0; return nil })
}

func (s *sharedStore) Find(_ context.Context, id string) (storage.Place, error) {
	return storage.Place{RBD: storage.RBD{Configuration: "/c", Pool: "p", Image: id, User: "u", Key: "k"}}, s.do("find", id, func() error { return nil })
}

func (s *sharedStore) Delete(_ context.Context, id string) error {
	return s.do("delete", id, func() error { delete(s.tokens, id); return nil })
}

func (s *sharedStore) List(context.Context) ([]string, error) { return nil, nil }

func (s *sharedStore) Fence(_ context.Context, id string, token uint64) error {
	return s.do("fence", id, func() error {
		if token < s.tokens[id] {
			return fmt.Errorf("%w: a newer one has it", cluster.ErrConflict)
		}
		s.tokens[id] = token
		return nil
	})
}

func (s *sharedStore) count(call string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, one := range s.said {
		if one == call {
			n++
		}
	}
	return n
}

// withShared is a node with a driver that takes disks, and a store of shared ones.
func withShared(w *world) (*node, *sharedStore) {
	n, store := w.node(), &sharedStore{tokens: map[string]uint64{}}
	n.drivers = []driver.Driver{storingDriver{n.driver}}
	n.config = func(c *launcher.Config) { c.Ceph = store }
	n.run()
	return n, store
}

func startWithVolume(generation, token uint64) payload.Start {
	s := newStart(generation)
	s.Volumes = []payload.Volume{{ID: uuid.NewString(), Name: "data", Content: cluster.ContentDisk, SizeMiB: 1, Storage: cluster.StorageCeph, Token: token}}
	return s
}

// TestSharedVolumesAreTakenOver: before an instance runs and at no other time; where a newer one has it, it does not run, and leaves the
// volume alone.
func TestSharedVolumesAreTakenOver(t *testing.T) {
	w := newWorld(t)
	n, store := withShared(w)
	s := startWithVolume(1, 5)
	w.send(ssntp.Start, n.id.String(), s)
	w.becomes(s.Instance, cluster.Active)
	if want := []string{"find", "create", "find", "fence"}; !slices.Equal(store.said, want) {
		t.Errorf("the store was asked to %v, want %v", store.said, want)
	}
	n.stop()
	n.run() // it goes on: nobody may cut it off
	w.send(ssntp.Start, n.id.String(), s)
	w.becomes(s.Instance, cluster.Active)
	if got := store.count("fence"); got != 1 {
		t.Errorf("taken over %d times, want once", got)
	}

	late := startWithVolume(1, 7)
	store.mu.Lock()
	store.tokens[late.Volumes[0].ID] = 8
	store.mu.Unlock()
	w.send(ssntp.Start, n.id.String(), late)
	if report := w.becomes(late.Instance, cluster.Failed); !strings.Contains(report.Reason, "a newer one has it") {
		t.Errorf("failed: %+v", report)
	}
	if status := n.driver.read(late.Instance); status.Condition == driver.Running {
		t.Error("it runs")
	}
	w.send(ssntp.Delete, n.id.String(), payload.Delete{Instance: late.Instance, Generation: 1})
	w.becomes(late.Instance, cluster.Gone)
	if got := store.count("delete"); got != 0 {
		t.Errorf("deleted %d volumes, want none", got)
	}
}

// TestSharedVolumesOfARunningInstance: one is taken over before the instance gets it, and not again, also by a launcher that does not know that it has
// it; where a newer one has it, the instance does not get it.
func TestSharedVolumesOfARunningInstance(t *testing.T) {
	w := newWorld(t)
	n, store := withShared(w)
	s := newStart(1)
	w.send(ssntp.Start, n.id.String(), s)
	w.becomes(s.Instance, cluster.Active)
	change := func(name string, revision, token uint64, detach bool) payload.VolumeOrder {
		o := order(s, name, revision, detach)
		o.Volume.Content, o.Volume.Target, o.Volume.Storage, o.Volume.Token = cluster.ContentDisk, "", cluster.StorageCeph, token
		return o
	}
	n.settles(change("data", 1, 5, false), cluster.VolumeAttached)
	n.settles(change("data", 2, 5, false), cluster.VolumeAttached)
	n.wantVolumes(s, "data")
	if want := []string{"find", "create", "find", "fence", "find"}; !slices.Equal(store.said, want) {
		t.Errorf("the store was asked to %v, want %v", store.said, want)
	}
	late := change("late", 1, 7, false)
	store.mu.Lock()
	store.tokens[late.Volume.ID] = 8
	store.mu.Unlock()
	if report := n.settles(late, cluster.VolumeFailed); !strings.Contains(report.Reason, "a newer one has it") {
		t.Errorf("refused: %+v", report)
	}
	n.settles(change("data", 3, 5, true), cluster.VolumeAvailable)
	n.wantVolumes(s)
	if got := store.count("fence"); got != 2 {
		t.Errorf("taken over %d times, want twice", got)
	}
}

// TestVolumesInUnknownStorage: one sentence says what the node lacks.
func TestVolumesInUnknownStorage(t *testing.T) {
	w := newWorld(t)
	n := w.node()
	n.drivers = []driver.Driver{storingDriver{n.driver}}
	n.run()
	for where, says := range map[cluster.Storage]string{cluster.StorageCeph: "storage.ceph", cluster.StorageLocal: "keeps no volumes", "tape": `"tape"`} {
		s := startWithVolume(1, 1)
		s.Volumes[0].Storage = where
		w.send(ssntp.Start, n.id.String(), s)
		if report := w.becomes(s.Instance, cluster.Failed); !strings.Contains(report.Reason, says) {
			t.Errorf("%s: %+v", where, report)
		}
	}
}
