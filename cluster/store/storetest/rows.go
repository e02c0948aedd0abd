package storetest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/store"
)

func testRows(t *testing.T, s Shared) {
	db := open(t, s)
	a, b := Item{ID: "a", Owner: "x", Count: 1}, Item{ID: "b/with/slashes é", Owner: "x", Labels: []string{"l", "m", "l"}}
	update(t, db, func(tx store.Tx) error { return errors.Join(items.Create(tx, b), items.Create(tx, a)) })
	view(t, db, func(r store.Reader) {
		if got, err := items.Get(r, "a"); err != nil || !cmp.Equal(got, a) {
			t.Errorf("Get = %v, %v", got, err)
		}
		if _, err := items.Get(r, "none"); !errors.Is(err, store.ErrNotFound) || !errors.Is(err, cluster.ErrNotFound) {
			t.Errorf("Get of no row: %v", err)
		}
		if diff := cmp.Diff([]Item{a, b}, slices.Collect(items.All(r))); diff != "" {
			t.Errorf("All: %s", diff)
		}
		if diff := cmp.Diff([]Item{b}, slices.Collect(items.From(r, "aa"))); diff != "" {
			t.Errorf("From: %s", diff)
		}
		if diff := cmp.Diff([]Item{b}, slices.Collect(items.By(r, "label", "l"))); diff != "" {
			t.Errorf("By: %s", diff)
		}
		if last, ok := items.Last(r); !ok || !cmp.Equal(last, b) {
			t.Errorf("Last = %v, %t", last, ok)
		}
		if n := items.Len(r); n != 2 {
			t.Errorf("Len = %d", n)
		}
	})
	_, err := db.Update(t.Context(), func(tx store.Tx) error { return items.Create(tx, a) })
	if !errors.Is(err, store.ErrExists) {
		t.Errorf("second Create: %v", err)
	}
	first := store.Revision(0)
	view(t, db, func(r store.Reader) { first = items.Revision(r, "a") })
	second := put(t, db, Item{ID: "a", Owner: "y"})
	view(t, db, func(r store.Reader) {
		if got := items.Revision(r, "a"); got != second || got <= first {
			t.Errorf("revision of changed row = %d, first %d, commit %d", got, first, second)
		}
		if got := slices.Collect(items.By(r, "owner", "x")); !cmp.Equal(got, []Item{b}) {
			t.Errorf("By after change = %v", got)
		}
	})
	update(t, db, func(tx store.Tx) error {
		if err := items.Create(tx, Item{ID: "c"}); err != nil {
			return err
		}
		if last, ok := items.Last(tx); !ok || last.ID != "c" {
			t.Errorf("Last in a transaction = %v, %t", last, ok)
		}
		err := items.Delete(tx, "c")
		if last, ok := items.Last(tx); !ok || last.ID != b.ID {
			t.Errorf("Last in a transaction that deleted it = %v, %t", last, ok)
		}
		return err
	})
	update(t, db, func(tx store.Tx) error { return items.Delete(tx, "a") })
	_, err = db.Update(t.Context(), func(tx store.Tx) error { return items.Delete(tx, "a") })
	if !errors.Is(err, store.ErrNotFound) {
		t.Errorf("second Delete: %v", err)
	}
}

func testReopen(t *testing.T, s Shared) {
	db := open(t, s)
	var want []Item
	for i := range 300 {
		item := Item{ID: fmt.Sprintf("%04d", i), Owner: "o"}
		want = append(want, item)
		put(t, db, item)
	}
	revision := put(t, db, want[7])
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	view(t, open(t, s), func(r store.Reader) {
		if diff := cmp.Diff(want, slices.Collect(items.By(r, "owner", "o"))); diff != "" {
			t.Error(diff)
		}
		if got := items.Revision(r, want[7].ID); got != revision {
			t.Errorf("revision = %d, want %d", got, revision)
		}
	})
}

func testReadOwnWrites(t *testing.T, s Shared) {
	db := open(t, s)
	put(t, db, Item{ID: "a", Owner: "x"}, Item{ID: "b", Owner: "x"})
	update(t, db, func(tx store.Tx) error {
		err := errors.Join(
			items.Put(tx, Item{ID: "c", Owner: "x"}),
			items.Put(tx, Item{ID: "a", Owner: "y"}),
			items.Delete(tx, "b"),
			items.Put(tx, Item{ID: "gone"}),
			items.Delete(tx, "gone"))
		if got := keys(items.By(tx, "owner", "x")); got != "c" {
			t.Errorf("own writes by index: %q", got)
		}
		if got := keys(items.All(tx)); got != "a c" {
			t.Errorf("own writes: %q", got)
		}
		if items.Has(tx, "b") || !items.Has(tx, "c") {
			t.Error("own writes by key are not seen")
		}
		return errors.Join(err, items.Create(tx, Item{ID: "b", Owner: "new"}))
	})
	view(t, db, func(r store.Reader) {
		if got := keys(items.All(r)); got != "a b c" {
			t.Errorf("after commit: %q", got)
		}
	})
}

func testFailedUpdate(t *testing.T, s Shared) {
	db := open(t, s)
	want := errors.New("no")
	_, err := db.Update(t.Context(), func(tx store.Tx) error {
		return errors.Join(items.Put(tx, Item{ID: "a"}), want)
	})
	if !errors.Is(err, want) {
		t.Errorf("error = %v", err)
	}
	view(t, db, func(r store.Reader) {
		if n := items.Len(r); n != 0 {
			t.Errorf("%d rows", n)
		}
	})
}

func testLoops(t *testing.T, s Shared) {
	db := open(t, s)
	for i := range 100 {
		put(t, db, Item{ID: fmt.Sprintf("%03d", i), Owner: "x"})
	}
	update(t, db, func(tx store.Tx) error {
		n := 0
		for i := range items.By(tx, "owner", "x") {
			n++
			if err := items.Put(tx, Item{ID: i.ID, Owner: "y"}); err != nil {
				return err
			}
		}
		for i := range items.All(tx) {
			n++
			if i.Owner != "y" {
				t.Errorf("%s not written", i.ID)
			}
			if err := items.Delete(tx, i.ID); err != nil {
				return err
			}
		}
		if n != 200 {
			t.Errorf("loops saw %d rows", n)
		}
		return nil
	})
}

func testCopy(t *testing.T, s Shared) {
	db := open(t, s)
	mine := Item{ID: "a", Labels: []string{"one"}}
	put(t, db, mine)
	mine.Labels[0] = "changed"
	view(t, db, func(r store.Reader) {
		if got, _ := items.Get(r, "a"); got.Labels[0] != "one" {
			t.Errorf("stored row shares memory with its writer")
		}
	})
}

func testBadRows(t *testing.T, s Shared) {
	db := open(t, s)
	for _, c := range []struct {
		name string
		item Item
		want error
	}{
		{"no key", Item{}, cluster.ErrInvalid},
		{"long key", Item{ID: strings.Repeat("k", store.MaxKeyBytes+1)}, store.ErrTooLarge},
		{"not UTF-8", Item{ID: "\xff"}, cluster.ErrInvalid},
		{"large row", Item{ID: "a", Owner: strings.Repeat("o", store.MaxRowBytes)}, store.ErrTooLarge},
	} {
		_, err := db.Update(t.Context(), func(tx store.Tx) error { return items.Put(tx, c.item) })
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	put(t, db, Item{ID: strings.Repeat("k", store.MaxKeyBytes)})
}

func keys(seq func(func(Item) bool)) string {
	var all []string
	for i := range seq {
		all = append(all, i.ID)
	}
	return strings.Join(all, " ")
}
