package dhcp

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ciaocloud/ciao/cluster"
)

// Server is one dnsmasq.
type Server struct {
	directory string
	inside    func(func() error) error
	log       *slog.Logger

	mu      sync.Mutex
	wanted  *Subnet
	process *process
	changed chan struct{} // holds a token when process is another one
}

// startLimit is how long dnsmasq may take to serve; restartPause keeps one that cannot start from taking the machine.
const (
	startLimit   = 10 * time.Second
	restartPause = time.Second
)

// NewServer keeps dnsmasq's files in directory; inside runs a function in the namespace where dnsmasq serves.
func NewServer(directory string, inside func(func() error) error, log *slog.Logger) *Server {
	return &Server{directory: directory, inside: inside, log: log, changed: make(chan struct{}, 1)}
}

// Apply makes dnsmasq serve wanted: it is started, told to read its files again, or left alone. The link must be there.
func (s *Server) Apply(ctx context.Context, wanted Subnet) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wanted = &wanted
	return s.apply(ctx)
}

func (s *Server) apply(ctx context.Context) error {
	if err := os.MkdirAll(s.directory, 0o755); err != nil {
		return fmt.Errorf("make dnsmasq's directory: %w: %w", cluster.ErrUnavailable, err)
	}
	restart, err := s.write(configFile, renderConfig(s.directory, *s.wanted))
	if err != nil {
		return err
	}
	gone := s.departed()
	reload, err := s.writeTables()
	if err != nil {
		return err
	}
	s.find()
	if s.process != nil && (restart || !s.process.alive()) {
		if err := s.end(ctx); err != nil {
			return err
		}
	}
	if s.process == nil {
		return s.start(ctx)
	}
	if !reload {
		return nil
	}
	if err := s.process.signal(unix.SIGHUP); err != nil {
		return fmt.Errorf("tell dnsmasq of new hosts: %w", err)
	}
	return s.release(gone)
}

// writeTables writes what dnsmasq reads again when it is told to.
func (s *Server) writeTables() (changed bool, err error) {
	files := map[string]string{hostsFile: renderHosts(s.wanted.Hosts), namesFile: renderNames(s.wanted.Hosts, s.wanted.Domain)}
	if _, err := os.Stat(filepath.Join(s.directory, serversFile)); err != nil || s.wanted.Servers != nil {
		files[serversFile] = renderServers(s.wanted.Servers)
	}
	for name, text := range files {
		written, err := s.write(name, text)
		if err != nil {
			return changed, err
		}
		changed = changed || written
	}
	return changed, nil
}

