package launcher_test

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/launcher"
	"github.com/ciaocloud/ciao/cluster/payload"
	"github.com/ciaocloud/ciao/cluster/storage/local"
	"github.com/ciaocloud/ciao/ssntp"
)

// keeping gives a node a place for volumes.
func (n *node) keeping() *local.Driver {
	n.Helper()
	volumes, err := local.Open(filepath.Join(n.dir, "volumes"))
	if err != nil {
		n.Fatal(err)
	}
	n.Cleanup(func() { volumes.Close() })
	n.config = func(c *launcher.Config) { c.Storage = volumes }
	return volumes
}

// order is a change of a volume of a running instance.
func order(s payload.Start, name string, revision uint64, detach bool) payload.VolumeOrder {
	return payload.VolumeOrder{
		Volume: payload.Volume{ID: idOf(s, name), Name: name, Content: cluster.ContentFiles, SizeMiB: 1, Target: "/" + name},
		Change: &payload.VolumeChange{Instance: s.Instance, Generation: s.Generation, Revision: revision, Detach: detach},
	}
}

// settles sends an order, again and again as the controller does until it is answered, and wants an answer.
func (n *node) settles(o payload.VolumeOrder, want cluster.VolumeState) payload.VolumeReport {
	n.Helper()
	for deadline := time.After(patience); ; {
		n.send(ssntp.Volume, n.id.String(), o)
		again := time.After(200 * time.Millisecond) // what gets lost is sent again
		for waiting := true; waiting; {
			n.mu.Lock()
			report, changed := n.volumes[o.Volume.ID], n.changed
			n.mu.Unlock()
			if report.Revision == o.Change.Revision {
				if report.State != want {
					n.Errorf("revision %d of volume %s is %s (%s), want %s", o.Change.Revision, o.Volume.Name, report.State, report.Reason, want)
				}
				return report
			}
			select {
			case <-changed:
			case <-again:
				waiting = false
			case <-deadline:
				n.Fatalf("no answer to revision %d of volume %s", o.Change.Revision, o.Volume.Name)
			}
		}
	}
}

func (n *node) wantVolumes(s payload.Start, names ...string) {
	n.Helper()
	var got []string
	for _, v := range n.driver.volumes(s.Instance) {
		got = append(got, v.Name)
	}
	if fmt.Sprint(got) != fmt.Sprint(names) {
		n.Errorf("the instance has %v, want %v", got, names)
	}
}

func (n *node) active() payload.Start {
	n.Helper()
	s := newStart(1)
	n.send(ssntp.Start, n.id.String(), s)
	n.becomes(s.Instance, cluster.Active)
	return s
}

// A running instance is given volumes and relieved of them; a launcher that comes after knows what it has; late orders change nothing.
func TestVolumesOfARunningInstance(t *testing.T) {
	n := newWorld(t).node()
	kept := n.keeping()
	n.run()
	s := n.active()
	first := order(s, "first", 10, false)
	n.settles(first, cluster.VolumeAttached)
	n.settles(order(s, "second", 3, false), cluster.VolumeAttached)
	n.wantVolumes(s, "first", "second")
	n.stop()
	n.run()
	n.settles(order(s, "first", 11, true), cluster.VolumeAvailable)
	n.wantVolumes(s, "second")
	n.send(ssntp.Volume, n.id.String(), first)                      // late
	n.settles(order(s, "second", 4, true), cluster.VolumeAvailable) // after it
	n.wantVolumes(s)
	n.settles(order(s, "second", 5, false), cluster.VolumeAttached)
	n.settles(order(s, "never", 1, true), cluster.VolumeAvailable)
	next := s
	next.Generation = 2
	n.send(ssntp.Volume, n.id.String(), order(next, "first", 12, false)) // of a generation that is not there
	n.settles(order(s, "third", 1, false), cluster.VolumeAttached)
	n.wantVolumes(s, "second", "third")
	n.send(ssntp.Delete, n.id.String(), payload.Delete{Instance: s.Instance, Generation: 1})
	n.becomes(s.Instance, cluster.Gone)
	for _, name := range []string{"first", "second", "third"} {
		if _, err := kept.Find(t.Context(), order(s, name, 1, false).Volume.ID); err != nil {
			t.Errorf("volume %s is gone with the instance: %v", name, err)
		}
	}
}

