package storetest

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ciaocloud/ciao/cluster/store"
)

// rowsOf yields rows, then an error if there is one.
func rowsOf(rows []store.RawRow, err error) iter.Seq2[store.RawRow, error] {
	return func(yield func(store.RawRow, error) bool) {
		for _, row := range rows {
			if !yield(row, nil) {
				return
			}
		}
		if err != nil {
			yield(store.RawRow{}, err)
		}
	}
}

// contents are all rows by path, without their revisions.
func contents(t *testing.T, b store.Backend) map[string]string {
	t.Helper()
	s, err := b.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for row, err := range s.Rows {
		if err != nil {
			t.Fatal(err)
		}
		all[row.Path] = string(row.Value)
	}
	return all
}

// wanted is a store to replace another by, of more than one transaction; some of its rows are in it under the same keys as fill has.
func wanted(t *testing.T) (rows []store.RawRow, all map[string]string) {
	t.Helper()
	rows = append(rows, store.RawRow{Path: "_/schema", Value: []byte(`{"number":0,"name":""}`)})
	for i := range 400 {
		rows = append(rows, store.RawRow{Path: fmt.Sprint("items/", 100+i), Value: fmt.Appendf(nil, `{"id":"%d","owner":"restored"}`, 100+i)})
	}
	all = map[string]string{}
	for _, row := range rows {
		all[row.Path] = string(row.Value)
	}
	return rows, all
}

func testReplace(t *testing.T, s Shared) {
	rows, all := wanted(t)
	for _, state := range []string{"empty", "full", "same"} {
		n, err := store.Replace(t.Context(), s.Backend(), rowsOf(rows, nil), state != "empty")
		if err != nil || n != len(rows) {
			t.Fatalf("%s: %d rows, %v", state, n, err)
		}
		if diff := cmp.Diff(all, contents(t, s.Backend())); diff != "" {
			t.Fatalf("%s (-want +got): %s", state, diff)
		}
		if state == "empty" {
			fill(t, s, 300) // rows 0 to 299: the replacement has 100 to 499
		}
	}
	view(t, open(t, s), func(r store.Reader) {
		if n := len(keysOf(items.By(r, "owner", "restored"))); n != 400 || items.Len(r) != 400 {
			t.Errorf("%d restored rows of %d", n, items.Len(r))
		}
	})
}

func testReplaceRefused(t *testing.T, s Shared) {
	rows, _ := wanted(t)
	if full, err := store.Occupied(t.Context(), s.Backend()); full || err != nil {
		t.Errorf("an empty store is occupied: %v", err)
	}
	fill(t, s, 3)
	before := contents(t, s.Backend())
	if full, err := store.Occupied(t.Context(), s.Backend()); !full || err != nil {
		t.Errorf("a store with rows is not occupied: %v", err)
	}
	if _, err := store.Replace(t.Context(), s.Backend(), rowsOf(rows, nil), false); !errors.Is(err, store.ErrExists) {
		t.Errorf("unforced: %v", err)
	}
	if diff := cmp.Diff(before, contents(t, s.Backend())); diff != "" {
		t.Errorf("a refused restore writes (-before +after): %s", diff)
	}
}

// testReplaceInterrupted cuts a replacement off at each of its transactions: nobody opens what it leaves, and the next one completes it.
func testReplaceInterrupted(t *testing.T, s Shared) {
	rows, all := wanted(t)
	cut := errors.New("cut")
	fill(t, s, 300)
	for commits := 1; ; commits++ {
		b := &cutOff{Backend: s.Backend(), left: commits, err: cut}
		_, err := store.Replace(t.Context(), b, rowsOf(rows, nil), true)
		if err == nil {
			break
		}
		if !errors.Is(err, cut) || commits > 20 {
			t.Fatalf("after %d commits: %v", commits, err)
		}
		if db, err := s.Open(t.Context(), schema, slog.New(slog.DiscardHandler)); !errors.Is(err, store.ErrConflict) {
			t.Fatalf("after %d commits it opens: %v, %v", commits, err, db.Close())
		}
	}
	if diff := cmp.Diff(all, contents(t, s.Backend())); diff != "" {
		t.Errorf("(-want +got): %s", diff)
	}
	lost := errors.New("lost")
	if _, err := store.Replace(t.Context(), s.Backend(), rowsOf(rows[:200], lost), true); !errors.Is(err, lost) {
		t.Errorf("rows that end early: %v", err)
	}
	// What was allowed once needs no force to be completed.
	if _, err := store.Replace(t.Context(), s.Backend(), rowsOf(rows, nil), false); err != nil {
		t.Error(err)
	}
	open(t, s)
}

// testReplaceDisturbed: a program that has the store open ends, and one that writes meanwhile makes the replacement fail.
func testReplaceDisturbed(t *testing.T, s Shared) {
	rows, _ := wanted(t)
	running := open(t, s)
	put(t, running, Item{ID: "before"})
	if _, err := store.Replace(t.Context(), s.Backend(), rowsOf(rows, nil), true); err != nil {
		t.Fatal(err)
	}
	<-running.Done()
	if err := running.Err(); !errors.Is(err, store.ErrConflict) {
		t.Errorf("running program: %v", err)
	}
	for _, path := range []string{"items/0", "items/250", "items/99999"} {
		b := &meddler{Backend: s.Backend(), path: path}
		if _, err := store.Replace(t.Context(), b, rowsOf(rows, nil), true); !errors.Is(err, store.ErrConflict) {
			t.Errorf("%s was written meanwhile: %v", path, err)
		}
	}
}

// meddler writes a row behind the back of the second transaction.
type meddler struct {
	store.Backend
	path    string
	commits int
}

func (m *meddler) Commit(ctx context.Context, c store.Commit) (store.Revision, error) {
	if m.commits++; m.commits == 2 {
		if _, err := m.Backend.Commit(ctx, store.Commit{Writes: []store.RawRow{{Path: m.path, Value: []byte(`{"id":"x"}`)}}}); err != nil {
			return 0, err
		}
	}
	return m.Backend.Commit(ctx, c)
}