// write replaces a file if its text is another.
func (s *Server) write(name, text string) (changed bool, err error) {
	path := filepath.Join(s.directory, name)
	if have, err := os.ReadFile(path); err == nil && string(have) == text {
		return false, nil
	}
	fail := func(err error) (bool, error) {
		return false, fmt.Errorf("write dnsmasq's %s: %w: %w", name, cluster.ErrUnavailable, err)
	}
	if err := os.WriteFile(path+".new", []byte(text), 0o644); err != nil {
		return fail(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fail(err)
	}
	return true, nil
}

// arguments are unique to the directory: a successor knows the process by them.
func (s *Server) arguments() []string {
	return []string{"dnsmasq", "--keep-in-foreground", "--log-facility=-",
		"--conf-file=" + filepath.Join(s.directory, configFile), "--pid-file=" + filepath.Join(s.directory, pidFile)}
}

// find takes over the dnsmasq that a predecessor left, if there is one.
func (s *Server) find() {
	if s.process != nil {
		return
	}
	pid, err := readPid(filepath.Join(s.directory, pidFile))
	if err != nil {
		return
	}
	found, err := openProcess(pid)
	if err != nil {
		return
	}
	if !found.is(s.arguments(), s.namespace()) {
		found.close()
		return
	}
	s.log.Info("took over the running dnsmasq", "pid", pid)
	s.hold(found)
}

func (s *Server) hold(p *process) {
	s.process = p
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// namespace is the kernel's name of the namespace.
func (s *Server) namespace() (name string) {
	s.inside(func() (err error) {
		name, err = os.Readlink("/proc/thread-self/ns/net")
		return err
	})
	return name
}

// start runs dnsmasq and returns when it serves, which its pid file says.
func (s *Server) start(ctx context.Context) error {
	path := filepath.Join(s.directory, pidFile)
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove dnsmasq's old pid file: %w", err)
	}
	out, err := os.OpenFile(filepath.Join(s.directory, logFile), os.O_CREATE|os.O_WRONLY|os.O_TRUNC|os.O_APPEND, 0o640)
	if err != nil {
		return fmt.Errorf("open dnsmasq's log: %w: %w", cluster.ErrUnavailable, err)
	}
	defer out.Close()
	command := exec.Command("dnsmasq", s.arguments()[1:]...)
	command.Dir, command.Stdout, command.Stderr = "/", out, out
	command.SysProcAttr = &unix.SysProcAttr{Setsid: true} // it outlives us: a signal to our group is not for it
	if err := s.inside(command.Start); err != nil {
		return fmt.Errorf("start dnsmasq (is it installed?): %w: %w", cluster.ErrUnavailable, err)
	}
	started, err := openProcess(command.Process.Pid)
	if err != nil {
		return err
	}
	command.Process.Release() // the process is held and waited for by its descriptor
	if err := s.serving(ctx, started, path); err != nil {
		return errors.Join(err, started.end(context.WithoutCancel(ctx)))
	}
	s.hold(started)
	return nil
}

func (s *Server) serving(ctx context.Context, p *process, pidPath string) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	poll := time.NewTicker(2 * time.Millisecond)
	defer poll.Stop()
	for {
		if pid, err := readPid(pidPath); err == nil && pid == p.pid {
			return nil
		}
		if !p.alive() {
			words, _ := os.ReadFile(filepath.Join(s.directory, logFile))
			return fmt.Errorf("dnsmasq does not start: %w: %s", cluster.ErrUnavailable, lastLine(words))
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			return fmt.Errorf("dnsmasq does not start to serve: %w: %w", cluster.ErrTimeout, context.Cause(ctx))
		}
	}
}

func lastLine(text []byte) string {
	const most = 300
	if len(text) > most {
		text = text[len(text)-most:]
	}
	return string(text)
}

func (s *Server) end(ctx context.Context) error {
	old := s.process
	s.process = nil
	return old.end(ctx)
}

// Stop ends dnsmasq, also one that a predecessor left.
func (s *Server) Stop(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wanted = nil
	if s.find(); s.process == nil {
		return nil
	}
	return s.end(ctx)
}

// Restart replaces a running dnsmasq: its sockets are bound to a link that is another one now.
func (s *Server) Restart(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.find(); s.process == nil {
		return nil
	}
	if err := s.end(ctx); err != nil || s.wanted == nil {
		return err
	}
	return s.start(ctx)
}

// Run starts dnsmasq again whenever it ends, until ctx ends. It leaves dnsmasq running: a successor takes it over.
func (s *Server) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		s.mu.Lock()
		watched := s.process
		s.mu.Unlock()
		switch {
		case watched == nil:
			s.await(ctx)
		case watched.wait(ctx) != nil:
			continue // ctx has ended, or the process was replaced and let go
		default:
			pause(ctx, time.Until(watched.started.Add(restartPause)))
		}
		if err := s.revive(ctx, watched); err != nil && ctx.Err() == nil {
			s.log.Warn("dnsmasq is down; trying again", "err", err)
		}
	}
	return nil
}

// await returns when there may be a process to watch, or when it is time to try again to start one.
func (s *Server) await(ctx context.Context) {
	select {
	case <-s.changed:
	case <-time.After(restartPause):
	case <-ctx.Done():
	}
}

func pause(ctx context.Context, length time.Duration) {
	select {
	case <-time.After(length):
	case <-ctx.Done():
	}
}

// revive starts dnsmasq again if last, which has ended or never was, is still the one that should run.
func (s *Server) revive(ctx context.Context, last *process) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ctx.Err() != nil || s.process != last || s.wanted == nil {
		return nil
	}
	if last != nil {
		s.log.Warn("dnsmasq has ended; starting it again", "pid", last.pid)
		s.process = nil
		last.close()
	}
	return s.apply(ctx)
}
