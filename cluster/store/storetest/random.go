package storetest

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ciaocloud/ciao/cluster/store"
)

// model is the naive store that testRandom compares with.
type model map[string]Item

func (m model) all() []Item {
	var all []Item
	for _, k := range slices.Sorted(maps.Keys(m)) {
		all = append(all, m[k])
	}
	return all
}

func (m model) by(match func(Item) bool) []Item {
	return slices.DeleteFunc(m.all(), func(i Item) bool { return !match(i) })
}

// testRandom compares rows and indexes with the model after random transactions, in the store that made them, in a second
// one that follows, inside the transactions, and as told by a watcher.
func testRandom(t *testing.T, s Shared) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	db, follower := open(t, s), open(t, s)
	want, watched := model{}, model{}
	start := store.Revision(0)
	view(t, db, func(r store.Reader) { start = r.Revision() })
	batches := follower.Watch(t.Context(), store.WatchOptions{After: start, Buffer: 1 << 20})
	for range 300 {
		next := maps.Clone(want)
		revision := update(t, db, func(tx store.Tx) error {
			next = maps.Clone(want)
			for range 1 + random.IntN(8) {
				if err := randomStep(random, tx, next); err != nil {
					return err
				}
			}
			compare(t, tx, next)
			return nil
		})
		want = next
		view(t, db, func(r store.Reader) { compare(t, r, want) })
		if random.IntN(10) == 0 {
			replay(t, batches, watched, revision, want)
		}
		if t.Failed() {
			return
		}
	}
	if err := follower.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	view(t, follower, func(r store.Reader) { compare(t, r, want) })
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	view(t, open(t, s), func(r store.Reader) { compare(t, r, want) })
}

func randomStep(random *rand.Rand, tx store.Tx, m model) error {
	key := fmt.Sprint(random.IntN(40))
	if _, ok := m[key]; ok && random.IntN(3) == 0 {
		delete(m, key)
		return items.Delete(tx, key)
	}
	i := Item{ID: key, Owner: fmt.Sprint(random.IntN(4)), Count: random.IntN(9)}
	for range random.IntN(3) {
		i.Labels = append(i.Labels, fmt.Sprint(random.IntN(3)))
	}
	m[key] = i
	return items.Put(tx, i)
}

func compare(t *testing.T, r store.Reader, want model) {
	t.Helper()
	if diff := cmp.Diff(want.all(), slices.Collect(items.All(r))); diff != "" {
		t.Errorf("rows: %s", diff)
	}
	if items.Len(r) != len(want) {
		t.Errorf("Len = %d, want %d", items.Len(r), len(want))
	}
	for v := range 4 {
		value := fmt.Sprint(v)
		owned := want.by(func(i Item) bool { return i.Owner == value })
		if diff := cmp.Diff(owned, slices.Collect(items.By(r, "owner", value))); len(owned) > 0 && diff != "" {
			t.Errorf("owner %s: %s", value, diff)
		}
		labelled := want.by(func(i Item) bool { return slices.Contains(i.Labels, value) })
		if diff := cmp.Diff(labelled, slices.Collect(items.By(r, "label", value))); len(labelled) > 0 && diff != "" {
			t.Errorf("label %s: %s", value, diff)
		}
	}
}

// replay brings a model up to a revision by what a watcher says.
func replay(t *testing.T, batches <-chan store.Batch, watched model, until store.Revision, want model) {
	t.Helper()
	// The last transaction may have changed nothing, then the watcher does not get it; a model that is equal is enough.
	for !cmp.Equal(watched, want) {
		b := receive(t, batches)
		if b.Resync || b.Revision > until {
			t.Fatalf("watcher got %v of revision %d, waiting for %d", text(b), b.Revision, until)
		}
		for c := range items.Changes(b) {
			old, had := watched[c.Key]
			if had == c.Created || had && !cmp.Equal(old, c.Old) {
				t.Errorf("change of %s: created %v, old %v; the watcher knew %v", c.Key, c.Created, c.Old, old)
			}
			if delete(watched, c.Key); !c.Deleted {
				watched[c.Key] = c.New
			}
		}
	}
}
