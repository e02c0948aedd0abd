package dhcp

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ciaocloud/ciao/cluster"
)

// process is a running program that need not be our child: it is held by a descriptor (pidfd_open(2)), never by its number alone.
type process struct {
	pid     int
	handle  *os.File
	started time.Time
}

// openProcess takes hold of a process; cluster.ErrNotFound says that there is none.
func openProcess(pid int) (*process, error) {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if errors.Is(err, unix.ESRCH) {
		return nil, cluster.ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("open process %d: %w", pid, err)
	}
	return &process{pid: pid, handle: os.NewFile(uintptr(fd), fmt.Sprintf("process %d", pid)), started: time.Now()}, nil
}

// is reports whether the process runs arguments in the namespace.
func (p *process) is(arguments []string, namespace string) bool {
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.pid))
	if err != nil || !slices.Equal(strings.Split(strings.TrimSuffix(string(line), "\x00"), "\x00"), arguments) {
		return false
	}
	in, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", p.pid))
	return err == nil && in == namespace && p.alive()
}

func (p *process) signal(signal unix.Signal) error {
	err := unix.PidfdSendSignal(int(p.handle.Fd()), signal, nil, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	return err
}

func (p *process) alive() bool { return !ended(p.handle.Fd()) }

// ended asks without waiting: a pidfd is readable when its process has ended.
func ended(fd uintptr) bool {
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
	return err == nil && n > 0
}

// wait returns when the process has ended, or with the cause of ctx.
func (p *process) wait(ctx context.Context) error {
	conn, err := p.handle.SyscallConn()
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { p.handle.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := conn.Read(ended); err != nil {
		return errors.Join(context.Cause(ctx), err)
	}
	unix.Wait4(p.pid, nil, unix.WNOHANG, nil) // if it is our child, let it go; if not, there is nothing to do
	return nil
}

// end asks the process to end, kills it when it does not, and returns when it is gone.
func (p *process) end(ctx context.Context) error {
	defer p.close()
	for _, attempt := range []struct {
		signal unix.Signal
		limit  time.Duration
	}{{unix.SIGTERM, time.Second}, {unix.SIGKILL, 5 * time.Second}} {
		if err := p.signal(attempt.signal); err != nil {
			return fmt.Errorf("end process %d: %w", p.pid, err)
		}
		p.handle.SetReadDeadline(time.Time{})
		limited, cancel := context.WithTimeout(ctx, attempt.limit)
		err := p.wait(limited)
		cancel()
		if err == nil {
			return nil
		}
	}
	return fmt.Errorf("process %d does not end: %w", p.pid, cluster.ErrTimeout)
}

func (p *process) close() { p.handle.Close() }

// readPid reads a pid file.
func readPid(path string) (int, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err == nil && pid < 2 {
		err = fmt.Errorf("%d is no process of ours", pid)
	}
	return pid, err
}