// What the driver refuses is told once and for all, however often it is asked for: the controller may have gone on.
func TestVolumesThatARunningInstanceIsRefused(t *testing.T) {
	n := newWorld(t).node()
	n.keeping()
	n.driver.broken["attach heavy"] = fmt.Errorf("%w: no room", cluster.ErrConflict)
	n.driver.broken["detach clinging"] = fmt.Errorf("%w: the guest does not let go of it", cluster.ErrConflict)
	n.run()
	s := n.active()
	for range 2 {
		if r := n.settles(order(s, "heavy", 1, false), cluster.VolumeFailed); r.Reason == "" {
			t.Error("no reason is given")
		}
		n.change(func() { delete(n.volumes, idOf(s, "heavy")) })
	}
	n.settles(order(s, "clinging", 1, false), cluster.VolumeAttached)
	n.settles(order(s, "clinging", 2, true), cluster.VolumeFailed)
	n.wantVolumes(s, "clinging")
	for what, want := range map[string]int{"attach heavy": 1, "detach clinging": 1} {
		if got := n.driver.called(what); got != want {
			t.Errorf("%s was tried %d times, want %d", what, got, want)
		}
	}
	bare := newWorld(t).node() // without volumes
	bare.run()
	s = bare.active()
	bare.settles(order(s, "any", 1, false), cluster.VolumeFailed)
}

// idOf is the id of an instance's volume.
func idOf(s payload.Start, name string) string {
	return uuid.NewSHA1(uuid.Nil, []byte(s.Instance+name)).String()
}

// Whatever the moment at which the launcher is killed, its successor ends a change as it was wanted, and the last one wins.
func TestKilledWhileVolumesChange(t *testing.T) {
	rounds := 30
	if testing.Short() {
		rounds = 6
	}
	m := newWorld(t).mortal()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	heard := m.inventories()
	m.live()
	m.eventually("an inventory", func() bool { return len(m.listed) > heard })
	s := m.active()
	names := []string{"a", "b", "c"}
	has := map[string]bool{}
	for round := range rounds {
		var orders []payload.VolumeOrder
		for _, name := range names {
			has[name] = !has[name]
			orders = append(orders, order(s, name, uint64(round+1), !has[name]))
			m.send(ssntp.Volume, m.id.String(), orders[len(orders)-1])
		}
		time.Sleep(time.Duration(random.IntN(40)) * time.Millisecond) // the moment is the point
		m.kill()
		heard := m.inventories()
		m.live()
		m.eventually("an inventory", func() bool { return len(m.listed) > heard })
		for _, o := range orders {
			want := cluster.VolumeAttached
			if o.Change.Detach {
				want = cluster.VolumeAvailable
			}
			m.settles(o, want)
		}
		got := map[string]bool{}
		for _, v := range m.driver.volumes(s.Instance) {
			got[v.Name] = true
		}
		for _, name := range names {
			if got[name] != has[name] {
				t.Fatalf("round %d: the instance has %v, want %v", round, got, has)
			}
		}
	}
	m.send(ssntp.Delete, m.id.String(), payload.Delete{Instance: s.Instance, Generation: 1})
	m.becomes(s.Instance, cluster.Gone)
	m.kill()
	volumes, err := local.Open(filepath.Join(m.dir, "volumes"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if _, err := volumes.Find(t.Context(), idOf(s, name)); err != nil {
			t.Errorf("volume %s: %v", name, err)
		}
	}
	if err := volumes.Close(); err != nil {
		t.Error(err)
	}
}
