package controller

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ciaocloud/ciao/cluster/payload"
	"github.com/ciaocloud/ciao/cluster/store/memstore"
	"github.com/ciaocloud/ciao/ssntp"
)

// revocationList is a list that changes.
type revocationList struct{ text atomic.Pointer[string] }

func (l *revocationList) List() []byte {
	if text := l.text.Load(); text != nil {
		return []byte(*text)
	}
	return nil
}

func (l *revocationList) Take([]byte) error { return nil }

func (l *revocationList) Newer([]byte) bool { return false }

func (l *revocationList) set(text string) { l.text.Store(&text) }

// Everybody is told of the list within a second of its change, a node that comes when it comes, and nobody of no list.
func TestRevocationsAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		db, err := memstore.Open(ctx, Schema(), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		list := &revocationList{}
		c, err := New(Config{Store: db, Revocations: list})
		if err != nil {
			t.Fatal(err)
		}
		fake := newFakeCluster(ctx)
		var told []string
		fake.drop = func(_ int, f ssntp.Frame, toController bool) bool {
			if f.Operand != ssntp.Revoke || toController {
				return false
			}
			to := "all"
			if !f.Destination.IsZero() {
				to = "one"
			}
			told = append(told, to+" "+string(decoded[payload.Revoke](f).List))
			return true
		}
		c.Attach(fake, fakeIssuer{})
		done := make(chan error, 1)
		go func() { done <- c.Run(ctx) }()
		defer func() { cancel(); <-done }()
		fake.attach(c)
		expect := func(want ...string) {
			t.Helper()
			time.Sleep(3 * time.Second)
			fake.with(func() {
				if len(told) != len(want) || len(want) > 0 && told[0] != want[0] {
					t.Errorf("told %q, want %q", told, want)
				}
				told = nil
			})
		}
		fake.addNode(1)
		expect()
		list.set("first")
		expect("all first")
		list.set("second")
		expect("all second")
		fake.addNode(2)
		expect("one second")
		time.Sleep(c.timing.Refresh)
		expect("all second")
	})
}
