package shim

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/network/netns"
)

//go:embed shim.sh
var script string

// Names of the notes.
const (
	lockFile    = "lock"
	noteFile    = "processes"
	exitFile    = "exit"
	stoppedFile = "stopped"
	outputFile  = "output"
)

// Shim is one program's. All methods may be called from many goroutines and processes.
type Shim struct {
	Directory string // of the notes; exists, mode 0700
	Owner     string // whose program it is, in errors: "instance ID"
}

// Program is what a shim runs.
type Program struct {
	Arguments []string   // the first is looked up in the launcher's PATH
	Namespace string     // path of the network namespace that it runs in; empty is the launcher's
	Files     []*os.File // descriptors 5 and on
	// Limit bounds each of the two files of output, in bytes, at every moment; the program's end is then noted when nobody is left to
	// write any more. 0 lets the program write to the file itself, which only Bound bounds.
	Limit int
}

// State is what the notes say.
type State struct {
	Running bool
	Asked   bool      // it was asked to end
	Begun   time.Time // of the last start; zero when there was none, or its processes are about to be noted
	Ended   time.Time // zero while it runs, or when it was killed together with its script
	Code    *int      // when it ended and its script did not end before
}

// Turn is the right to start the program.
type Turn struct {
	shim Shim
	lock *os.File
}

func (s Shim) file(name string) string { return filepath.Join(s.Directory, name) }

// Take takes the turn to start the program; nil without an error means that it runs. What runs on without its script is killed, and
// how the last one ended is forgotten. The caller closes the turn.
func (s Shim) Take() (*Turn, error) {
	lock, err := s.lock()
	if err != nil || lock == nil {
		return nil, err
	}
	s.Kill()
	if err := s.Forget(); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return &Turn{s, lock}, nil
}

func (s Shim) lock() (*os.File, error) {
	lock, err := os.OpenFile(s.file(lockFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", s.Owner, err)
	}
	for {
		if err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err == nil {
			return lock, nil
		}
		running := false
		if errors.Is(err, syscall.EWOULDBLOCK) {
			running, err = s.Running()
		}
		if running || err != nil {
			return nil, errors.Join(err, lock.Close())
		}
		runtime.Gosched() // somebody was just asking
	}
}

// Running says whether the program's script lives. It asks with a shared lock, so that two who ask do not take each other for a script.
func (s Shim) Running() (bool, error) {
	lock, err := os.OpenFile(s.file(lockFile), os.O_RDONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("ask whether %s runs: %w", s.Owner, err)
	}
	defer lock.Close()
	err = syscall.Flock(int(lock.Fd()), syscall.LOCK_SH|syscall.LOCK_NB)
	if err != nil && !errors.Is(err, syscall.EWOULDBLOCK) {
		return false, fmt.Errorf("ask whether %s runs: %w", s.Owner, err)
	}
	return err != nil, nil
}

// Close gives the turn up. After a start it does nothing: the turn is the script's.
func (t *Turn) Close() error {
	if err := t.lock.Close(); !errors.Is(err, os.ErrClosed) {
		return err
	}
	return nil
}

// Start starts the program under its script, and returns when the processes are noted.
func (t *Turn) Start(ctx context.Context, program Program) error {
	s := t.shim
	if len(program.Arguments) == 0 {
		return fmt.Errorf("%w: %s has no command", cluster.ErrInvalid, s.Owner)
	}
	if _, err := exec.LookPath(program.Arguments[0]); err != nil {
		return fmt.Errorf("%w: the program of %s cannot be run: %w", cluster.ErrNotFound, s.Owner, err)
	}
	ready, told, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("start the program of %s: %w", s.Owner, err)
	}
	defer ready.Close()
	arguments := append([]string{"-c", script, "ciao-shim", s.Directory, strconv.Itoa(program.Limit)}, program.Arguments...)
	command := exec.Command("/bin/sh", arguments...)
	command.ExtraFiles = append([]*os.File{t.lock, told}, program.Files...)
	command.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	output, err := s.connect(command, program.Limit)
	if err == nil {
		err = startIn(program.Namespace, command)
	}
	for _, file := range append(output, told) {
		file.Close()
	}
	if err != nil {
		return fmt.Errorf("start the program of %s: %w", s.Owner, err)
	}
	t.lock.Close()    // the script has it; from now on Running speaks of the script
	go command.Wait() // reaps it, if it ends while this process lives
	defer context.AfterFunc(ctx, func() { ready.SetReadDeadline(time.Now()) })()
	if word, err := io.ReadAll(ready); err != nil || len(word) == 0 {
		return fmt.Errorf("%w: the program of %s did not come up (is the disk of %s full?): %w",
			cluster.ErrUnavailable, s.Owner, s.Directory, errors.Join(err, context.Cause(ctx)))
	}
	return nil
}

// connect gives the script its output, and returns the files that are the script's then.
func (s Shim) connect(command *exec.Cmd, limit int) ([]*os.File, error) {
	if limit > 0 {
		reader, writer, err := os.Pipe()
		if err != nil {
			return nil, err
		}
		command.Stdin, command.Stdout, command.Stderr = reader, writer, writer
		return []*os.File{reader, writer}, nil
	}
	s.Bound()
	output, err := os.OpenFile(s.file(outputFile), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	command.Stdout, command.Stderr = output, output
	return []*os.File{output}, nil
}

// startIn starts a command in a network namespace: a child is born into the namespace of the thread that makes it.
func startIn(path string, command *exec.Cmd) error {
	if path == "" {
		return command.Start()
	}
	namespace, err := netns.Open(path)
	if err != nil {
		return err
	}
	defer namespace.Close()
	return netns.Inside(namespace, command.Start)
}

// State reads the notes.
func (s Shim) State() (State, error) {
	var state State
	running, err := s.Running()
	if err != nil {
		return state, err
	}
	state.Running = running
	begun, err := os.Stat(s.file(noteFile))
	if errors.Is(err, fs.ErrNotExist) {
		return state, nil
	}
	if err != nil {
		return state, fmt.Errorf("ask how %s fares: %w", s.Owner, err)
	}
	state.Begun = begun.ModTime()
	if _, err := os.Stat(s.file(stoppedFile)); err == nil {
		state.Asked = true
	}
	if running {
		return state, nil
	}
	text, err := os.ReadFile(s.file(exitFile))
	if err != nil {
		return state, nil // the script was killed, too
	}
	if ended, err := os.Stat(s.file(exitFile)); err == nil {
		state.Ended = ended.ModTime()
	}
	if code, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil {
		state.Code = &code
	}
	return state, nil
}

// Forget forgets how the last program ended, and that there was one.
func (s Shim) Forget() error {
	for _, name := range []string{noteFile, exitFile, stoppedFile} {
		if err := os.Remove(s.file(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("tidy up %s: %w", s.Owner, err)
		}
	}
	return nil
}

// Stop notes that the program is asked to end, and ends it.
func (s Shim) Stop(ctx context.Context, grace, limit time.Duration) error {
	if err := s.MarkStopped(); err != nil {
		return err
	}
	return s.End(ctx, grace, limit)
}

// MarkStopped notes that the program is asked to end.
func (s Shim) MarkStopped() error {
	if err := os.WriteFile(s.file(stoppedFile), nil, 0o600); err != nil {
		return fmt.Errorf("note that %s is stopped: %w", s.Owner, err)
	}
	return nil
}
