package supervise

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// world is a supervisor's process, run in this one, and a caller of it.
type world struct {
	t      *testing.T
	config Config
	caller Supervisor
	crash  func() // ends the supervisor as a kill would: the daemons run on
}

func newWorld(t *testing.T) *world {
	t.Helper()
	directory, err := os.MkdirTemp("", "sv") // short, for the socket's path
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, config: Config{Cluster: fmt.Sprintf("test-%d-%d", os.Getpid(), time.Now().UnixNano()), Directory: directory, Program: runningProgram}}
	if err := os.Mkdir(filepath.Join(directory, "log"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := endMarked(context.Background(), w.config.Cluster, time.Second); err != nil {
			t.Error(err)
		}
		os.RemoveAll(directory)
	})
	w.caller = &own{w.config}
	w.serve()
	return w
}

func (w *world) serve() {
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- Serve(ctx, w.config, slog.New(slog.DiscardHandler)) }()
	w.crash = func() {
		stop()
		if err := <-ended; err != nil {
			w.t.Error(err)
		}
	}
	w.t.Cleanup(stop)
	w.eventually("the supervisor answers", func() error {
		_, err := w.caller.(*own).call(w.t.Context(), request{Status: true})
		return err
	})
}

func (w *world) apply(daemons ...Daemon) {
	w.t.Helper()
	if err := w.caller.Apply(w.t.Context(), daemons); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) status(name string) Status {
	w.t.Helper()
	all, err := w.caller.Status(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	for _, s := range all {
		if s.Name == name {
			return s
		}
	}
	return Status{}
}

func (w *world) eventually(what string, holds func() error) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 20*time.Second)
	defer cancel()
	for {
		err := holds()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			w.t.Fatalf("%s: %v", what, err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func sleeper(name string) Daemon {
	return Daemon{Name: name, Command: []string{"/bin/sleep", "1000"}}
}

func TestKilledDaemonIsStartedAgain(t *testing.T) {
	w := newWorld(t)
	w.apply(sleeper("a"))
	first := w.status("a")
	if !first.Running {
		t.Fatalf("status = %+v", first)
	}
	if err := syscall.Kill(first.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	w.eventually("it runs again", func() error {
		if now := w.status("a"); !now.Running || now.PID == first.PID || now.Restarts != 1 {
			return fmt.Errorf("status = %+v", now)
		}
		return nil
	})
}

func TestApplyLeavesTheUnchangedAlone(t *testing.T) {
	w := newWorld(t)
	w.apply(sleeper("a"), sleeper("b"), sleeper("c"))
	a, b := w.status("a").PID, w.status("b").PID
	changed := sleeper("b")
	changed.Identity = "new program"
	w.apply(sleeper("a"), changed)
	if got := w.status("a").PID; got != a {
		t.Errorf("a was restarted: %d, before %d", got, a)
	}
	if got := w.status("b").PID; got == b || got == 0 {
		t.Errorf("b was not restarted: %d, before %d", got, b)
	}
	if got := w.status("c"); got.Running || len(marked(w.config.Cluster)) != 2 {
		t.Errorf("c still runs: %+v, %v", got, marked(w.config.Cluster))
	}
}

func TestNextSupervisorTakesOver(t *testing.T) {
	w := newWorld(t)
	w.apply(sleeper("a"))
	before := w.status("a").PID
	w.crash()
	if alone := w.status("a"); !alone.Running || alone.PID != before || alone.Problem == "" {
		t.Errorf("without a supervisor, status = %+v", alone)
	}
	w.serve()
	w.eventually("it is taken over", func() error {
		if now := w.status("a"); now.PID != before || now.Problem != "" {
			return fmt.Errorf("status = %+v", now)
		}
		return nil
	})
	if err := syscall.Kill(before, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	w.eventually("it is kept running as before", func() error {
		if now := w.status("a"); !now.Running || now.PID == before {
			return fmt.Errorf("status = %+v", now)
		}
		return nil
	})
}

func TestRemoveEndsWhatNobodyRemembers(t *testing.T) {
	w := newWorld(t)
	w.apply(Daemon{Name: "parent", Command: []string{"/bin/sh", "-c", "setsid sleep 1000 & setsid sleep 1000 & wait"}})
	w.eventually("the children are there", func() error {
		if n := len(marked(w.config.Cluster)); n != 3 {
			return fmt.Errorf("%d processes", n)
		}
		return nil
	})
	w.crash()
	if err := os.RemoveAll(w.config.Directory); err != nil { // every memory of them
		t.Fatal(err)
	}
	if err := w.caller.Remove(t.Context()); err != nil {
		t.Fatal(err)
	}
	if left := marked(w.config.Cluster); len(left) != 0 {
		t.Errorf("still there: %v", left)
	}
}

func TestBrokenDaemonIsRetriedAndExplained(t *testing.T) {
	w := newWorld(t)
	flag := filepath.Join(w.config.Directory, "mended")
	w.apply(Daemon{Name: "a", Command: []string{"/bin/sh", "-c", "test -e " + flag + " || exit 3; exec sleep 1000"}})
	w.eventually("the reason is known", func() error {
		if now := w.status("a"); now.Running || !strings.Contains(now.Problem, "exit status 3") {
			return fmt.Errorf("status = %+v", now)
		}
		return nil
	})
	if err := os.WriteFile(flag, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	w.eventually("it runs", func() error {
		if now := w.status("a"); !now.Running || now.Problem != "" {
			return errors.New("not yet")
		}
		return nil
	})
}

func TestReusedProcessIDIsNotSignalled(t *testing.T) {
	self, found := lookup(os.Getpid())
	if !found {
		t.Fatal("this process is not there")
	}
	other := process{PID: self.PID, Start: self.Start - 1}
	if other.alive() {
		t.Error("a process of another start time counts as alive")
	}
	if err := other.signal(syscall.SIGKILL); err != nil {
		t.Error(err)
	}
}

func TestUnitText(t *testing.T) {
	s := &systemd{Config{Cluster: "lab"}}
	text := s.text(Daemon{Name: "launcher", Summary: "a node", Command: []string{"/opt/my ciao", "50%", `$HOME`}, After: []string{"scheduler"}, Children: true, Identity: "abc"})
	for _, want := range []string{
		`ExecStart="/opt/my ciao" "50%%" "$$HOME"`, "After=ciao-lab-scheduler.service", "KillMode=process", "Restart=always", Mark + "=lab", "# abc",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("unit lacks %q:\n%s", want, text)
		}
	}
}
