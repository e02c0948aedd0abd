package supervise

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/gofrs/flock"
)

// own is the supervisor of this package: a process of its own, spoken to over a socket.
type own struct{ config Config }

// Timing of a conversation with the supervisor.
const (
	startTimeout = 5 * time.Second
	callTimeout  = 30 * time.Second
	endGrace     = 3 * time.Second
)

func (c Config) file(name string) string      { return filepath.Join(c.Directory, name) }
func (c Config) socket() string               { return c.file("supervisor.sock") }
func (c Config) listFile() string             { return c.file("daemons.json") }
func (c Config) lockFile() string             { return c.file("supervisor.lock") }
func (c Config) pidFile(daemon string) string { return c.file(daemon + ".pid") }

// LogFile is where the log of a daemon is, where systemd does not keep it.
func (c Config) LogFile(daemon string) string {
	return filepath.Join(c.Directory, "log", daemon+".log")
}

// request and answer are what is said over the socket, one JSON value each way.
type request struct {
	Apply  []Daemon `json:"apply,omitempty"`
	Status bool     `json:"status,omitempty"`
	End    bool     `json:"end,omitempty"`
	Leave  bool     `json:"leave,omitempty"` // end, and let the daemons run on for a successor
}

type answer struct {
	Status  []Status `json:"status,omitempty"`
	Problem string   `json:"problem,omitempty"`
	Program string   `json:"program,omitempty"` // identity of the program that the supervisor runs
}

// Apply implements Supervisor; it starts the supervisor's process if there is none, and replaces it if its program is new.
func (o *own) Apply(ctx context.Context, daemons []Daemon) error {
	program, err := programIdentity(o.config.Program)
	if err != nil {
		return err
	}
	there, err := o.call(ctx, request{Status: true})
	if err == nil && there.Program != program {
		_, err = o.call(ctx, request{Leave: true})
		err = errors.Join(err, errReplaced)
	}
	if err != nil {
		if err := o.start(ctx); err != nil {
			return err
		}
	}
	_, err = o.call(ctx, request{Apply: daemons})
	return err
}

// errReplaced is why there is no supervisor after it was asked to leave.
var errReplaced = errors.New("the supervisor's program is new")

// runningProgram is where the kernel has the program that this process runs, whatever has its name now (proc(5)).
const runningProgram = "/proc/self/exe"

// programIdentity tells a program from the one that a build put in its place.
func programIdentity(file string) (string, error) {
	info, err := os.Stat(file)
	if err != nil {
		return "", fmt.Errorf("look at the supervisor's program: %w", err)
	}
	return fmt.Sprintf("%d %d", info.Size(), info.ModTime().UnixNano()), nil
}

// Status implements Supervisor. Without a supervisor the daemons are looked at directly.
func (o *own) Status(ctx context.Context) ([]Status, error) {
	got, err := o.call(ctx, request{Status: true})
	if err == nil {
		return got.Status, nil
	}
	var daemons []Daemon
	if err := readJSON(o.config.listFile(), &daemons); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	status := make([]Status, len(daemons))
	for i, d := range daemons {
		status[i] = Status{Name: d.Name, Problem: "nothing supervises it: run `singlevm setup` again"}
		var p process
		if readJSON(o.config.pidFile(d.Name), &p) == nil && p.alive() {
			status[i].Running, status[i].PID = true, p.PID
		}
	}
	return status, nil
}

// Remove implements Supervisor.
func (o *own) Remove(ctx context.Context) error {
	if _, err := o.call(ctx, request{End: true}); err != nil && ctx.Err() != nil {
		return err // otherwise there is none, or a broken one, which has the mark
	}
	return endMarked(ctx, o.config.Cluster, endGrace)
}

// Logs implements Supervisor.
func (o *own) Logs(daemon string, lines int, follow bool) []string {
	command := []string{"tail", "-n", strconv.Itoa(lines)}
	if follow {
		command = append(command, "-F")
	}
	return append(command, o.config.LogFile(daemon))
}

// start starts the supervisor's process, apart from this one, and waits until it answers.
func (o *own) start(ctx context.Context) error {
	if err := os.MkdirAll(filepath.Join(o.config.Directory, "log"), 0o755); err != nil {
		return fmt.Errorf("make the directory of the daemons: %w", err)
	}
	log, err := os.OpenFile(o.config.LogFile("supervisor"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("open the supervisor's log: %w", err)
	}
	defer log.Close()
	command := exec.Command(o.config.Program, o.config.Arguments...)
	command.Dir, command.Stdout, command.Stderr = "/", log, log
	command.Env = append(os.Environ(), Mark+"="+o.config.Cluster)
	command.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := command.Start(); err != nil {
		return fmt.Errorf("start the supervisor: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- command.Wait() }() // it ends with the child, or with this process
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		if _, err := o.call(ctx, request{Status: true}); err == nil {
			return nil
		}
		select {
		case err := <-ended:
			return fmt.Errorf("the supervisor ended at once (%w); %s says why", err, o.config.LogFile("supervisor"))
		case <-ctx.Done():
			return fmt.Errorf("the supervisor does not answer; %s says why", o.config.LogFile("supervisor"))
		case <-time.After(poll):
		}
	}
}

func (o *own) call(ctx context.Context, in request) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	connection, err := (&net.Dialer{}).DialContext(ctx, "unix", o.config.socket())
	if err != nil {
		return answer{}, fmt.Errorf("reach the supervisor: %w", err)
	}
	defer connection.Close()
	if deadline, ok := ctx.Deadline(); ok {
		_ = connection.SetDeadline(deadline) // a unix socket has deadlines
	}
	var out answer
	if err := errors.Join(json.NewEncoder(connection).Encode(in), json.NewDecoder(connection).Decode(&out)); err != nil {
		return answer{}, fmt.Errorf("ask the supervisor: %w", err)
	}
	if out.Problem != "" {
		return answer{}, errors.New(out.Problem)
	}
	return out, nil
}

// lock makes this process the only supervisor of the directory; one that leaves has a moment to do so.
func (c Config) lock(ctx context.Context) (*flock.Flock, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout/2)
	defer cancel()
	lock := flock.New(c.lockFile())
	locked, err := lock.TryLockContext(ctx, poll)
	if err != nil && ctx.Err() == nil {
		return nil, fmt.Errorf("lock %s: %w", c.lockFile(), err)
	}
	if !locked {
		return nil, fmt.Errorf("another supervisor holds %s", c.lockFile())
	}
	return lock, nil
}
