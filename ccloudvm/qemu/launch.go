package qemu

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Files in a machine's state directory.
const (
	pidFile     = "qemu.pid"
	stderrFile  = "qemu.stderr"
	exitFile    = "qemu.exit"
	commandFile = "qemu.command"
)

// Binary is the program that runs machines.
const Binary = "qemu-system-x86_64"

// Launch says how a machine is started.
type Launch struct {
	Machine Machine
	Dir     string // state directory, which must exist; holds pid, stderr, exit status and command line
	Binary  string // "" means [Binary], found on the PATH

	// Files are handed to QEMU as descriptors 3, 4, ...; the starter keeps and closes its own copies.
	Files []*os.File

	// Ready limits the time until QEMU answers on its first monitor; 0 means 20 seconds.
	Ready time.Duration
}

// StartError says that QEMU did not start, in its own words.
type StartError struct {
	Status string // how it ended, such as "exit status 1" or "signal: aborted"
	Stderr string // the end of what it said
}

func (e *StartError) Error() string {
	text := "QEMU did not start (" + e.Status + ")"
	if e.Stderr != "" {
		text += ": " + e.Stderr
	}
	return text
}

// Aborted tells whether QEMU gave up on an assertion, as it does when an accelerator turns out unusable.
func (e *StartError) Aborted() bool { return strings.Contains(e.Status, "abort") }

// Start runs a machine in a session of its own, so that it survives its starter, and returns when it answers on its first
// monitor (at once when it has none). A QEMU that ends before that gives a [*StartError]. Starting a machine whose QEMU runs is refused.
func Start(ctx context.Context, l Launch) (Process, error) {
	if p, err := Attach(l.Dir); err == nil {
		return p, fmt.Errorf("machine %q runs already (pid %d)", l.Machine.Name, p.PID)
	}
	args, err := l.Machine.Args()
	if err != nil {
		return Process{}, err
	}
	for _, path := range l.Machine.listens() {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return Process{}, fmt.Errorf("removing a stale socket: %w", err)
		}
	}
	cmd, stderr, err := l.command(args)
	if err != nil {
		return Process{}, err
	}
	err = cmd.Start()
	stderr.Close()
	if err != nil {
		return Process{}, fmt.Errorf("starting QEMU: %w", err)
	}
	p, err := identify(cmd.Process.Pid)
	if err == nil {
		err = p.save(l.Dir)
	}
	reaped := make(chan struct{})
	go l.reap(cmd, reaped)
	p.reaped = reaped
	if err == nil {
		err = l.awaitMonitor(ctx, reaped)
	}
	if err != nil {
		cmd.Process.Kill() // harmless if it has ended
		<-reaped
		return p, err
	}
	return p, nil
}

func (l Launch) command(args []string) (*exec.Cmd, *os.File, error) {
	binary := l.Binary
	if binary == "" {
		binary = Binary
	}
	path, err := exec.LookPath(binary)
	if err != nil {
		return nil, nil, fmt.Errorf("%s is not installed (run `ccloudvm setup`): %w", binary, err)
	}
	os.Remove(filepath.Join(l.Dir, exitFile))
	line := path + " " + strings.Join(args, " ") + "\n"
	if err := os.WriteFile(filepath.Join(l.Dir, commandFile), []byte(line), 0o600); err != nil {
		return nil, nil, err
	}
	stderr, err := os.OpenFile(filepath.Join(l.Dir, stderrFile), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, nil, err
	}
	cmd := exec.Command(path, args...) // not CommandContext: it is meant to outlive ctx
	cmd.Stderr, cmd.Stdout = stderr, stderr
	cmd.Dir = l.Dir
	cmd.ExtraFiles = l.Files
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return cmd, stderr, nil
}

// reap records how QEMU ended for as long as its starter lives. A QEMU that outlives it is reaped by init, and then stderr and
// the monitor's last words remain.
func (l Launch) reap(cmd *exec.Cmd, reaped chan<- struct{}) {
	defer close(reaped)
	cmd.Wait()
	os.WriteFile(filepath.Join(l.Dir, exitFile), []byte(cmd.ProcessState.String()+"\n"), 0o600)
}

// awaitMonitor returns when the first monitor answers.
func (l Launch) awaitMonitor(ctx context.Context, reaped <-chan struct{}) error {
	if len(l.Machine.Monitors) == 0 {
		return nil
	}
	limit := l.Ready
	if limit == 0 {
		limit = 20 * time.Second
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		m, err := Dial(ctx, l.Machine.Monitors[0])
		if err == nil {
			return m.Close()
		}
		select {
		case <-reaped:
			return &StartError{Status: exitStatus(l.Dir), Stderr: Stderr(l.Dir)}
		case <-ctx.Done():
			return fmt.Errorf("QEMU did not answer on %s within %v: %w", l.Machine.Monitors[0], limit, timedOut(ctx, err))
		case <-tick.C:
		}
	}
}

// Stderr returns the end of what the QEMU of a state directory said, without its warnings.
func Stderr(dir string) string {
	b, err := os.ReadFile(filepath.Join(dir, stderrFile))
	if err != nil {
		return ""
	}
	const end = 2048
	b = b[max(0, len(b)-end):]
	var lines []string
	for line := range bytes.Lines(b) {
		text := strings.TrimSpace(string(line))
		if text != "" && !strings.Contains(text, ": warning: ") {
			lines = append(lines, strings.TrimPrefix(text, Binary+": "))
		}
	}
	return strings.Join(lines, "; ")
}

// exitStatus is how the last QEMU of a state directory ended, or "" if nobody was there to see it.
func exitStatus(dir string) string {
	b, err := os.ReadFile(filepath.Join(dir, exitFile))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// ExitReason tells, in one sentence, how the last QEMU of a state directory ended, as far as that is known.
func ExitReason(dir string) string {
	status, words := exitStatus(dir), Stderr(dir)
	switch {
	case status == "" && words == "":
		return "QEMU ended and left no reason"
	case status == "":
		return "QEMU ended: " + words
	case words == "":
		return "QEMU ended with " + status
	}
	return "QEMU ended with " + status + ": " + words
}

// listens are the unix sockets that QEMU creates.
func (m Machine) listens() []string {
	list := append([]string(nil), m.Monitors...)
	for _, c := range m.Channels {
		list = append(list, c.Socket)
	}
	if m.Console.Socket != "" {
		list = append(list, m.Console.Socket)
	}
	return list
}
