package etcdembed_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/ciaocloud/ciao/cluster/store"
	"github.com/ciaocloud/ciao/cluster/store/etcdembed"
	"github.com/ciaocloud/ciao/cluster/store/etcdstore"
	"github.com/ciaocloud/ciao/cluster/store/storetest"
)

// remote is stores that reach an etcd over a connection, one client each, as controllers that share an etcd do.
type remote struct {
	shared
	t      *testing.T
	socket string
}

func startRemote(t *testing.T) remote {
	t.Helper()
	dir, err := os.MkdirTemp("", "etcd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "s")
	return remote{shared{start(t, etcdembed.Config{Dir: quickDirectory(t)}.ListenOn(socket))}, t, socket}
}

func (r remote) Open(ctx context.Context, schema store.Schema, log *slog.Logger) (*store.DB, error) {
	return etcdstore.Open(ctx, etcdstore.Config{Endpoints: []string{"unix://" + r.socket}, Prefix: "test", Log: log}, schema)
}

func (r remote) Backend() store.Backend {
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{"unix://" + r.socket}, Logger: zap.NewNop()})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { client.Close() })
	return etcdstore.New(client, "test")
}

func TestRemoteConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Shared { return startRemote(t) })
}

// TestConnectionLost cuts the connections under a store: readers go on, nothing is lost, and it catches up by itself.
func TestConnectionLost(t *testing.T) {
	r := startRemote(t)
	writer, err := r.Open(t.Context(), counterSchema, testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	link := newLink(t, r.socket)
	cut := r
	cut.socket = link.socket
	db, err := cut.Open(t.Context(), counterSchema, testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var start store.Revision
	if err := db.View(t.Context(), func(r store.Reader) error { start = r.Revision(); return nil }); err != nil {
		t.Fatal(err)
	}
	batches := db.Watch(t.Context(), store.WatchOptions{After: start})
	for n := range 10 {
		link.up(n%2 == 0)
		if err := putCounter(t.Context(), writer, counter{ID: "x", Count: n}); err != nil {
			t.Fatal(err)
		}
	}
	short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := putCounter(short, db, counter{ID: "y"}); err == nil {
		t.Error("a write without a connection succeeds")
	}
	link.up(true)
	for n := range 10 {
		select {
		case b := <-batches:
			for c := range counters.Changes(b) {
				if b.Resync || c.New.Count != n {
					t.Errorf("batch %d: %+v", n, c)
				}
			}
		case <-time.After(time.Minute):
			t.Fatal("the store does not come back")
		}
	}
	if err := putCounter(t.Context(), db, counter{ID: "z"}); err != nil && !errors.Is(err, store.ErrUnavailable) {
		t.Error(err)
	}
}

// TestNobodyThere: an etcd that does not answer is an error in time.
func TestNobodyThere(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err := etcdstore.Open(ctx, etcdstore.Config{Endpoints: []string{"unix:///nowhere/socket"}, Prefix: "test", Log: testLog(t)}, counterSchema)
	if !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
}

// link forwards connections to a socket while it is up.
type link struct {
	socket string
	mu     sync.Mutex
	alive  bool
	conns  []net.Conn
}

func newLink(t *testing.T, to string) *link {
	t.Helper()
	l := &link{socket: to + ".link", alive: true}
	listener, err := net.Listen("unix", l.socket)
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	t.Cleanup(func() { listener.Close(); l.up(false); group.Wait() })
	group.Go(func() {
		for {
			from, err := listener.Accept()
			if err != nil {
				return
			}
			target, err := net.Dial("unix", to)
			if err != nil || !l.add(from, target) {
				from.Close()
				if err == nil {
					target.Close()
				}
				continue
			}
			group.Go(func() { io.Copy(from, target); from.Close() })
			group.Go(func() { io.Copy(target, from); target.Close() })
		}
	})
	return l
}

func (l *link) add(conns ...net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.alive {
		l.conns = append(l.conns, conns...)
	}
	return l.alive
}

// up lets connections through, or cuts them all.
func (l *link) up(alive bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.alive = alive; !alive {
		for _, c := range l.conns {
			c.Close()
		}
		l.conns = nil
	}
}
