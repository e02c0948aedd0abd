package supervise

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// Timing of restarts: the first is at once, a daemon that keeps dying waits longer each time, and one that has run for a while
// begins anew.
const (
	firstPause  = 20 * time.Millisecond
	longPause   = 2 * time.Second
	healthy     = 10 * time.Second
	watchPeriod = 100 * time.Millisecond // of a daemon that is not our child
	logPeriod   = 10 * time.Second
	maxLog      = 16 << 20
)

// keeper keeps one daemon running; one goroutine, run, owns it.
type keeper struct {
	config  Config
	daemon  Daemon
	log     *slog.Logger
	started chan struct{} // closed after the first attempt
	stop    chan struct{} // closed to end the daemon
	done    chan struct{} // closed when run has returned

	mu    sync.Mutex
	state Status
}

func newKeeper(config Config, daemon Daemon, log *slog.Logger) *keeper {
	return &keeper{
		config: config, daemon: daemon, log: log, state: Status{Name: daemon.Name},
		started: make(chan struct{}), stop: make(chan struct{}), done: make(chan struct{}),
	}
}

// run keeps the daemon running until end is called, which ends it, or ctx ends, which leaves it.
func (k *keeper) run(ctx context.Context) {
	defer close(k.done)
	first := sync.OnceFunc(func() { close(k.started) })
	defer first()
	pause := firstPause
	for restarts := 0; ; restarts++ {
		p, wait, err := k.take()
		began := time.Now()
		k.set(Status{Name: k.daemon.Name, Running: err == nil, PID: p.PID, Since: began, Restarts: restarts, Problem: problem(err)})
		first()
		if err == nil {
			err = k.attend(ctx, p, wait)
		}
		if k.finished(ctx) {
			return
		}
		if time.Since(began) > healthy {
			pause = firstPause
		}
		k.log.Warn("daemon ended, it is started again", "after", time.Since(began).Round(time.Millisecond), "why", err, "pause", pause)
		k.set(Status{Name: k.daemon.Name, Restarts: restarts, Problem: problem(err)})
		select {
		case <-k.stop:
			return
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		pause = min(2*pause, longPause)
	}
}

// take takes over the daemon that a supervisor before left, if it is the wanted one, or starts it.
func (k *keeper) take() (process, <-chan error, error) {
	var left pidRecord
	if err := readJSON(k.config.pidFile(k.daemon.Name), &left); err == nil && left.alive() {
		if same(left.Daemon, k.daemon) {
			k.log.Info("daemon taken over", "pid", left.PID)
			return left.process, watch(left.process), nil
		}
		if err := left.end(context.Background(), endGrace); err != nil {
			return process{}, nil, err
		}
	}
	return k.spawn()
}

// pidRecord is what a pid file holds.
type pidRecord struct {
	process
	Daemon Daemon `json:"daemon"`
}

func (k *keeper) spawn() (process, <-chan error, error) {
	log, err := os.OpenFile(k.config.LogFile(k.daemon.Name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return process{}, nil, fmt.Errorf("open its log: %w", err)
	}
	defer log.Close()
	command := exec.Command(k.daemon.Command[0], k.daemon.Command[1:]...)
	command.Dir, command.Stdout, command.Stderr = "/", log, log
	command.Env = append(os.Environ(), Mark+"="+k.config.Cluster)
	command.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := command.Start(); err != nil {
		return process{}, nil, fmt.Errorf("start it: %w", err)
	}
	p, _ := lookup(command.Process.Pid)
	if err := writeJSON(k.config.pidFile(k.daemon.Name), pidRecord{p, k.daemon}); err != nil {
		k.log.Error("a supervisor after this one will not find the daemon by its file", "error", err)
	}
	ended := make(chan error, 1)
	go func() { // it ends with the process
		err := command.Wait()
		if err == nil {
			err = errors.New("it ended by itself, with exit status 0")
		}
		ended <- err
	}()
	return p, ended, nil
}

// watch waits for the end of a process that is not our child.
func watch(p process) <-chan error {
	ended := make(chan error, 1)
	go func() { // it ends with the process
		for p.alive() {
			time.Sleep(watchPeriod)
		}
		ended <- errors.New("it ended")
	}()
	return ended
}

// attend waits until the daemon ends, or ends it when that is wanted.
func (k *keeper) attend(ctx context.Context, p process, ended <-chan error) error {
	logs := time.NewTicker(logPeriod)
	defer logs.Stop()
	for {
		select {
		case err := <-ended:
			return err
		case <-ctx.Done():
			return nil
		case <-logs.C:
			if err := bound(k.config.LogFile(k.daemon.Name)); err != nil {
				k.log.Warn("its log cannot be kept short", "error", err)
			}
		case <-k.stop:
			if err := p.end(context.Background(), endGrace); err != nil {
				k.log.Error("daemon does not end", "error", err)
			}
			if err := os.Remove(k.config.pidFile(k.daemon.Name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				k.log.Warn("its file stays", "error", err)
			}
			return nil
		}
	}
}

// end ends the daemon and returns when it is gone.
func (k *keeper) end() {
	close(k.stop)
	<-k.done
}

func (k *keeper) finished(ctx context.Context) bool {
	select {
	case <-k.stop:
		return true
	default:
		return ctx.Err() != nil
	}
}

func (k *keeper) set(state Status) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.state = state
}

func (k *keeper) status() Status {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.state
}

func problem(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// bound keeps a log short: its first part moves to another file. The daemon writes on, for it appends.
func bound(name string) error {
	log, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer log.Close()
	if info, err := log.Stat(); err != nil || info.Size() < maxLog {
		return err
	}
	older, err := os.Create(name + ".1")
	if err != nil {
		return err
	}
	defer older.Close()
	if _, err := io.Copy(older, log); err != nil {
		return err
	}
	return log.Truncate(0)
}
