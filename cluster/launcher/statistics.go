package launcher

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/driver"
	"github.com/ciaocloud/ciao/cluster/payload"
	"github.com/ciaocloud/ciao/ssntp"
)

// probeCapacity fills in each amount that is not configured.
func (c *Config) probeCapacity() error {
	memory, err := memoryOf("/proc/meminfo")
	if err != nil {
		return err
	}
	c.Capacity.CPU = cmp.Or(c.Capacity.CPU, cluster.CPU(runtime.NumCPU())*cluster.VCPU)
	c.Capacity.MemoryMiB = cmp.Or(c.Capacity.MemoryMiB, max(0, memory.TotalMiB-c.ReserveMemoryMiB))
	if c.Capacity.DiskMiB == 0 {
		c.Capacity.DiskMiB = max(0, diskOf(c.Directory).TotalMiB)
	}
	return nil
}

// sendStatistics samples the node and its active instances. A sample that cannot be sent is dropped: the next one replaces it.
func (l *Launcher) sendStatistics(ctx context.Context) {
	limited, cancel := context.WithTimeout(ctx, l.config.Statistics)
	defer cancel()
	sample := nodeStatistics(l.link.client.Identity().ID.String(), l.config.Directory)
	for kind, d := range l.drivers {
		sampler, able := d.(driver.Sampler)
		if !able {
			continue
		}
		instances, err := sampler.Statistics(limited, l.active(kind))
		if err != nil {
			l.logger.Debug("instances not sampled", "kind", kind, "error", err)
			continue
		}
		sample.Instances = append(sample.Instances, instances...)
	}
	sample.Instances = sample.Instances[:min(len(sample.Instances), maxSampled)]
	if err := l.link.send(limited, ssntp.Statistics, ssntp.ID{}, payload.Statistics{Sample: sample}); err != nil {
		l.logger.Debug("statistics not sent", "error", err)
	}
}

// maxSampled keeps a sample within one frame: an instance takes about 100 bytes of its 1 MiB.
const maxSampled = 8192

// active lists the active instances of a kind.
func (l *Launcher) active(kind cluster.Kind) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var ids []string
	for id, o := range l.owners {
		if o.reported.Kind == kind && o.reported.State == cluster.Active {
			ids = append(ids, id)
		}
	}
	return ids
}

// nodeStatistics samples the machine; what cannot be read is -1.
func nodeStatistics(node, directory string) cluster.NodeStatistics {
	sample := cluster.NodeStatistics{
		Node: node, Time: time.Now(), Load: -1, CPUs: runtime.NumCPU(),
		Memory: cluster.Amount{TotalMiB: -1, AvailableMiB: -1}, Disk: diskOf(directory),
	}
	if text, err := os.ReadFile("/proc/loadavg"); err == nil {
		sample.Load = parseLoad(string(text))
	}
	if memory, err := memoryOf("/proc/meminfo"); err == nil {
		sample.Memory = memory
	}
	return sample
}

// parseLoad reads the one-minute load average (proc(5), loadavg).
func parseLoad(text string) float64 {
	first, _, _ := strings.Cut(text, " ")
	load, err := strconv.ParseFloat(first, 64)
	if err != nil {
		return -1
	}
	return load
}

func memoryOf(name string) (cluster.Amount, error) {
	file, err := os.Open(name)
	if err != nil {
		return cluster.Amount{}, fmt.Errorf("read the machine's memory: %w", err)
	}
	defer file.Close()
	return parseMemory(file)
}

// parseMemory reads MemTotal and MemAvailable (proc(5), meminfo).
func parseMemory(r io.Reader) (cluster.Amount, error) {
	amount := cluster.Amount{TotalMiB: -1, AvailableMiB: -1}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 {
			continue
		}
		kib, err := strconv.ParseInt(fields[1], 10, 64)
		switch {
		case err != nil:
		case fields[0] == "MemTotal:":
			amount.TotalMiB = kib >> 10
		case fields[0] == "MemAvailable:":
			amount.AvailableMiB = kib >> 10
		}
	}
	if amount.TotalMiB < 0 {
		return amount, fmt.Errorf("%w: the machine does not tell its memory; set the node's capacity", cluster.ErrUnavailable)
	}
	return amount, lines.Err()
}

// diskOf is the file system of a directory, or of the nearest one above it that exists.
func diskOf(directory string) cluster.Amount {
	var stat syscall.Statfs_t
	for syscall.Statfs(directory, &stat) != nil {
		if parent := filepath.Dir(directory); parent != directory {
			directory = parent
			continue
		}
		return cluster.Amount{TotalMiB: -1, AvailableMiB: -1}
	}
	mib := func(blocks uint64) int64 { return int64(blocks * uint64(stat.Bsize) >> 20) }
	return cluster.Amount{TotalMiB: mib(stat.Blocks), AvailableMiB: mib(stat.Bavail)}
}
