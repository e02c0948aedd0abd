package container_test

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	engine "github.com/docker/docker/api/types/container"

	"github.com/ciaocloud/ciao/cluster/driver"
	"github.com/ciaocloud/ciao/require"
)

// BenchmarkStart50 compares the time from asking for 50 containers to the last one running: by this driver with its network plugin and
// ports that are there, and by the bare engine on its default bridge at 1, 2, 4 and 8 at one time. The rounds are interleaved, and
// medians are reported in seconds; the ratio is to the engine's best. Run with -benchtime=5x for medians of five.
func BenchmarkStart50(b *testing.B) { benchmarkStart(b, 50, 1, 2, 4, 8) }

// BenchmarkStart1 compares one container.
func BenchmarkStart1(b *testing.B) { benchmarkStart(b, 1, 1) }

func benchmarkStart(b *testing.B, count int, parallel ...int) {
	require.Docker(b)
	n := newNode(b, "")
	keeper := n.instance(b, untilStopped) // the network of the subnet is there, as that of a tenant who has an instance
	n.begin(b, []driver.Instance{keeper})
	ours, bare := []time.Duration{}, map[int][]time.Duration{}
	b.ResetTimer()
	for range b.N {
		ours = append(ours, n.timeDriver(b, count))
		for _, p := range parallel {
			bare[p] = append(bare[p], n.timeEngine(b, count, p))
		}
	}
	best := time.Duration(0)
	for _, p := range parallel {
		at := median(bare[p])
		b.ReportMetric(at.Seconds(), "engine-"+strconv.Itoa(p)+"-s")
		if best == 0 || at < best {
			best = at
		}
	}
	b.ReportMetric(median(ours).Seconds(), "driver-s")
	b.ReportMetric(median(ours).Seconds()/best.Seconds(), "ratio")
	b.ReportMetric(0, "ns/op")
}

// timeDriver starts instances the way the launcher does, each in a goroutine of its own.
func (n *node) timeDriver(b *testing.B, count int) time.Duration {
	n.last.Store(10)
	instances := make([]driver.Instance, count)
	for i := range instances {
		instances[i] = n.instance(b, untilStopped)
	}
	begun := time.Now()
	n.begin(b, instances)
	took := time.Since(begun)
	n.each(b, 8, instances, func(ctx context.Context, instance driver.Instance) error { return n.driver.Delete(ctx, instance.ID) })
	return took
}

func (n *node) begin(b *testing.B, instances []driver.Instance) {
	n.each(b, len(instances), instances, func(ctx context.Context, instance driver.Instance) error {
		if err := n.driver.Create(ctx, instance, nil); err != nil {
			return err
		}
		return n.driver.Start(ctx, instance.ID)
	})
}

// timeEngine starts containers of the same image, command and limits on the default bridge.
func (n *node) timeEngine(b *testing.B, count, parallel int) time.Duration {
	pids := int64(512)
	config := &engine.Config{Image: busybox, Cmd: []string{"/bin/sh", "-c", untilStopped}}
	host := &engine.HostConfig{Resources: engine.Resources{Memory: 64 << 20, MemorySwap: 64 << 20, NanoCPUs: 1e9, PidsLimit: &pids}}
	names := make([]driver.Instance, count)
	for i := range names {
		names[i].ID = fmt.Sprintf("%s-bare-%d", n.config.Cluster, i)
	}
	b.Cleanup(func() {
		for _, name := range names {
			n.engine.ContainerRemove(context.Background(), name.ID, engine.RemoveOptions{Force: true})
		}
	})
	begun := time.Now()
	n.each(b, parallel, names, func(ctx context.Context, name driver.Instance) error {
		made, err := n.engine.ContainerCreate(ctx, config, host, nil, nil, name.ID)
		if err != nil {
			return err
		}
		return n.engine.ContainerStart(ctx, made.ID, engine.StartOptions{})
	})
	took := time.Since(begun)
	n.each(b, 8, names, func(ctx context.Context, name driver.Instance) error {
		return n.engine.ContainerRemove(ctx, name.ID, engine.RemoveOptions{Force: true})
	})
	return took
}

func (n *node) each(b *testing.B, parallel int, instances []driver.Instance, do func(context.Context, driver.Instance) error) {
	b.Helper()
	var all sync.WaitGroup
	places := make(chan struct{}, parallel)
	for _, instance := range instances {
		places <- struct{}{}
		all.Go(func() {
			defer func() { <-places }()
			if err := do(b.Context(), instance); err != nil {
				b.Error(err)
			}
		})
	}
	all.Wait()
}

func median(times []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(times))
	return sorted[len(sorted)/2]
}
