package controller

import (
	"encoding/binary"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/store"
)

// ahead is an event's id as a clock that is ahead would have made it.
func ahead(by time.Duration) string {
	id := uuid.Must(uuid.NewV7())
	first := binary.BigEndian.Uint64(id[:8])
	binary.BigEndian.PutUint64(id[:8], first+uint64(by.Milliseconds())<<16)
	return id.String()
}

// note keeps events in transactions of two.
func note(w *world, from, to int) {
	w.t.Helper()
	for i := from; i < to; i += 2 {
		_, err := w.c.update(w.ctx, func(tx store.Tx) error {
			for k := range 2 {
				if err := putEvent(tx, newEvent(cluster.Info, "Noted", fmt.Sprint(i+k))); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			w.t.Fatal(err)
		}
	}
}

// TestEventsAfterAClockThatWasSetBack: events stay in the order in which they happened, page by page, also after a restart of the controller
// and when the clock is right again.
func TestEventsAfterAClockThatWasSetBack(t *testing.T) {
	inWorld(t, func(w *world) {
		early := newEvent(cluster.Info, "Noted", "0")
		early.ID = ahead(24 * time.Hour) // the clock was a day ahead then
		if _, err := w.c.update(w.ctx, func(tx store.Tx) error { return putEvent(tx, early) }); err != nil {
			t.Fatal(err)
		}
		note(w, 1, 5)
		w.restart()
		note(w, 5, 11)
		time.Sleep(48 * time.Hour)
		note(w, 11, 13)
		var got []string
		page := Page{Limit: 3}
		for more := true; more; more = page.After != "" {
			list, next, err := w.c.Events(w.ctx, Operator, EventFilter{Page: page})
			if err != nil {
				t.Fatal(err)
			}
			for _, event := range list {
				if event.Reason == "Noted" {
					got = append(got, event.Message)
				}
			}
			page.After = next
		}
		var want []string
		for i := range 13 {
			want = append(want, fmt.Sprint(i))
		}
		if !slices.Equal(got, want) {
			t.Errorf("the events are listed as %v", got)
		}
	})
}

// TestFollowingIDs: ids that follow each other carry over, and stay ids of version 7.
func TestFollowingIDs(t *testing.T) {
	for _, id := range []string{
		"0199f000-0000-7000-8000-00000000000a", "0199f000-0000-7fff-bfff-ffffffffffff", "0199f000-ffff-7fff-8000-000000000000", ahead(0),
	} {
		next := following(id)
		parsed, err := uuid.Parse(next)
		if next <= id || err != nil || parsed.Version() != 7 || parsed.Variant() != uuid.RFC4122 {
			t.Errorf("after %s comes %s: %v", id, next, err)
		}
	}
}
