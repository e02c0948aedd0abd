package concentrator

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ciaocloud/ciao/cluster"
)

//go:embed agent.sh
var script string

// spawn starts the agent under its script, in the namespace, and returns when the processes are noted. The lock is the script's from
// then on.
func (c carrier) spawn(ctx context.Context, namespace string, argv []string, lock *os.File) error {
	if len(argv) == 0 {
		return fmt.Errorf("%w: CNCI %s has no command", cluster.ErrInvalid, c.id)
	}
	if _, err := exec.LookPath(argv[0]); err != nil {
		return fmt.Errorf("%w: the agent of CNCI %s cannot be run: %w", cluster.ErrNotFound, c.id, err)
	}
	output, err := os.OpenFile(c.file(logFile), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("open the output of CNCI %s: %w", c.id, err)
	}
	defer output.Close()
	ready, told, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("start the agent of CNCI %s: %w", c.id, err)
	}
	defer ready.Close()
	command := exec.Command("/bin/sh", append([]string{"-c", script, "ciao-cnci", c.directory}, argv...)...)
	command.Stdout, command.Stderr = output, output
	command.ExtraFiles = []*os.File{lock, told}
	command.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = startIn(namespace, command)
	told.Close()
	if err != nil {
		return fmt.Errorf("start the agent of CNCI %s: %w", c.id, err)
	}
	go command.Wait() // reaps it, if it ends while this process lives
	defer context.AfterFunc(ctx, func() { ready.SetReadDeadline(time.Now()) })()
	if word, err := io.ReadAll(ready); err != nil || len(word) == 0 {
		return fmt.Errorf("%w: the agent of CNCI %s did not come up: %w", cluster.ErrUnavailable, c.id, errors.Join(err, context.Cause(ctx)))
	}
	return nil
}

// startIn starts a command in a network namespace: a child is born into the namespace of the thread that makes it. That thread is never
// used again, and must not be the first one: its namespace is shown as the whole process's (proc(5)), and it cannot be ended.
func startIn(namespace string, command *exec.Cmd) error {
	if namespace == "" {
		return command.Start()
	}
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			result <- startIn(namespace, command) // while the first thread is held here, it is another
			runtime.UnlockOSThread()
			return
		}
		result <- enterAndStart(namespace, command) // the thread ends with the goroutine that it is locked to
	}()
	return <-result
}

func enterAndStart(namespace string, command *exec.Cmd) error {
	file, err := os.Open(namespace)
	if err != nil {
		return err
	}
	defer file.Close()
	if err := unix.Setns(int(file.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter the namespace %s: %w", namespace, err)
	}
	return command.Start()
}

// process is a noted process.
type process struct {
	pid   int
	begun string // clock ticks since boot
}

// processes reads the script's and the agent's notes; none after a reboot.
func (c carrier) processes() (script, agent process) {
	data, err := os.ReadFile(c.file("processes"))
	if err != nil {
		return script, agent
	}
	boot, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	lines := strings.Split(string(data), "\n")
	if len(lines) < 3 || lines[0] != strings.TrimSpace(string(boot)) {
		return script, agent
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

// kill ends both processes at once.
func (c carrier) kill() {
	script, agent := c.processes()
	agent.signal(syscall.SIGKILL)
	script.signal(syscall.SIGKILL)
}

// killWait is how long a killed process may take to end.
const killWait = 10 * time.Second

// end asks the agent to end, kills it after the grace time, and returns when it and its script have ended.
func (d *Driver) end(ctx context.Context, c carrier, grace time.Duration) error {
	script, agent := c.processes()
	if grace > 0 {
		agent.signal(syscall.SIGTERM)
		polite, cancel := context.WithTimeout(ctx, grace)
		err := script.wait(polite)
		cancel()
		if err == nil {
			return nil
		}
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%w: end the agent of CNCI %s: %w", cluster.ErrUnavailable, c.id, context.Cause(ctx))
	}
	agent.signal(syscall.SIGKILL) // the script then notes its exit and ends too
	limited, cancel := context.WithTimeout(ctx, d.scaled(killWait))
	defer cancel()
	if err := errors.Join(agent.wait(limited), script.wait(limited)); err != nil {
		script.signal(syscall.SIGKILL)
		return fmt.Errorf("%w: the agent of CNCI %s does not end: %w", cluster.ErrUnavailable, c.id, err)
	}
	return nil
}
