package storetest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/ciaocloud/ciao/cluster/store"
)

func testSnapshot(t *testing.T, s Shared) {
	db := open(t, s)
	put(t, db, Item{ID: "a", Count: 1})
	view(t, db, func(before store.Reader) {
		put(t, db, Item{ID: "a", Count: 2}, Item{ID: "b"})
		if got, _ := items.Get(before, "a"); got.Count != 1 || items.Has(before, "b") {
			t.Errorf("snapshot changed under its reader: %v", got)
		}
		view(t, db, func(after store.Reader) {
			if got, _ := items.Get(after, "a"); got.Count != 2 || !items.Has(after, "b") {
				t.Errorf("a View after the Update does not see it: %v", got)
			}
			if after.Revision() <= before.Revision() {
				t.Errorf("revisions %d, %d", before.Revision(), after.Revision())
			}
		})
	})
}

// testConflict makes another store change a row between the read and the commit.
func testConflict(t *testing.T, s Shared) {
	one, two := open(t, s), open(t, s)
	put(t, one, Item{ID: "read"}, Item{ID: "written"})
	for _, key := range []string{"read", "written"} {
		runs := 0
		update(t, one, func(tx store.Tx) error {
			runs++
			if _, err := items.Get(tx, "read"); err != nil {
				return err
			}
			if runs == 1 {
				update(t, two, func(tx store.Tx) error { return items.Put(tx, Item{ID: key, Count: 7}) })
			} else if got, err := items.Get(tx, key); err != nil || got.Count != 7 {
				t.Errorf("second run reads %v, %v", got, err)
			}
			return items.Put(tx, Item{ID: "written"})
		})
		if runs != 2 {
			t.Errorf("%s changed: %d runs", key, runs)
		}
	}
}

func testAbsence(t *testing.T, s Shared) {
	one, two := open(t, s), open(t, s)
	runs := 0
	_, err := one.Update(t.Context(), func(tx store.Tx) error {
		runs++
		if err := items.Create(tx, Item{ID: "a"}); err != nil {
			return err
		}
		put(t, two, Item{ID: "a", Count: 2})
		return nil
	})
	if !errors.Is(err, store.ErrExists) || runs != 2 {
		t.Errorf("%d runs, %v", runs, err)
	}
}

func testEndlessConflict(t *testing.T, s Shared) {
	one, two := open(t, s), open(t, s)
	_, err := one.Update(t.Context(), func(tx store.Tx) error {
		put(t, two, Item{ID: "a", Count: rand.Int()})
		return items.Put(tx, Item{ID: "a"})
	})
	if !errors.Is(err, store.ErrConflict) {
		t.Errorf("got %v", err)
	}
}

// testUnique lets many writers of two stores claim the same name.
func testUnique(t *testing.T, s Shared) {
	dbs := []*store.DB{open(t, s), open(t, s)}
	var won, lost int
	var mu sync.Mutex
	var group sync.WaitGroup
	for i := range 32 {
		group.Go(func() {
			_, err := dbs[i%2].Update(t.Context(), func(tx store.Tx) error {
				return items.Create(tx, Item{ID: "name", Count: i})
			})
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				won++
			case errors.Is(err, store.ErrExists):
				lost++
			default:
				t.Error(err)
			}
		})
	}
	group.Wait()
	if won != 1 || lost != 31 {
		t.Errorf("%d won, %d lost", won, lost)
	}
}

// testCounter has 16 writers add to one row: no addition may be lost.
func testCounter(t *testing.T, s Shared) {
	db := open(t, s)
	const writers, each = 16, 50
	var group sync.WaitGroup
	for range writers {
		group.Go(func() {
			for range each {
				if _, err := db.Update(t.Context(), func(tx store.Tx) error { return add(tx, "n", 1) }); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
	view(t, db, func(r store.Reader) {
		if got, _ := items.Get(r, "n"); got.Count != writers*each {
			t.Errorf("count = %d, want %d", got.Count, writers*each)
		}
	})
}

func add(tx store.Tx, key string, n int) error {
	i, err := items.Get(tx, key)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	i.ID, i.Count = key, i.Count+n
	return items.Put(tx, i)
}

// testTransfers moves amounts between rows from two stores; every snapshot has to show the same sum.
func testTransfers(t *testing.T, s Shared) {
	dbs := []*store.DB{open(t, s), open(t, s)}
	const rows, writers, each = 6, 16, 25
	for i := range rows {
		put(t, dbs[0], Item{ID: fmt.Sprint(i), Count: 100})
	}
	if err := dbs[1].Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	sum := func(r store.Reader) (n int) {
		for i := range items.All(r) {
			n += i.Count
		}
		return n
	}
	var group sync.WaitGroup
	for w := range writers {
		db := dbs[w%2]
		group.Go(func() {
			for range each {
				from, to := rand.IntN(rows), rand.IntN(rows)
				_, err := db.Update(t.Context(), func(tx store.Tx) error {
					return errors.Join(add(tx, fmt.Sprint(from), -3), add(tx, fmt.Sprint(to), 3))
				})
				if err != nil {
					t.Error(err)
				}
				view(t, db, func(r store.Reader) {
					if n := sum(r); n != rows*100 {
						t.Errorf("sum = %d", n)
					}
				})
			}
		})
	}
	group.Wait()
}

func testSync(t *testing.T, s Shared) {
	one, two := open(t, s), open(t, s)
	for i := range 100 {
		put(t, one, Item{ID: "a", Count: i})
		if err := two.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		view(t, two, func(r store.Reader) {
			if got, _ := items.Get(r, "a"); got.Count != i {
				t.Errorf("after Sync: %d, want %d", got.Count, i)
			}
		})
	}
}

func testClosed(t *testing.T, s Shared) {
	db := open(t, s)
	batches := db.Watch(t.Context(), store.WatchOptions{After: 1 << 40})
	if err := db.Close(); err != nil {
		t.Error(err)
	}
	if _, ok := <-batches; ok {
		t.Error("watch goes on")
	}
	<-db.Done()
	_, err := db.Update(t.Context(), func(tx store.Tx) error { return items.Put(tx, Item{ID: "a"}) })
	for call, err := range map[string]error{
		"Update": err,
		"View":   db.View(t.Context(), func(store.Reader) error { return nil }),
		"Sync":   db.Sync(t.Context()),
		"Err":    db.Err(),
	} {
		if !errors.Is(err, store.ErrClosed) {
			t.Errorf("%s: %v", call, err)
		}
	}
	if _, ok := <-db.Watch(t.Context(), store.WatchOptions{}); ok {
		t.Error("watch of a closed store")
	}
}
