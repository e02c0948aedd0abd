package cgroup

import (
	"sync"
	"time"

	"github.com/ciaocloud/ciao/cluster"
)

// Sample is what an instance used at one moment.
type Sample struct {
	At   time.Time
	Used Usage
}

// Meter makes rates of samples: it remembers the processor time of the samples before. The zero value is ready.
type Meter struct {
	mu   sync.Mutex
	last map[string]Sample // by instance
}

// Compare turns samples, by instance, into statistics, and keeps them for the next time. An instance without an earlier sample, or that
// was started anew since, has an unknown rate. What an instance holds on disk is left unknown.
func (m *Meter) Compare(samples map[string]Sample) []cluster.InstanceStatistics {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := make([]cluster.InstanceStatistics, 0, len(samples))
	for instance, now := range samples {
		statistics := cluster.InstanceStatistics{
			Instance: instance, CPU: -1, MemoryMiB: now.Used.Memory >> 20, DiskMiB: -1, Pids: now.Used.Pids,
		}
		before, ok := m.last[instance]
		if ok && now.At.After(before.At) && now.Used.CPU >= before.Used.CPU {
			statistics.CPU = (now.Used.CPU - before.Used.CPU).Seconds() / now.At.Sub(before.At).Seconds()
		}
		list = append(list, statistics)
	}
	m.last = samples
	return list
}
