package client_test

import (
	"context"
	"errors"
	"io"
	"iter"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/api"
	"github.com/ciaocloud/ciao/cluster/apiserver/apiservertest"
	"github.com/ciaocloud/ciao/cluster/client"
)

const patience = 30 * time.Second

// wire carries connections to an API, until it is cut.
type wire struct {
	address  string
	listener net.Listener
	target   string
	carrying sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]bool
}

// lay lays a wire to target, on an address of its choice if address has port 0.
func lay(t *testing.T, address, target string) *wire {
	t.Helper()
	listener, err := net.Listen("tcp", address)
	must(t, err)
	w := &wire{address: listener.Addr().String(), listener: listener, target: target, conns: make(map[net.Conn]bool)}
	w.carrying.Go(w.accept)
	t.Cleanup(w.cut)
	return w
}

func (w *wire) accept() {
	for {
		near, err := w.listener.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", w.target)
		if err != nil {
			_ = near.Close()
			continue
		}
		w.mu.Lock()
		w.conns[near], w.conns[far] = true, true
		w.mu.Unlock()
		w.carrying.Go(func() { carry(near, far) })
		w.carrying.Go(func() { carry(far, near) })
	}
}

func carry(to, from net.Conn) {
	_, _ = io.Copy(to, from)
	_ = to.Close()
	_ = from.Close()
}

// drop ends every connection; new ones are carried.
func (w *wire) drop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for c := range w.conns {
		_ = c.Close()
		delete(w.conns, c)
	}
}

// cut ends everything and waits for it.
func (w *wire) cut() {
	_ = w.listener.Close()
	w.drop()
	w.carrying.Wait()
}

// over is a client whose connections go over the wire.
func over(t *testing.T, w *wire, a *apiservertest.API) *client.Client {
	t.Helper()
	c, err := client.New(client.Config{Controller: w.address, Certificate: a.Tenant(apiservertest.Blue), CA: a.CA()})
	must(t, err)
	t.Cleanup(c.Close)
	return c
}

// some makes instances of blue.
func some(t *testing.T, a *apiservertest.API, n int) (*client.Client, []api.Instance) {
	t.Helper()
	c := a.Client(a.Tenant(apiservertest.Blue))
	_, err := c.CreateWorkload(t.Context(), api.CreateWorkload{Name: "sleeper", Kind: cluster.KindContainer, Image: "busybox"})
	must(t, err)
	created, err := c.CreateInstances(t.Context(), api.CreateInstances{Workload: "sleeper", Count: n, Name: "web"})
	must(t, err)
	return c, created
}

// follower reads a watch one change at a time.
type follower struct {
	t    *testing.T
	next func() (api.Change, error, bool)
}

func follow(t *testing.T, changes iter.Seq2[api.Change, error]) follower {
	next, stop := iter.Pull2(changes)
	t.Cleanup(stop)
	return follower{t, next}
}

// see reads until a change is wanted.
func (f follower) see(what string, wanted func(api.Change) bool) {
	f.t.Helper()
	for {
		change, err, open := f.next()
		if err != nil || !open {
			f.t.Fatalf("%s was not seen: the watch ended: %v", what, err)
		}
		if wanted(change) {
			return
		}
	}
}

func TestWatchReconnects(t *testing.T) {
	a := apiservertest.New(t)
	direct, created := some(t, a, 2)
	w := lay(t, "127.0.0.1:0", a.Address)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	resync := func(c api.Change) bool { return c.Type == api.ChangeResync }
	deletion := func(of api.Instance) func(api.Change) bool {
		return func(c api.Change) bool { return c.Type == api.ChangeInstance && c.ID == of.ID && c.Deleted }
	}
	f := follow(t, over(t, w, a).Watch(ctx, api.ChangeInstance, api.ChangeEvent))
	f.see("the first resync", resync)
	_, err := direct.DeleteInstance(ctx, created[0].ID)
	must(t, err)
	f.see("a change", deletion(created[0]))
	w.drop()
	f.see("a resync after the loss", resync)
	_, err = direct.DeleteInstance(ctx, created[1].ID)
	must(t, err)
	f.see("a change after the loss", deletion(created[1]))
	w.cut()
	lay(t, w.address, a.Address)
	f.see("a resync after an outage", resync)
	_, err = direct.CreateInstances(ctx, api.CreateInstances{Workload: "sleeper"})
	must(t, err)
	f.see("a change of the second type", func(c api.Change) bool { return c.Type == api.ChangeEvent && c.Event.Reason == "Created" })
}

