package instance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"time"

	"github.com/ciaocloud/ciao/ccloudvm/guest"
	"github.com/ciaocloud/ciao/ccloudvm/qemu"
)

// Supervise starts the QEMU of an instance, or finds it running, and stays with it to its end. It is the body of the hidden command
// `ccloudvm supervise NAME ID`. ctx ends the supervision and leaves QEMU alone.
func Supervise(ctx context.Context, layout Layout, prober qemu.Prober, name, id string, log *slog.Logger) error {
	held, err := acquire(layout.file(name, supervisorLockFile), fmt.Sprintf("supervisor (process %d)", os.Getpid()))
	if err != nil {
		return fmt.Errorf("supervise %s: %w", name, err)
	}
	defer held.release()
	var record Record
	if err := readJSON(layout.file(name, recordFile), &record); err != nil {
		return err
	}
	s := &supervisor{layout: layout, record: &record, prober: prober, log: log, run: Run{ID: id}}
	if old, err := layout.run(name); err == nil && id == "" {
		s.run = old // adopting a QEMU whose supervisor died
	}
	process, err := s.start(ctx)
	if err != nil {
		s.note(func(r *Run) { r.Failure = err.Error() })
		return err
	}
	return s.watch(ctx, process)
}

// supervisor is one run of one instance.
type supervisor struct {
	layout  Layout
	record  *Record
	prober  qemu.Prober
	log     *slog.Logger
	sockets string

	mu  sync.Mutex
	run Run
}

// note changes the run's notes and writes them down.
func (s *supervisor) note(change func(*Run)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.run)
	if err := writeJSON(s.layout.file(s.record.Name, runFile), s.run); err != nil {
		s.log.Error("the notes cannot be written", "err", err)
	}
}

// start boots the machine. A KVM that passed its trial and yet aborts is replaced by emulation, once.
func (s *supervisor) start(ctx context.Context) (qemu.Process, error) {
	dir := s.layout.Dir(s.record.Name)
	var err error
	if s.sockets, err = qemu.SocketDir(dir); err != nil {
		return qemu.Process{}, err
	}
	if p, err := qemu.Attach(dir); err == nil {
		s.log.Info("QEMU runs already", "pid", p.PID)
		return p, nil
	}
	accelerator, err := s.prober.Choose(ctx, s.record.Accelerator)
	if err != nil {
		return qemu.Process{}, err
	}
	for _, file := range []string{eventsFile} {
		os.Remove(s.layout.file(s.record.Name, file))
	}
	p, err := s.boot(ctx, accelerator)
	var failed *qemu.StartError
	if errors.As(err, &failed) && failed.Aborted() && accelerator.Kind == qemu.KVM && s.record.Accelerator != "kvm" {
		accelerator = qemu.Accelerator{Kind: qemu.TCG, Reason: "Emulation (TCG) is used: QEMU gave up on KVM (" + failed.Status + ")."}
		p, err = s.boot(ctx, accelerator)
	}
	if err != nil {
		return p, err
	}
	s.note(func(r *Run) { r.Started, r.Accelerator = time.Now(), accelerator })
	return p, nil
}

func (s *supervisor) boot(ctx context.Context, accelerator qemu.Accelerator) (qemu.Process, error) {
	m, err := machine(s.record, s.layout, accelerator, s.sockets)
	if err != nil {
		return qemu.Process{}, err
	}
	return qemu.Start(ctx, qemu.Launch{Machine: m, Dir: s.layout.Dir(s.record.Name)})
}

// watch stays until QEMU is gone. Each of its goroutines ends when QEMU does.
func (s *supervisor) watch(ctx context.Context, p qemu.Process) error {
	ctx, cancel := context.WithCancel(ctx)
	var group sync.WaitGroup
	group.Go(func() { s.reports(ctx) })
	if !s.record.Complete {
		group.Go(func() { s.console(ctx) })
	}
	how := make(chan string, 1)
	group.Go(func() { how <- s.monitor(ctx) })
	err := p.Wait(ctx)
	cancel()
	group.Wait()
	if err != nil {
		return err // told to go; QEMU stays
	}
	ended := <-how
	s.note(func(r *Run) {
		r.Ended = time.Now()
		if r.How = ended; r.How == "" {
			r.How = qemu.ExitReason(s.layout.Dir(s.record.Name))
		}
	})
	os.RemoveAll(s.sockets)
	return nil
}

