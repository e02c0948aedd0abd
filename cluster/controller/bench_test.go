package controller

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/store"
	"github.com/ciaocloud/ciao/cluster/store/etcdembed"
	"github.com/ciaocloud/ciao/cluster/store/memstore"
)

// BenchmarkFiftyInstances measures what the controller itself costs: 50 instances from one request to all active and again to none, on
// a cluster whose nodes take no time. The memory store beside etcd shows what is the store's share.
func BenchmarkFiftyInstances(b *testing.B) {
	b.Run("memory", func(b *testing.B) {
		benchmarkInstances(b, 50, func(ctx context.Context) (*store.DB, error) { return memstore.Open(ctx, Schema(), nil) })
	})
	b.Run("etcd", func(b *testing.B) {
		benchmarkInstances(b, 50, func(ctx context.Context) (*store.DB, error) {
			return etcdembed.Open(ctx, etcdembed.Config{Dir: b.TempDir(), Log: slog.New(slog.DiscardHandler)}, Schema())
		})
	})
	b.Run("etcd, one", func(b *testing.B) {
		benchmarkInstances(b, 1, func(ctx context.Context) (*store.DB, error) {
			return etcdembed.Open(ctx, etcdembed.Config{Dir: b.TempDir(), Log: slog.New(slog.DiscardHandler)}, Schema())
		})
	})
}

func benchmarkInstances(b *testing.B, n int, open func(context.Context) (*store.DB, error)) {
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	db, err := open(ctx)
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	c, err := New(Config{Store: db})
	if err != nil {
		b.Fatal(err)
	}
	fake := newFakeCluster(ctx)
	fake.pace = 0
	c.Attach(fake, fakeIssuer{})
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	defer func() { cancel(); <-done }()
	fake.attach(c)
	fake.addNode(1)
	tenant, err := c.CreateTenant(ctx, TenantRequest{Name: "red"})
	if err != nil {
		b.Fatal(err)
	}
	if _, err := c.CreateWorkload(ctx, Operator, WorkloadRequest{Name: "web", Spec: containerSpec()}); err != nil {
		b.Fatal(err)
	}
	cycle := func() (up, down time.Duration) {
		begun := time.Now()
		changes := c.Watch(ctx, tenant.ID, ChangeInstance)
		<-changes
		if _, err := c.CreateInstances(ctx, tenant.ID, InstanceRequest{Workload: "web", Count: n}); err != nil {
			b.Fatal(err)
		}
		await(b, changes, n, func(change Change) bool { return !change.Deleted && change.Instance.State == cluster.Active })
		up = time.Since(begun)
		if _, err := c.DeleteInstances(ctx, tenant.ID, InstanceFilter{}); err != nil {
			b.Fatal(err)
		}
		await(b, changes, n, func(change Change) bool { return change.Deleted })
		return up, time.Since(begun) - up
	}
	cycle() // the CNCI comes up
	before := c.Counters().Commits
	var up, down time.Duration
	for b.Loop() {
		u, d := cycle()
		up, down = up+u, down+d
	}
	per := float64(b.N)
	b.ReportMetric(float64(up.Microseconds())/1000/per, "ms/active")
	b.ReportMetric(float64(down.Microseconds())/1000/per, "ms/gone")
	b.ReportMetric(float64(c.Counters().Commits-before)/per, "commits")
}

func await(b *testing.B, changes <-chan Change, n int, counts func(Change) bool) {
	b.Helper()
	deadline := time.After(time.Minute)
	for seen := map[string]bool{}; len(seen) < n; {
		select {
		case change := <-changes:
			if change.Kind == ChangeInstance && counts(change) {
				seen[change.ID] = true
			}
		case <-deadline:
			b.Fatalf("%d of %d after a minute", len(seen), n)
		}
	}
}
