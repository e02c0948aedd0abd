package container

import (
	"context"
	"encoding/json"
	"time"

	"github.com/docker/docker/api/types/container"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/driver/cgroup"
)

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
	taken := make([]*cgroup.Sample, len(running))
	d.each(len(running), func(i int) { taken[i] = d.sample(ctx, running[i].ID) })
	samples := map[string]cgroup.Sample{}
	for i, sample := range taken {
		if sample != nil {
			samples[running[i].Labels[LabelInstance]] = *sample
		}
	}
	return d.meter.Compare(samples), nil
}

func (d *Driver) sample(ctx context.Context, containerID string) *cgroup.Sample {
	// The engine has two schemes of names.
	if used, ok := cgroup.Read(cgroup.Root, "docker/"+containerID, "system.slice/docker-"+containerID+".scope"); ok {
		return &cgroup.Sample{At: time.Now(), Used: used}
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
	return &cgroup.Sample{At: stats.Read, Used: cgroup.Usage{
		CPU:    time.Duration(stats.CPUStats.CPUUsage.TotalUsage),
		Memory: int64(memory.Usage - min(memory.Usage, cache)),
		Pids:   int64(stats.PidsStats.Current),
	}}
}