// reports writes down what the guest reports, in every boot: nobody else drains the channel.
func (s *supervisor) reports(ctx context.Context) {
	file, err := os.OpenFile(s.layout.file(s.record.Name, eventsFile), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		s.log.Error("the guest's reports cannot be kept", "err", err)
		return
	}
	defer file.Close()
	encoder := json.NewEncoder(file)
	for ctx.Err() == nil {
		err := guest.FollowProgress(ctx, filepath.Join(s.sockets, progressSocket), func(r guest.Report) {
			if err := encoder.Encode(r); err != nil {
				s.log.Error("a report of the guest is lost", "err", err)
			}
			if r.Word == guest.Finished {
				s.note(func(run *Run) { run.Finished = r.At })
			}
		})
		if err != nil && ctx.Err() == nil {
			s.log.Info("the guest's progress channel", "err", err)
			select {
			case <-ctx.Done():
			case <-time.After(time.Second):
			}
		}
	}
}

// finalMessage is what cloud-init writes on the console when it has done everything it will ever do in this boot.
var finalMessage = regexp.MustCompile(`(?i)cloud-init v\. \S+ finished at`)

// silence is how long after cloud-init's last word the guest's own report may still be on its way.
const silence = 10 * time.Second

// console recognises a first boot that will never get ready.
func (s *supervisor) console(ctx context.Context) {
	path := s.layout.ConsoleLog(s.record.Name)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	broken := make(chan string, 2)
	var group sync.WaitGroup
	group.Go(func() {
		if err := guest.WatchConsole(ctx, path); err != nil {
			broken <- err.Error()
		}
	})
	group.Go(func() {
		if waitForLine(ctx, path, finalMessage) && pause(ctx, silence) && !s.finished() {
			broken <- "cloud-init ended without running the workload's commands to their end (an exit in runcmd, or a cloud-config it did not accept)"
		}
	})
	select {
	case text := <-broken:
		s.note(func(r *Run) { r.Broken = text })
	case <-ctx.Done():
	}
	cancel()
	group.Wait()
}

func (s *supervisor) finished() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.run.Finished.IsZero()
}

// monitor listens to QEMU and returns how the guest ended, as far as QEMU says.
func (s *supervisor) monitor(ctx context.Context) string {
	m, err := qemu.Dial(ctx, filepath.Join(s.sockets, superviseSocket))
	if err != nil {
		s.log.Error("no monitor", "err", err)
		return ""
	}
	defer m.Close()
	how := ""
	for {
		select {
		case <-ctx.Done():
			return how
		case e, open := <-m.Events():
			if !open {
				return how
			}
			if ended := s.event(e); ended != "" {
				how = ended
				s.end(ctx, m)
			}
		}
	}
}

// quitGrace is how long a command that has asked the guest to shut down may take to end QEMU itself.
const quitGrace = time.Second

// end lets QEMU go after its guest has: it was told to stay (NoShutdown) only so that the reason is not lost.
func (s *supervisor) end(ctx context.Context, m *qemu.Monitor) {
	if pause(ctx, quitGrace) {
		if err := m.Quit(ctx); err != nil {
			s.log.Info("quit", "err", err)
		}
	}
}

// event notes what an event of QEMU means and returns how the guest ended, if that is what it says.
func (s *supervisor) event(e qemu.Event) string {
	switch e := e.(type) {
	case qemu.Shutdown:
		if e.Guest {
			return "the guest shut down"
		}
		return "QEMU was told to quit (" + e.Reason + ")"
	case qemu.GuestPanicked:
		s.note(func(r *Run) { r.Broken = "the guest's kernel panicked" })
	case qemu.BlockIOError:
		s.note(func(r *Run) { r.Warning = diskTrouble(e) })
	case qemu.Other:
		if e.Name == "RESUME" {
			s.note(func(r *Run) { r.Warning = "" })
		}
	}
	return ""
}

func diskTrouble(e qemu.BlockIOError) string {
	if e.NoSpace {
		return "the host's disk is full and the guest is paused: make room, then run `ccloudvm start` to go on"
	}
	return fmt.Sprintf("the guest's disk %s cannot be accessed (%s): %s", e.Device, e.Operation, e.Text)
}
