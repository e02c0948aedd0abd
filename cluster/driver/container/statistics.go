package container

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"github.com/docker/docker/api/types/container"

	"github.com/ciaocloud/ciao/cluster"
)

// samples remembers the processor time of the sample before. The zero value is ready.
type samples struct {
	mu   sync.Mutex
	last map[string]sample // by container id
}

type sample struct {
	at   time.Time
	used usage
}

// usage is what a container has used, and uses now.
type usage struct {
	cpu    time.Duration
	memory int64 // bytes, without the cache of files that can be dropped at once
	pids   int64
}

// Statistics samples running containers: from the kernel's files where they are in sight, which takes microseconds, else by the
// engine's one-shot call. What they hold on disk would need a walk over it and is left unknown.
func (d *Driver) Statistics(ctx context.Context, ids []string) ([]cluster.InstanceStatistics, error) {
	found, err := d.containers(ctx)
	if err != nil {
		return nil, err
	}
	wanted := map[string]bool{}
	for _, id := range ids {
		wanted[id] = true
	}
	running := found[:0]
	for _, c := range found {
		if c.State == container.StateRunning && wanted[c.Labels[LabelInstance]] {
			running = append(running, c)
		}
	}
	taken := make([]*sample, len(running))
	d.each(len(running), func(i int) { taken[i] = d.sample(ctx, running[i].ID) })
	return d.samples.compare(running, taken), nil
}

func (d *Driver) sample(ctx context.Context, containerID string) *sample {
	if used, ok := cgroupUsage(cgroupRoot, containerID); ok {
		return &sample{at: time.Now(), used: used}
	}
	ctx, cancel := context.WithTimeout(ctx, quickCall)
	defer cancel()
	reader, err := d.engine.ContainerStatsOneShot(ctx, containerID)
	if err != nil {
		return nil
	}
	defer reader.Body.Close()
	var stats container.StatsResponse
	if err := json.NewDecoder(reader.Body).Decode(&stats); err != nil || stats.Read.IsZero() {
		return nil
	}
	memory := stats.MemoryStats
	cache, version1 := memory.Stats["total_inactive_file"]
	if !version1 {
		cache = memory.Stats["inactive_file"]
	}
	return &sample{at: stats.Read, used: usage{
		cpu:    time.Duration(stats.CPUStats.CPUUsage.TotalUsage),
		memory: int64(memory.Usage - min(memory.Usage, cache)),
		pids:   int64(stats.PidsStats.Current),
	}}
}

// compare turns samples into rates and keeps them for the next time; a container without an earlier one has an unknown rate.
func (s *samples) compare(running []container.Summary, taken []*sample) []cluster.InstanceStatistics {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := map[string]sample{}
	var list []cluster.InstanceStatistics
	for i, now := range taken {
		if now == nil {
			continue
		}
		statistics := cluster.InstanceStatistics{
			Instance: running[i].Labels[LabelInstance], CPU: -1,
			MemoryMiB: now.used.memory >> 20, DiskMiB: -1, Pids: now.used.pids,
		}
		if before, ok := s.last[running[i].ID]; ok && now.at.After(before.at) {
			statistics.CPU = (now.used.cpu - before.used.cpu).Seconds() / now.at.Sub(before.at).Seconds()
		}
		next[running[i].ID] = *now
		list = append(list, statistics)
	}
	s.last = next
	return list
}
