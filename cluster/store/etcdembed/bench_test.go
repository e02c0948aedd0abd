package etcdembed_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sys/unix"

	"github.com/ciaocloud/ciao/cluster/store"
	"github.com/ciaocloud/ciao/cluster/store/etcdembed"
)

// vm is a row of the size of an instance.
type vm struct {
	ID, Tenant, Node, State, Reason string
	Addresses                       []string
	Created                         time.Time
}

var (
	vms = store.NewTable("vms", func(v vm) string { return v.ID },
		store.Index[vm]{Name: "tenant", Keys: func(v vm) []string { return []string{v.Tenant} }},
		store.Index[vm]{Name: "node", Keys: func(v vm) []string { return []string{v.Node} }})
	benchSchema = store.Schema{Tables: []store.AnyTable{vms}}
)

func sample(n int) vm {
	return vm{
		ID: fmt.Sprintf("0199f0c4-4b1e-7a53-8000-%012d", n), Tenant: fmt.Sprint("tenant-", n%10), Node: fmt.Sprint("node-", n%7),
		State: "active", Reason: "started by the launcher", Addresses: []string{"172.16.0.17", "198.51.100.7"},
		Created: time.Unix(1_700_000_000+int64(n), 0).UTC(),
	}
}

func openBench(b *testing.B, s *etcdembed.Server) *store.DB {
	b.Helper()
	db, err := store.Open(b.Context(), s.Backend(), benchSchema, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { db.Close() })
	return db
}

// BenchmarkPut compares one-row transactions with the same puts by a bare etcd client, blindly and as a client without a store has to do
// it: read, compare, put. Each has a server of its own on the same disk.
func BenchmarkPut(b *testing.B) {
	for _, writers := range []int{1, 16} {
		b.Run(fmt.Sprintf("store/writers=%d", writers), func(b *testing.B) {
			db := openBench(b, start(b, etcdembed.Config{}))
			spread(b, writers, func(ctx context.Context, n int) error {
				_, err := db.Update(ctx, func(tx store.Tx) error { return vms.Put(tx, sample(n%10_000)) })
				return err
			})
		})
		b.Run(fmt.Sprintf("etcd/writers=%d", writers), func(b *testing.B) {
			client := start(b, etcdembed.Config{}).Client()
			spread(b, writers, func(ctx context.Context, n int) error {
				v := sample(n % 10_000)
				value, err := json.Marshal(v)
				if err != nil {
					return err
				}
				_, err = client.Put(ctx, "ciao/vms/"+v.ID, string(value))
				return err
			})
		})
		b.Run(fmt.Sprintf("etcd-compared/writers=%d", writers), func(b *testing.B) {
			client := start(b, etcdembed.Config{}).Client()
			spread(b, writers, func(ctx context.Context, n int) error {
				v := sample(n % 10_000)
				value, err := json.Marshal(v)
				if err != nil {
					return err
				}
				key := "ciao/vms/" + v.ID
				before, err := client.Get(ctx, key)
				if err != nil {
					return err
				}
				revision := int64(0)
				if len(before.Kvs) > 0 {
					revision = before.Kvs[0].ModRevision
				}
				_, err = client.Txn(ctx).If(clientv3.Compare(clientv3.ModRevision(key), "=", revision)).
					Then(clientv3.OpPut(key, string(value))).Commit()
				return err
			})
		})
	}
}

// BenchmarkPutSameRow has all writers change one row, as quota does.
func BenchmarkPutSameRow(b *testing.B) {
	for _, writers := range []int{1, 16} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			db := openBench(b, start(b, etcdembed.Config{}))
			spread(b, writers, func(ctx context.Context, n int) error {
				_, err := db.Update(ctx, func(tx store.Tx) error {
					if _, err := vms.Get(tx, sample(0).ID); err != nil && n > writers {
						return err
					}
					return vms.Put(tx, sample(0))
				})
				return err
			})
		})
	}
}

// BenchmarkBatch writes 64 rows in a transaction.
func BenchmarkBatch(b *testing.B) {
	db := openBench(b, start(b, etcdembed.Config{}))
	n := 0
	for b.Loop() {
		_, err := db.Update(b.Context(), func(tx store.Tx) error {
			for i := range 64 {
				if err := vms.Put(tx, sample((n+i)%10_000)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
		n += 64
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "rows/s")
}

func spread(b *testing.B, writers int, do func(context.Context, int) error) {
	b.Helper()
	var next atomic.Int64
	var group sync.WaitGroup
	b.ResetTimer()
	for range writers {
		group.Go(func() {
			for {
				n := int(next.Add(1))
				if n > b.N {
					return
				}
				if err := do(b.Context(), n); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "puts/s")
}

// BenchmarkGet reads one of 10,000 rows in a View.
func BenchmarkGet(b *testing.B) {
	db := openBench(b, start(b, etcdembed.Config{}))
	fillBench(b, db, 10_000)
	n := 0
	for b.Loop() {
		n++
		err := db.View(b.Context(), func(r store.Reader) error {
			_, err := vms.Get(r, sample(n%10_000).ID)
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkBy reads the 1,000 rows of one tenant of 10,000.
func BenchmarkBy(b *testing.B) {
	db := openBench(b, start(b, etcdembed.Config{}))
	fillBench(b, db, 10_000)
	for b.Loop() {
		count := 0
		err := db.View(b.Context(), func(r store.Reader) error {
			for range vms.By(r, "tenant", "tenant-3") {
				count++
			}
			return nil
		})
		if err != nil || count != 1000 {
			b.Fatal(count, err)
		}
	}
}

func fillBench(b *testing.B, db *store.DB, rows int) {
	b.Helper()
	for from := 0; from < rows; from += 100 {
		_, err := db.Update(b.Context(), func(tx store.Tx) error {
			for i := range 100 {
				if err := vms.Put(tx, sample(from+i)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkOpen opens server and store: with a new directory, and with one that holds 10,000 rows.
func BenchmarkOpen(b *testing.B) {
	log := slog.New(slog.DiscardHandler)
	for _, rows := range []int{0, 10_000} {
		b.Run(fmt.Sprintf("rows=%d", rows), func(b *testing.B) {
			dir := b.TempDir()
			if rows > 0 {
				db, err := etcdembed.Open(b.Context(), etcdembed.Config{Dir: dir, Log: log}, benchSchema)
				if err != nil {
					b.Fatal(err)
				}
				fillBench(b, db, rows)
				if err := db.Close(); err != nil {
					b.Fatal(err)
				}
			}
			for b.Loop() {
				if rows == 0 {
					dir = b.TempDir()
				}
				db, err := etcdembed.Open(b.Context(), etcdembed.Config{Dir: dir, Log: log}, benchSchema)
				if err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				if err := db.Close(); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
		})
	}
}

// BenchmarkIdle leaves an open store with 1,000 rows alone for ten seconds and reports what it takes.
func BenchmarkIdle(b *testing.B) {
	db := openBench(b, start(b, etcdembed.Config{}))
	fillBench(b, db, 1000)
	runtime.GC()
	for b.Loop() {
		before := cpu(b)
		time.Sleep(10 * time.Second)
		var mem runtime.MemStats
		runtime.ReadMemStats(&mem)
		b.ReportMetric(float64(cpu(b)-before)/float64(10*time.Second)*100, "%core")
		b.ReportMetric(float64(mem.HeapAlloc)/(1<<20), "heap-MiB")
		b.ReportMetric(float64(residentKiB(b))/(1<<10), "resident-MiB")
	}
}

func cpu(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
