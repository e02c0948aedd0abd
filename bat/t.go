package bat

import (
	"cmp"
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ciaocloud/ciao/cluster"
)

// T is a running test. Its methods may be called from several goroutines; those that end the test (Fatalf, Skipf, and the helpers
// that say so) only from the test's own.
type T struct {
	Cluster *Cluster
	Kind    cluster.Kind // of the instances that the test is about

	started time.Time

	mu       sync.Mutex
	over     bool // what a hung test says after its end is not heard
	status   Status
	reason   string
	log      []string
	cleanups []func(context.Context)
	tenants  []string // ids, for what is shown of a failure
}

func newT(c *Cluster, kind cluster.Kind) *T {
	return &T{Cluster: c, Kind: cmp.Or(kind, cluster.KindContainer), started: time.Now(), status: Passed}
}

// Logf adds a line to the test's log.
func (t *T) Logf(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.note(fmt.Sprintf(format, args...))
}

func (t *T) note(text string) {
	if !t.over {
		t.log = append(t.log, fmt.Sprintf("%7.2f s  %s", time.Since(t.started).Seconds(), strings.TrimRight(text, "\n")))
	}
}

// Errorf fails the test, which goes on.
func (t *T) Errorf(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	text := fmt.Sprintf(format, args...)
	t.note("FAILED: " + text)
	if !t.over && t.status != Failed {
		t.status, t.reason = Failed, text
	}
}

// Fatalf fails the test and ends it.
func (t *T) Fatalf(format string, args ...any) {
	t.Errorf(format, args...)
	runtime.Goexit()
}

// Skipf ends the test, which cannot judge anything here, for a reason.
func (t *T) Skipf(format string, args ...any) {
	t.mu.Lock()
	if text := fmt.Sprintf(format, args...); !t.over && t.status == Passed {
		t.note("skipped: " + text)
		t.status, t.reason = Skipped, text
	}
	t.mu.Unlock()
	runtime.Goexit()
}

// Need ends the test as failed if err is one; doing says what was being done.
func (t *T) Need(err error, doing string, args ...any) {
	if err != nil {
		t.Fatalf("%s: %v", fmt.Sprintf(doing, args...), err)
	}
}

// Together runs tasks at the same time and returns when all have ended. If one of them fails the test, the test ends then.
func (t *T) Together(tasks ...func()) {
	var running []<-chan struct{}
	for _, task := range tasks {
		running = append(running, t.guard(task))
	}
	for _, done := range running {
		<-done
	}
	if t.failed() {
		runtime.Goexit()
	}
}

// Cleanup adds what is done when the test has ended, however it ended, last added first. The context is a fresh one.
func (t *T) Cleanup(do func(ctx context.Context)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.cleanups = append(t.cleanups, do)
}

func (t *T) takeCleanups() []func(context.Context) {
	t.mu.Lock()
	defer t.mu.Unlock()
	taken := slices.Clone(t.cleanups)
	t.cleanups = nil
	slices.Reverse(taken)
	return taken
}

func (t *T) failed() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.status == Failed
}

// finish closes the test's ears and returns what came of it.
func (t *T) finish() Outcome {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.over = true
	return Outcome{Status: t.status, Reason: t.reason, Took: time.Since(t.started), Log: t.log}
}
