package machinetest

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Process is a running process.
type Process struct {
	PID, Parent int
	Args        []string
	begun       string
}

// Command is its command line.
func (p Process) Command() string { return strings.Join(p.Args, " ") }

// Processes lists the machine's processes, without kernel threads and those that have ended.
func Processes() ([]Process, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var all []Process
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		if p, ok := look(pid); ok && len(p.Args) > 0 {
			all = append(all, p)
		}
	}
	return all, nil
}

func look(pid int) (Process, bool) {
	directory := filepath.Join("/proc", strconv.Itoa(pid))
	stat, err := os.ReadFile(filepath.Join(directory, "stat"))
	if err != nil {
		return Process{}, false
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 20 || fields[0] == "Z" || fields[0] == "X" {
		return Process{}, false
	}
	words, err := os.ReadFile(filepath.Join(directory, "cmdline"))
	if err != nil {
		return Process{}, false
	}
	parent, err := strconv.Atoi(fields[1])
	args := strings.Split(strings.TrimRight(string(words), "\x00"), "\x00")
	if len(words) == 0 {
		args = nil
	}
	return Process{PID: pid, Parent: parent, Args: args, begun: fields[19]}, err == nil
}

// Running says whether the process still is.
func (p Process) Running() bool {
	now, ok := look(p.PID)
	return ok && now.begun == p.begun
}

// Find lists the processes that match.
func Find(t testing.TB, match func(Process) bool) []Process {
	t.Helper()
	all, err := Processes()
	if err != nil {
		t.Fatalf("list the processes: %v", err)
	}
	return slices.DeleteFunc(all, func(p Process) bool { return !match(p) })
}

// Marked matches the processes that carry a variable in their environment.
func Marked(variable, value string) func(Process) bool {
	want := []byte(variable + "=" + value)
	return func(p Process) bool {
		environment, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(p.PID), "environ"))
		return err == nil && slices.ContainsFunc(bytes.Split(environment, []byte{0}), func(v []byte) bool { return bytes.Equal(v, want) })
	}
}

// Words matches the processes whose program has this name, followed by these words.
func Words(program string, words ...string) func(Process) bool {
	return func(p Process) bool {
		return filepath.Base(p.Args[0]) == program && len(p.Args) > len(words) && slices.Equal(p.Args[1:1+len(words)], words)
	}
}

// Kill kills processes and waits until they are gone; it returns how many there were.
func Kill(t testing.TB, victims ...Process) int {
	t.Helper()
	for _, p := range victims {
		if p.Running() {
			if err := syscall.Kill(p.PID, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
				t.Fatalf("kill %s: %v", p.Command(), err)
			}
		}
	}
	Eventually(t, "killed processes are gone", 30*time.Second, func() bool {
		return !slices.ContainsFunc(victims, Process.Running)
	})
	return len(victims)
}

// Eventually waits until holds does, and fails the test when that takes too long.
func Eventually(t testing.TB, what string, limit time.Duration, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); !holds(); {
		if time.Now().After(deadline) {
			t.Fatalf("after %s it is still not so that %s", limit, what)
		}
		<-time.After(10 * time.Millisecond)
	}
}
