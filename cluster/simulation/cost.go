package simulation

import (
	"fmt"
	"os"
	"regexp"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"github.com/ciaocloud/ciao/cluster/controller"
)

// meter knows what was spent before.
type meter struct {
	counters controller.Counters
	cpu      time.Duration
	heapMiB  int
}

// read looks at the process. What nobody uses any more is not counted as live.
func (s *simulation) read() (meter, error) {
	processor, err := processorTime()
	if err != nil {
		return meter{}, err
	}
	m := meter{counters: s.controller.Counters(), cpu: processor}
	runtime.GC()
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	m.heapMiB = int(memory.HeapAlloc >> 20)
	return m, nil
}

// processorTime is what this process has used, of all cores.
func processorTime() (time.Duration, error) {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0, fmt.Errorf("ask what this process has used: %w", err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()), nil
}

// cost is what was spent between two looks.
func cost(before, after meter) (Cost, error) {
	peak, err := peakMiB()
	return Cost{
		CPU: seconds(after.cpu - before.cpu), Commits: after.counters.Commits - before.counters.Commits,
		CommitBusy: Seconds(after.counters.CommitBusy - before.counters.CommitBusy), Retries: after.counters.Retries - before.counters.Retries,
		Repeated: more(before.counters.Repeated, after.counters.Repeated), Questions: after.counters.Questions - before.counters.Questions,
		Sent: more(before.counters.Sent, after.counters.Sent), Received: more(before.counters.Frames, after.counters.Frames),
		NodesMiB: before.heapMiB, HeapMiB: after.heapMiB, PeakMiB: peak, Goroutines: runtime.NumGoroutine(),
	}, err
}

func more(before, after map[string]uint64) map[string]uint64 {
	grown := map[string]uint64{}
	for name, n := range after {
		if n > before[name] {
			grown[name] = n - before[name]
		}
	}
	return grown
}

var highWater = regexp.MustCompile(`(?m)^VmHWM:\s+(\d+) kB$`)

// peakMiB is the most memory that this process ever had (proc_pid_status(5)).
func peakMiB() (int, error) {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, fmt.Errorf("ask for the memory of this process: %w", err)
	}
	found := highWater.FindSubmatch(text)
	if found == nil {
		return 0, fmt.Errorf("/proc/self/status does not tell the most memory that this process had")
	}
	kib, err := strconv.Atoi(string(found[1]))
	return kib >> 10, err
}
