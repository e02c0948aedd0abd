package etcdstore_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ciaocloud/ciao/cluster/store"
	"github.com/ciaocloud/ciao/cluster/store/etcdstore"
	"github.com/ciaocloud/ciao/cluster/store/etcdtest"
	"github.com/ciaocloud/ciao/ssntp/certs"
)

type counter struct {
	ID    string
	Count int
}

var (
	counters = store.NewTable("counters", func(c counter) string { return c.ID })
	schema   = store.Schema{Tables: []store.AnyTable{counters}}
)

func config(t *testing.T, c *etcdtest.Cluster) etcdstore.Config {
	t.Helper()
	roots, err := certs.LoadPool(c.CA)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(c.Certificate, c.Key)
	if err != nil {
		t.Fatal(err)
	}
	return etcdstore.Config{
		Endpoints: c.Endpoints, Prefix: "ciao/lab", Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
		TLS: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots, Certificates: []tls.Certificate{pair}},
	}
}

func open(t *testing.T, c etcdstore.Config) *store.DB {
	t.Helper()
	db, err := etcdstore.Open(t.Context(), c, schema)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

// TestMemberKilled kills the leader of three members while two stores write: nothing that was acknowledged is lost, both go on, and
// each sees what the other wrote.
func TestMemberKilled(t *testing.T) {
	etcd := etcdtest.New(t)
	stores := []*store.DB{open(t, config(t, etcd)), open(t, config(t, etcd))}
	const before, after = 100, 100
	killed := make(chan struct{})
	var group sync.WaitGroup
	acknowledged := make([]int, len(stores))
	for i, db := range stores {
		group.Go(func() {
			acknowledged[i] = count(t, db, fmt.Sprint(i), before, after, killed)
		})
	}
	var seen int
	deadline := time.Now().Add(time.Minute)
	for seen < before && time.Now().Before(deadline) {
		seen = min(value(t, stores[0], "0"), value(t, stores[0], "1"))
	}
	start := time.Now()
	etcd.Kill(etcd.Leader())
	close(killed)
	group.Wait()
	t.Logf("both wrote %d more within %v of the kill", after, time.Since(start))
	for i, db := range stores {
		if err := db.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		for j := range stores {
			if got := value(t, db, fmt.Sprint(j)); got < acknowledged[j] || acknowledged[j] < before+after {
				t.Errorf("store %d has %d of writer %d, which had %d acknowledged", i, got, j, acknowledged[j])
			}
		}
	}
}

// count counts up in a row: until the kill, and after it a number of times more. It returns the last number that was acknowledged.
func count(t *testing.T, db *store.DB, id string, before, after int, killed <-chan struct{}) (last int) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	refused := 0
	for left := after; left > 0; {
		_, err := db.Update(ctx, func(tx store.Tx) error {
			c, err := counters.Get(tx, id)
			if err != nil && !errors.Is(err, store.ErrNotFound) {
				return err
			}
			last = c.Count
			return counters.Put(tx, counter{id, c.Count + 1})
		})
		switch {
		case err == nil:
			last++
		case !errors.Is(err, store.ErrUnavailable) || ctx.Err() != nil:
			t.Errorf("writer %s: %v", id, err)
			return last
		default:
			refused++
			continue
		}
		select {
		case <-killed:
			left--
		default:
		}
	}
	t.Logf("writer %s: %d writes were refused meanwhile", id, refused)
	return max(last, 0)
}

func value(t *testing.T, db *store.DB, id string) (n int) {
	t.Helper()
	err := db.View(t.Context(), func(r store.Reader) error {
		c, err := counters.Get(r, id)
		n = c.Count
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestRefusedConnections: what is wrong is said, and soon.
func TestRefusedConnections(t *testing.T) {
	etcd := etcdtest.New(t)
	other, err := certs.NewAuthority("other", 0)
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := other.Issue(certs.User("controller", "etcd"))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		edit func(*etcdstore.Config)
		says string
	}{
		{"an authority of another cluster", func(c *etcdstore.Config) { c.TLS.RootCAs = other.Pool() }, "certificate signed by unknown authority"},
		{"no certificate", func(c *etcdstore.Config) { c.TLS.Certificates = nil }, "certificate required"},
		{"a stranger's certificate", func(c *etcdstore.Config) { c.TLS.Certificates = []tls.Certificate{*stranger.TLS()} }, "certificate"},
		{"plain connections", func(c *etcdstore.Config) {
			c.TLS = nil
			c.Endpoints = []string{strings.Replace(c.Endpoints[0], "https", "http", 1)}
		}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := config(t, etcd)
			test.edit(&c)
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			defer cancel()
			_, err := etcdstore.Open(ctx, c, schema)
			t.Log(err)
			if !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), test.says) || !strings.Contains(err.Error(), c.Endpoints[0]) {
				t.Errorf("%v does not say %q", err, test.says)
			}
		})
	}
}
