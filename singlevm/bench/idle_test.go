package bench

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ciaocloud/ciao/singlevm"
	"github.com/ciaocloud/ciao/singlevm/supervise"
)

// idleTime is how long nothing happens.
const idleTime = time.Minute

// BenchmarkIdle measures what the cluster's daemons take while one tenant's instance runs and nobody asks for anything: processor time,
// that of children that ended included, and memory. The engine's own processes and the instance's are not in it.
func BenchmarkIdle(b *testing.B) {
	m := newMachine(b)
	m.singlevm("setup")
	m.tenant(b.Context(), m.operator(), "busybox")
	var took medians
	for b.Loop() {
		before := m.daemons()
		time.Sleep(idleTime)
		after := m.daemons()
		total := usage{}
		byName := map[string]usage{}
		for pid, now := range after {
			used := now
			used.processor -= before[pid].processor
			total = total.plus(used)
			byName[now.name] = byName[now.name].plus(used)
		}
		took.add("%-of-a-core", percent(total))
		took.add("rss-MiB", mebibytes(total.rss))
		took.add("pss-MiB", mebibytes(total.pss))
		for name, used := range byName {
			b.Logf("%-12s %.2f %% of a core, %5.1f MiB resident", name, percent(used), mebibytes(used.rss))
		}
	}
	took.report(b)
}

func percent(u usage) float64       { return 100 * u.processor.Seconds() / idleTime.Seconds() }
func mebibytes(bytes int64) float64 { return float64(bytes) / (1 << 20) }
func (u usage) plus(other usage) usage {
	return usage{u.name, u.processor + other.processor, u.rss + other.rss, u.pss + other.pss}
}

// usage is what a process has taken so far, and holds.
type usage struct {
	name      string
	processor time.Duration
	rss, pss  int64 // bytes; pss counts a page shared by n processes as 1/n
}

// daemons are the cluster's processes, by id: all that carry its mark.
func (m *machine) daemons() map[int]usage {
	m.Helper()
	mark := []byte(supervise.Mark + "=" + singlevm.ClusterName + "\x00")
	found := map[int]usage{}
	all, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		m.Fatal(err)
	}
	for _, directory := range all {
		pid, _ := strconv.Atoi(filepath.Base(directory))
		environment, err := os.ReadFile(filepath.Join(directory, "environ"))
		if err != nil || !bytes.Contains(append([]byte{0}, environment...), append([]byte{0}, mark...)) {
			continue
		}
		used, err := readUsage(directory)
		if err != nil {
			m.Fatal(err)
		}
		found[pid] = used
	}
	if len(found) < 5 {
		m.Fatalf("%d processes carry the cluster's mark, fewer than there are daemons", len(found))
	}
	return found
}

// readUsage reads proc(5): stat, in ticks of 1/100 s, smaps_rollup, and cmdline for the name.
func readUsage(directory string) (usage, error) {
	stat, err := os.ReadFile(filepath.Join(directory, "stat"))
	if err != nil {
		return usage{}, err
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	ticks := int64(0)
	for _, field := range fields[11:15] { // utime, stime, and those of children that ended
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return usage{}, fmt.Errorf("%s/stat: %w", directory, err)
		}
		ticks += n
	}
	used := usage{processor: time.Duration(ticks) * 10 * time.Millisecond}
	maps, err := os.ReadFile(filepath.Join(directory, "smaps_rollup"))
	if err != nil {
		return usage{}, err
	}
	for line := range strings.Lines(string(maps)) {
		var kib int64
		if _, err := fmt.Sscanf(line, "Rss: %d kB", &kib); err == nil {
			used.rss = kib << 10
		}
		if _, err := fmt.Sscanf(line, "Pss: %d kB", &kib); err == nil {
			used.pss = kib << 10
		}
	}
	used.name, err = daemonName(directory)
	return used, err
}

// daemonName is the role of a ciao daemon, else the program's name.
func daemonName(directory string) (string, error) {
	line, err := os.ReadFile(filepath.Join(directory, "cmdline"))
	if err != nil {
		return "", err
	}
	words := strings.Split(strings.TrimRight(string(line), "\x00"), "\x00")
	if len(words) > 2 && words[1] == "run" {
		return words[2], nil
	}
	if len(words) > 1 && filepath.Base(words[0]) == "singlevm" {
		return words[1], nil
	}
	return filepath.Base(words[0]), nil
}
