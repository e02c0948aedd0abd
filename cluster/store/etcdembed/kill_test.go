package etcdembed_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ciaocloud/ciao/cluster/store"
	"github.com/ciaocloud/ciao/cluster/store/etcdembed"
)

// The variables make a copy of the test binary a writer on a data directory.
const (
	writerDir     = "ETCDEMBED_TEST_WRITER_DIR"
	writerReserve = "ETCDEMBED_TEST_WRITER_RESERVE"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(writerDir); dir != "" {
		if err := writer(dir); err != nil {
			fmt.Println("failed:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// counter is a row whose Count and Twin's Count are always written together.
type counter struct {
	ID    string
	Count int
	Fill  string
}

var (
	counters      = store.NewTable("counters", func(c counter) string { return c.ID })
	counterSchema = store.Schema{Tables: []store.AnyTable{counters}}
)

const writers = 4

// writer counts in as many rows as there are writers, each with a twin, and prints each number once it is acknowledged.
func writer(dir string) error {
	reserve, err := strconv.ParseUint(os.Getenv(writerReserve), 10, 64)
	if err != nil {
		return err
	}
	ctx := context.Background()
	db, err := etcdembed.Open(ctx, etcdembed.Config{Dir: dir, ReserveBytes: reserve, Log: slog.New(slog.DiscardHandler)}, counterSchema)
	if err != nil {
		return err
	}
	fmt.Println("open")
	var group sync.WaitGroup
	errs := make([]error, writers)
	for w := range writers {
		group.Go(func() { errs[w] = count(ctx, db, fmt.Sprint(w)) })
	}
	group.Wait()
	return errors.Join(append(errs, db.Close())...)
}

func count(ctx context.Context, db *store.DB, id string) error {
	for {
		var n int
		_, err := db.Update(ctx, func(tx store.Tx) error {
			c, err := counters.Get(tx, id)
			if err != nil && !errors.Is(err, store.ErrNotFound) {
				return err
			}
			n = c.Count + 1
			fill := strings.Repeat("x", 1000)
			return errors.Join(counters.Put(tx, counter{id, n, fill}), counters.Put(tx, counter{id + " twin", n, fill}))
		})
		if err != nil {
			return err
		}
		fmt.Println(id, n)
	}
}

// spawned is a running writer.
type spawned struct {
	cmd  *exec.Cmd
	out  *bufio.Scanner
	acks map[string]int
	said string // its last words
}

func spawn(t *testing.T, dir string, reserve int) *spawned {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), writerDir+"="+dir, fmt.Sprint(writerReserve, "=", reserve))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s := &spawned{cmd: cmd, out: bufio.NewScanner(out), acks: map[string]int{}}
	s.out.Split(wholeLines)
	return s
}

// wholeLines leaves out a last line that was cut off by a kill.
func wholeLines(data []byte, atEOF bool) (int, []byte, error) {
	if n := bytes.IndexByte(data, '\n'); n >= 0 {
		return n + 1, data[:n], nil
	}
	if atEOF && len(data) > 0 {
		return len(data), nil, nil
	}
	return 0, nil, nil
}

// read takes a line of output; false at its end.
func (s *spawned) read() bool {
	if !s.out.Scan() {
		return false
	}
	s.said = s.out.Text()
	if id, n, ok := strings.Cut(s.said, " "); ok {
		if acked, err := strconv.Atoi(n); err == nil {
			s.acks[id] = acked
		}
	}
	return true
}

func (s *spawned) kill(t *testing.T) {
	t.Helper()
	if err := s.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	s.wait()
}

// wait reads what is left and waits for the end.
func (s *spawned) wait() error {
	for s.read() {
	}
	return s.cmd.Wait()
}

// check opens the directory and looks for everything that was acknowledged.
func (s *spawned) check(t *testing.T, dir string) {
	t.Helper()
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	db, err := etcdembed.Open(t.Context(), etcdembed.Config{Dir: dir, Log: log, ReserveBytes: 1}, counterSchema)
	if err != nil {
		t.Fatalf("after %v: %v", s.acks, err)
	}
	defer func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}()
	err = db.View(t.Context(), func(r store.Reader) error {
		for id, acked := range s.acks {
			c, err := counters.Get(r, id)
			twin, twinErr := counters.Get(r, id+" twin")
			if err != nil || twinErr != nil || c.Count < acked || c.Count != twin.Count {
				t.Errorf("%s: stored %d and %d, acknowledged %d (%v, %v)", id, c.Count, twin.Count, acked, err, twinErr)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// TestKillWriting kills a process in the middle of its writes, again and again on the same directory.
func TestKillWriting(t *testing.T) {
	dir := quickDirectory(t)
	total := 0
	for range 8 {
		s := spawn(t, dir, 1)
		for range 1 + rand.IntN(1500) {
			if !s.read() {
				t.Fatalf("writer ended: %s", s.said)
			}
		}
		s.kill(t)
		s.check(t, dir)
		for _, n := range s.acks {
			total = max(total, n)
		}
	}
	t.Logf("counted to %d", total)
}

// TestKillStarting kills a process while it makes a new data directory or opens an old one.
func TestKillStarting(t *testing.T) {
	for round := range 15 {
		dir := t.TempDir()
		for range 3 {
			s := spawn(t, dir, 1)
			// The moment is random on purpose: nothing can be waited for.
			killer := time.AfterFunc(rand.N(150*time.Millisecond), func() { s.cmd.Process.Kill() })
			s.wait()
			killer.Stop()
			if !s.cmd.ProcessState.Sys().(interface{ Signaled() bool }).Signaled() {
				t.Fatalf("round %d: writer ended by itself: %s", round, s.said)
			}
		}
		(&spawned{}).check(t, dir)
	}
}