func TestWatchEndsWhenTryingAgainDoesNotHelp(t *testing.T) {
	a := apiservertest.New(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var last error
	for _, err := range a.Client(a.Daemon()).Watch(ctx) {
		last = err
	}
	wants(t, last, cluster.ErrPermission, "certificate of a daemon")
}

func TestWatchEndsWithItsContext(t *testing.T) {
	a := apiservertest.New(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for _, err := range a.Client(a.Operator()).Watch(ctx) {
		must(t, err)
		cancel()
	}
}

// TestWaitSeesWhatItMissed: the instances go while the waiter is cut off.
func TestWaitSeesWhatItMissed(t *testing.T) {
	a := apiservertest.New(t)
	direct, created := some(t, a, 3)
	w := lay(t, "127.0.0.1:0", a.Address)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	seen := make(chan api.Instance, 100)
	ended := make(chan error, 1)
	go func() {
		_, err := over(t, w, a).Wait(ctx, created, client.Deleted, func(i api.Instance) { seen <- i })
		ended <- err
	}()
	<-seen // it follows
	w.cut()
	_, err := direct.DeleteInstances(ctx, client.InstanceFilter{})
	must(t, err)
	for {
		left, err := direct.Instances(ctx, client.InstanceFilter{})
		must(t, err)
		if len(left) == 0 {
			break
		}
	}
	lay(t, w.address, a.Address)
	must(t, <-ended)
	states := make(map[string]cluster.State)
	for len(seen) > 0 {
		i := <-seen
		states[i.Name] = i.State
	}
	for _, instance := range created {
		if states[instance.Name] != cluster.Gone {
			t.Errorf("%s was last seen %s", instance.Name, states[instance.Name])
		}
	}
}

func TestWaitIsBounded(t *testing.T) {
	a := apiservertest.New(t)
	c, created := some(t, a, 2)
	t.Run("one", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		_, err := c.Wait(ctx, created[:1], client.Active, nil)
		wants(t, err, cluster.ErrTimeout, "web-1 is not there yet: it is pending", "ciao list events")
	})
	t.Run("many", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		_, err := c.Wait(ctx, created, client.Active, nil)
		wants(t, err, cluster.ErrTimeout, "2 of 2 instances are not there yet; web-1 is pending")
	})
	t.Run("cancelled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		_, err := c.Wait(ctx, created, client.Active, func(api.Instance) { cancel() })
		wants(t, err, context.Canceled)
	})
	t.Run("nobody", func(t *testing.T) {
		if got, err := c.Wait(t.Context(), nil, client.Active, nil); err != nil || len(got) != 0 {
			t.Errorf("%v, %v", got, err)
		}
	})
	t.Run("deleted meanwhile", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		_, err := c.Wait(ctx, created[1:], client.Active, func(api.Instance) { _, _ = c.DeleteInstance(ctx, created[1].ID) })
		wants(t, err, cluster.ErrNotFound, "web-2 was deleted meanwhile")
	})
}

func TestReached(t *testing.T) {
	for _, test := range []struct {
		name    string
		reached client.Reached
		done    string // states in which the wait is over
		wrong   string // states in which it has failed
		gone    string // what it says of an instance that is gone
	}{
		{"active", client.Active, "active", "exited failed", "wrong"},
		{"inactive", client.Inactive, "stopped exited failed", "", "done"},
		{"deleted", client.Deleted, "", "", "done"},
	} {
		t.Run(test.name, func(t *testing.T) {
			judge := func(state cluster.State, gone bool) string {
				done, err := test.reached(api.Instance{Name: "web", State: state, Reason: "because"}, gone)
				switch {
				case err != nil:
					if !gone && (!errors.Is(err, cluster.ErrConflict) || !strings.Contains(err.Error(), "because")) {
						t.Errorf("error %v", err)
					}
					return "wrong"
				case done:
					return "done"
				}
				return "open"
			}
			for _, state := range cluster.States() {
				want := "open"
				if strings.Contains(test.done, string(state)) {
					want = "done"
				}
				if strings.Contains(test.wrong, string(state)) {
					want = "wrong"
				}
				if got := judge(state, false); got != want {
					t.Errorf("%s is %s, want %s", state, got, want)
				}
			}
			if got := judge(cluster.Pending, true); got != test.gone {
				t.Errorf("gone is %s, want %s", got, test.gone)
			}
		})
	}
}
