package storetest

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/ciaocloud/ciao/cluster/store"
)

func testWatchOrder(t *testing.T, s Shared) {
	one, two := open(t, s), open(t, s)
	watch := store.WatchOptions{Buffer: 1 << 20}
	watchers := []<-chan store.Batch{one.Watch(t.Context(), watch), two.Watch(t.Context(), watch)}
	for _, w := range watchers {
		if b := receive(t, w); !b.Resync {
			t.Fatalf("first batch = %v", text(b))
		}
	}
	const writers, each = 16, 20
	var group sync.WaitGroup
	for i := range writers {
		db := []*store.DB{one, two}[i%2]
		group.Go(func() {
			for n := range each {
				put(t, db, Item{ID: fmt.Sprint(i), Count: n}, Item{ID: fmt.Sprint(i, "too"), Count: n})
			}
		})
	}
	for _, w := range watchers {
		next := map[string]int{}
		last := store.Revision(0)
		for range writers * each {
			b := receive(t, w)
			if b.Resync || b.Revision <= last || len(b.Changes) != 2 {
				t.Fatalf("batch %d after %d: %s", b.Revision, last, text(b))
			}
			last = b.Revision
			for c := range items.Changes(b) {
				if c.New.Count != next[c.Key] {
					t.Fatalf("%s: got %d, want %d", c.Key, c.New.Count, next[c.Key])
				}
				next[c.Key]++
			}
		}
	}
	group.Wait()
}

func testWatchFrom(t *testing.T, s Shared) {
	db := open(t, s)
	first := put(t, db, Item{ID: "a", Count: 1})
	put(t, db, Item{ID: "a", Count: 2}, Item{ID: "b"})
	ctx, cancel := context.WithCancel(t.Context())
	batches := db.Watch(ctx, store.WatchOptions{After: first})
	update(t, db, func(tx store.Tx) error { return items.Delete(tx, "a") })
	for _, want := range []string{"a=1→2 +b=0 ", "-a=2 "} {
		b := receive(t, batches)
		if got := text(b); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		view(t, db, func(r store.Reader) {
			if r.Revision() < b.Revision {
				t.Errorf("watcher is told of %d before readers see it", b.Revision)
			}
		})
	}
	cancel()
	if b, ok := <-batches; ok {
		t.Errorf("after the end: %v", text(b))
	}
}

func testWatchTables(t *testing.T, s Shared) {
	db := open(t, s)
	start := put(t, db, Item{ID: "a"})
	batches := db.Watch(t.Context(), store.WatchOptions{After: start, Tables: []string{notes.Name()}})
	put(t, db, Item{ID: "a", Count: 1})
	update(t, db, func(tx store.Tx) error {
		if err := items.Put(tx, Item{ID: "a", Count: 2}); err != nil {
			return err
		}
		return notes.Put(tx, Item{ID: "n"})
	})
	if got := text(receive(t, batches)); got != "note n " {
		t.Errorf("got %s", got)
	}
}

// testWatchSlow does not read until more has happened than the watcher's buffer holds; the writer is not held up.
func testWatchSlow(t *testing.T, s Shared) {
	db := open(t, s)
	start := put(t, db, Item{ID: "a"})
	batches := db.Watch(t.Context(), store.WatchOptions{After: start, Buffer: 4})
	last := store.Revision(0)
	for i := range 100 {
		last = put(t, db, Item{ID: "a", Count: i + 1})
	}
	resync := false
	for at := start; at < last; {
		b := receive(t, batches)
		if b.Revision <= at || !b.Resync && b.Revision != at+1 {
			t.Fatalf("batch %d (%s) after %d", b.Revision, text(b), at)
		}
		at, resync = b.Revision, resync || b.Resync
	}
	if !resync {
		t.Error("nobody was told to read again")
	}
	put(t, db, Item{ID: "z"})
	if got := text(receive(t, batches)); got != "+z=0 " {
		t.Errorf("afterwards: %s", got)
	}
}

// testWatchCompacted opens a store over a backend whose log is cut off behind its back.
func testWatchCompacted(t *testing.T, s Shared) {
	writer := open(t, s)
	put(t, writer, Item{ID: "a", Count: 1}, Item{ID: "b", Count: 1})
	gate := &gated{Backend: s.Backend(), open: make(chan struct{})}
	db := openBackend(t, gate)
	batches := db.Watch(t.Context(), store.WatchOptions{})
	if b := receive(t, batches); !b.Resync {
		t.Fatal("no resync at the start")
	}
	update(t, writer, func(tx store.Tx) error { return items.Delete(tx, "b") })
	last := put(t, writer, Item{ID: "a", Count: 2})
	if err := s.Compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	close(gate.open)
	if b := receive(t, batches); !b.Resync || b.Revision < last {
		t.Errorf("got %s at %d", text(b), b.Revision)
	}
	view(t, db, func(r store.Reader) {
		if got, _ := items.Get(r, "a"); got.Count != 2 || items.Len(r) != 1 {
			t.Errorf("after resync: %v, %d rows", got, items.Len(r))
		}
	})
	put(t, writer, Item{ID: "a", Count: 3})
	if got := text(receive(t, batches)); got != "a=2→3 " {
		t.Errorf("after resync: %s", got)
	}
	put(t, db, Item{ID: "a", Count: 4})
}

// gated is a backend whose log is not read before the gate is opened.
type gated struct {
	store.Backend
	open chan struct{}
}

func (g *gated) Follow(ctx context.Context, after store.Revision, deliver func(store.RawBatch) error) error {
	select {
	case <-g.open:
		return g.Backend.Follow(ctx, after, deliver)
	case <-ctx.Done():
		return ctx.Err()
	}
}
