package shim_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ciaocloud/ciao/cluster/driver/shim"
)

const patience = 2 * time.Minute

func start(t *testing.T, s shim.Shim, limit int, script string) {
	t.Helper()
	turn, err := s.Take()
	if err != nil || turn == nil {
		t.Fatalf("the turn is %v, %v", turn, err)
	}
	defer turn.Close()
	t.Cleanup(func() {
		if err := s.End(context.Background(), 0, patience); err != nil {
			t.Error(err)
		}
	})
	if err := turn.Start(t.Context(), shim.Program{Arguments: []string{"/bin/sh", "-c", script}, Limit: limit}); err != nil {
		t.Fatal(err)
	}
}

// follower keeps what it reads, and says when a text has come.
type follower struct {
	awaits string
	came   chan struct{}
	text   bytes.Buffer
	once   sync.Once
}

func (f *follower) Write(data []byte) (int, error) {
	f.text.Write(data)
	if strings.Contains(f.text.String(), f.awaits) {
		f.once.Do(func() { close(f.came) })
	}
	return len(data), nil
}

func ends(t *testing.T, s shim.Shim) shim.State {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := s.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	state, err := s.State()
	if err != nil {
		t.Fatal(err)
	}
	return state
}

func TestStates(t *testing.T) {
	for script, want := range map[string]int{"exit 0": 0, "exit 8": 8, "exit 99": 99, "kill -9 $$": 137} {
		s := shim.Shim{Directory: t.TempDir(), Owner: "the test's"}
		if state, err := s.State(); err != nil || state != (shim.State{}) {
			t.Errorf("before the start: %+v, %v", state, err)
		}
		start(t, s, 0, script)
		if state := ends(t, s); state.Running || state.Asked || state.Code == nil || *state.Code != want || state.Ended.Before(state.Begun) {
			t.Errorf("after %q: %+v, want code %d", script, state, want)
		}
	}
}

// While the program runs nobody else has its turn; a turn that was only taken is free again when it is closed.
func TestTurns(t *testing.T) {
	s := shim.Shim{Directory: t.TempDir(), Owner: "the test's"}
	turn, err := s.Take()
	if err != nil || turn == nil {
		t.Fatal(turn, err)
	}
	if err := turn.Close(); err != nil {
		t.Error(err)
	}
	start(t, s, 0, "sleep 1000")
	if second, err := s.Take(); second != nil || err != nil {
		t.Errorf("a second turn is %v, %v", second, err)
	}
	if err := s.MarkStopped(); err != nil {
		t.Fatal(err)
	}
	if err := s.End(t.Context(), patience, patience); err != nil {
		t.Fatal(err)
	}
	if state, err := s.State(); err != nil || !state.Asked || state.Code == nil || *state.Code != 128+int(syscall.SIGTERM) {
		t.Errorf("after stop: %+v, %v", state, err)
	}
}

// Files of output are bounded, the newest is kept, the last lines are found across both, and a follower misses nothing.
func TestLimitedOutput(t *testing.T) {
	s := shim.Shim{Directory: t.TempDir(), Owner: "the test's"}
	if err := syscall.Mkfifo(filepath.Join(s.Directory, "go"), 0o600); err != nil {
		t.Fatal(err)
	}
	start(t, s, 1000, "i=0; while [ $i -lt 500 ]; do echo line $i; i=$((i+1)); done; read word < go; echo last >&2; echo words")
	follower := &follower{awaits: "line 499\n", came: make(chan struct{})}
	followed := make(chan error, 1)
	go func() { followed <- s.Logs(t.Context(), 1, true, follower) }()
	select {
	case <-follower.came:
	case err := <-followed:
		t.Fatalf("a follower left after %q: %v", &follower.text, err)
	case <-time.After(patience):
		t.Fatalf("the last line is %q", s.LastLine())
	}
	if last := s.LastLine(); last != "line 499" {
		t.Errorf("the last line is %q", last)
	}
	if err := os.WriteFile(filepath.Join(s.Directory, "go"), []byte("go\n"), 0o600); err != nil { // it waits for the reader
		t.Fatal(err)
	}
	ends(t, s)
	if err := <-followed; err != nil {
		t.Error(err)
	}
	if got := follower.text.String(); !strings.HasSuffix(got, "line 499\nlast\nwords\n") {
		t.Errorf("a follower got %q", got)
	}
	for _, name := range []string{"output", "output.1"} {
		if info, err := os.Stat(filepath.Join(s.Directory, name)); err != nil || info.Size() > 1000 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	var want []string
	for i := 480; i < 500; i++ {
		want = append(want, fmt.Sprintf("line %d", i))
	}
	for lines, want := range map[int]string{0: "", 1: "words\n", 22: strings.Join(append(want, "last", "words"), "\n") + "\n"} {
		var text bytes.Buffer
		if err := s.Logs(t.Context(), lines, false, &text); err != nil || text.String() != want {
			t.Errorf("the last %d lines are %q, %v; want %q", lines, text.String(), err, want)
		}
	}
}
