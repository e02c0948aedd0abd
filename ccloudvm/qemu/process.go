package qemu

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrNotRunning says that the machine's QEMU is not running (any more).
var ErrNotRunning = errors.New("QEMU is not running")

// Process is a QEMU, known by pid and start time. It may be a child of this process or not.
type Process struct {
	PID int `json:"pid"`

	// Started is the process's start time in clock ticks since boot (field 22 of /proc/PID/stat), Boot the boot it happened
	// in: with them a pid that was given to another program is told apart.
	Started uint64 `json:"started"`
	Boot    string `json:"boot"`

	// reaped is closed when the process's end has been recorded; only in the process that started it.
	reaped <-chan struct{}
}

// Attach finds the QEMU that was started with dir as its state directory. It returns [ErrNotRunning] when there is none.
func Attach(dir string) (Process, error) {
	var p Process
	b, err := os.ReadFile(filepath.Join(dir, pidFile))
	if errors.Is(err, fs.ErrNotExist) {
		return p, ErrNotRunning
	}
	if err != nil {
		return p, err
	}
	if err := json.Unmarshal(b, &p); err != nil {
		return p, fmt.Errorf("reading %s: %w", filepath.Join(dir, pidFile), err)
	}
	if !p.Alive() {
		return p, ErrNotRunning
	}
	return p, nil
}

// Alive tells whether the process runs. A zombie does not.
func (p Process) Alive() bool {
	if p.PID <= 0 || p.Boot != bootID() {
		return false
	}
	s, err := readStat(p.PID)
	return err == nil && s.started == p.Started && s.state != "Z" && s.state != "X"
}

// Wait returns nil when the process has ended, or the cause of ctx.
func (p Process) Wait(ctx context.Context) error {
	if p.reaped != nil {
		select {
		case <-p.reaped:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	fd, err := p.open()
	if errors.Is(err, ErrNotRunning) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	for {
		// Short polls, so that ctx is noticed: a pidfd turns readable when the process ends, but not when ctx does.
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 50)
		if n > 0 {
			return nil
		}
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("waiting for process %d: %w", p.PID, err)
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
}

// Kill ends the process with SIGKILL. It never signals another program that has got the same pid.
func (p Process) Kill() error {
	fd, err := p.open()
	if errors.Is(err, ErrNotRunning) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("killing process %d: %w", p.PID, err)
	}
	return nil
}

// open returns a descriptor of exactly this process. The identity is checked after opening: from then on the descriptor cannot
// come to mean another process.
func (p Process) open() (int, error) {
	fd, err := unix.PidfdOpen(p.PID, 0)
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EINVAL) {
		return -1, ErrNotRunning
	}
	if err != nil {
		return -1, fmt.Errorf("opening process %d: %w", p.PID, err)
	}
	if !p.Alive() {
		unix.Close(fd)
		return -1, ErrNotRunning
	}
	return fd, nil
}

func (p Process) save(dir string) error {
	b, err := json.Marshal(p)
	if err != nil {
		return err
	}
	temporary := filepath.Join(dir, pidFile+".new")
	if err := os.WriteFile(temporary, b, 0o600); err != nil {
		return err
	}
	return os.Rename(temporary, filepath.Join(dir, pidFile))
}

func identify(pid int) (Process, error) {
	s, err := readStat(pid)
	if err != nil {
		return Process{}, err
	}
	return Process{PID: pid, Started: s.started, Boot: bootID()}, nil
}

type stat struct {
	state   string
	started uint64
}

// readStat reads /proc/PID/stat (proc(5)). The program's name may contain anything, so fields are counted behind its last
// parenthesis: the first of them is field 3, the state.
func readStat(pid int) (stat, error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return stat{}, err
	}
	_, rest, _ := strings.Cut(string(b[strings.LastIndexByte(string(b), ')')+1:]), " ")
	fields := strings.Fields(rest)
	if len(fields) < 20 {
		return stat{}, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(fields))
	}
	started, err := strconv.ParseUint(fields[19], 10, 64)
	return stat{state: fields[0], started: started}, err
}

func bootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}
