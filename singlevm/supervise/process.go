package supervise

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is a process as it can be recognised again: its id is reused, its id and start time together are not (proc(5)).
type process struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"` // in clock ticks after boot, field 22 of /proc/PID/stat
}

// poll is how often a wait for the end of a process looks.
const poll = 5 * time.Millisecond

// lookup describes a running process; a zombie has ended.
func lookup(pid int) (process, bool) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return process{}, false
	}
	end := bytes.LastIndexByte(data, ')') // the name before it may hold anything
	fields := strings.Fields(string(data[end+1:]))
	if end < 0 || len(fields) < 20 || fields[0] == "Z" || fields[0] == "X" {
		return process{}, false
	}
	start, err := strconv.ParseUint(fields[19], 10, 64)
	return process{PID: pid, Start: start}, err == nil
}

func (p process) alive() bool {
	now, running := lookup(p.PID)
	return p.PID > 0 && running && now == p
}

func (p process) signal(s syscall.Signal) error {
	if !p.alive() {
		return nil
	}
	if err := syscall.Kill(p.PID, s); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("signal process %d: %w", p.PID, err)
	}
	return nil
}

// end asks a process to end, kills it after the grace time, and waits until it is gone.
func (p process) end(ctx context.Context, grace time.Duration) error {
	if err := p.signal(syscall.SIGTERM); err != nil {
		return err
	}
	if p.gone(ctx, grace) {
		return nil
	}
	if err := p.signal(syscall.SIGKILL); err != nil {
		return err
	}
	if !p.gone(ctx, grace) {
		return fmt.Errorf("process %d does not end, not even killed", p.PID)
	}
	return nil
}

func (p process) gone(ctx context.Context, within time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	for p.alive() {
		select {
		case <-ctx.Done():
			return !p.alive()
		case <-time.After(poll):
		}
	}
	return true
}

// marked finds the running processes that carry the cluster's mark.
func marked(cluster string) []process {
	want := []byte(Mark + "=" + cluster)
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var found []process
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		p, running := lookup(pid)
		environment, err := os.ReadFile("/proc/" + entry.Name() + "/environ")
		if err != nil || !running {
			continue
		}
		for variable := range bytes.SplitSeq(environment, []byte{0}) {
			if bytes.Equal(variable, want) {
				found = append(found, p)
				break
			}
		}
	}
	return found
}

// endMarked ends every process of the cluster, those included that nobody remembers.
func endMarked(ctx context.Context, cluster string, grace time.Duration) error {
	var problems []error
	for range 5 { // one that is ending may still start another
		found := marked(cluster)
		if len(found) == 0 {
			return nil
		}
		for _, p := range found {
			problems = append(problems, p.signal(syscall.SIGTERM))
		}
		for _, p := range found {
			problems = append(problems, p.end(ctx, grace))
		}
	}
	return errors.Join(append(problems, fmt.Errorf("processes of cluster %s keep appearing", cluster))...)
}
