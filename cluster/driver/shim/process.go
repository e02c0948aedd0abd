package shim

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ciaocloud/ciao/cluster"
)

// process is a noted process.
type process struct {
	pid   int
	begun string // clock ticks since boot
}

// processes reads the notes of script and program; none after a reboot.
func (s Shim) processes() (script, program process) {
	data, err := os.ReadFile(s.file(noteFile))
	if err != nil {
		return script, program
	}
	boot, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	lines := strings.Split(string(data), "\n")
	if len(lines) < 3 || lines[0] != strings.TrimSpace(string(boot)) {
		return script, program
	}
	return parseProcess(lines[1]), parseProcess(lines[2])
}

func parseProcess(line string) process {
	pid, begun, _ := strings.Cut(line, " ")
	number, err := strconv.Atoi(pid)
	if err != nil || number <= 1 || begun == "" {
		return process{}
	}
	return process{number, begun}
}

// open returns a descriptor of the process (pidfd_open(2)); an error when it has ended. Whatever the process id stands for later, the
// descriptor is of this process.
func (p process) open() (*os.File, error) {
	if p.pid == 0 {
		return nil, os.ErrProcessDone
	}
	fd, err := unix.PidfdOpen(p.pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), "pidfd")
	if begunAt(p.pid) != p.begun {
		file.Close()
		return nil, os.ErrProcessDone
	}
	return file, nil
}

// begunAt reads when a process began (proc(5), stat, field 22).
func begunAt(pid int) string {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return ""
	}
	text := string(data)
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	if len(fields) < 20 {
		return ""
	}
	return fields[19]
}

// signal sends a signal if the process is still the noted one.
func (p process) signal(signal syscall.Signal) {
	file, err := p.open()
	if err != nil {
		return
	}
	defer file.Close()
	unix.PidfdSendSignal(int(file.Fd()), signal, nil, 0) // one that has ended meanwhile is as good
}

// wait returns nil when the process has ended.
func (p process) wait(ctx context.Context) error {
	file, err := p.open()
	if err != nil {
		return nil // it has
	}
	defer file.Close()
	defer context.AfterFunc(ctx, func() { file.SetReadDeadline(time.Now()) })()
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	return raw.Read(func(fd uintptr) bool {
		polled, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
		return err == nil && polled == 1
	})
}

// Kill sends both processes the signal that ends them at once, and does not wait.
func (s Shim) Kill() {
	script, program := s.processes()
	script.signal(syscall.SIGKILL) // first, or it would note how the program ended
	program.signal(syscall.SIGKILL)
}

// Wait returns nil when the script, and so the program, has ended.
func (s Shim) Wait(ctx context.Context) error {
	script, _ := s.processes()
	return script.wait(ctx)
}

// End asks the program to end, kills it after the grace time, and returns when it and its script have ended. A killed program may take
// as long as the limit to end.
func (s Shim) End(ctx context.Context, grace, limit time.Duration) error {
	script, program := s.processes()
	if grace > 0 {
		program.signal(syscall.SIGTERM)
		polite, cancel := context.WithTimeout(ctx, grace)
		err := script.wait(polite)
		cancel()
		if err == nil {
			return nil
		}
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%w: end the program of %s: %w", cluster.ErrUnavailable, s.Owner, context.Cause(ctx))
	}
	program.signal(syscall.SIGKILL) // the script then notes its exit and ends too
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := errors.Join(program.wait(limited), script.wait(limited)); err != nil {
		script.signal(syscall.SIGKILL)
		return fmt.Errorf("%w: the program of %s does not end: %w", cluster.ErrUnavailable, s.Owner, err)
	}
	return nil
}
