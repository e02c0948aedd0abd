package bat

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"
)

// Bounds around a test.
const (
	graceTime   = 5 * time.Second  // for a test to notice that its time is over
	examineTime = 20 * time.Second // for looking at a failure: a broken cluster may not answer at all
	cleanupTime = time.Minute      // for removing what a test made: twenty containers and their network on a busy machine
)

// errTimeUp is why a test's context ended when the test took too long.
var errTimeUp = errors.New("the test took too long")

// Do runs one test to its end: the test itself, the look at a failure, the cleanups. It returns even if the test does not, whose
// goroutine is then left behind. scale stretches every time limit.
func Do(ctx context.Context, cluster *Cluster, suite string, test Test, limit time.Duration, scale float64) Outcome {
	t := newT(cluster, test.Kind)
	limited, cancel := context.WithTimeoutCause(ctx, limit, errTimeUp)
	defer cancel()
	select {
	case <-t.guard(func() { t.needKind(limited); test.Run(limited, t) }):
	case <-after(limited, scaled(graceTime, scale)):
		t.Errorf("the test did not end within %s of its time limit", scaled(graceTime, scale))
	}
	switch cause := context.Cause(limited); {
	case errors.Is(cause, errTimeUp):
		t.Errorf("the test took longer than its limit of %s", limit)
	case cause != nil:
		t.Errorf("interrupted")
	}
	var artefacts []Artefact
	if t.failed() && cluster != nil {
		looking, cancel := context.WithTimeout(context.WithoutCancel(ctx), scaled(examineTime, scale))
		artefacts = cluster.examine(looking, t)
		cancel()
	}
	t.clean(ctx, scale)
	outcome := t.finish()
	outcome.Suite, outcome.Test, outcome.Artefacts = suite, test, artefacts
	return outcome
}

// guard runs f in a goroutine of its own, which Fatalf and Skipf can end, and turns a panic into a failure.
func (t *T) guard(f func()) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			if problem := recover(); problem != nil {
				t.Errorf("panic: %v\n%s", problem, debug.Stack())
			}
		}()
		f()
	}()
	return done
}

// clean runs the cleanups, which may add more, with one deadline for all.
func (t *T) clean(ctx context.Context, scale float64) {
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), scaled(cleanupTime, scale), errors.New("the time for cleaning up is over"))
	defer cancel()
	for cleanups := t.takeCleanups(); len(cleanups) > 0; cleanups = t.takeCleanups() {
		for _, cleanup := range cleanups {
			select {
			case <-t.guard(func() { cleanup(ctx) }):
			case <-after(ctx, scaled(graceTime, scale)):
				t.Errorf("a cleanup did not end: %v", context.Cause(ctx))
			}
		}
	}
}

// after is a channel that is closed some time after ctx has ended.
func after(ctx context.Context, grace time.Duration) <-chan struct{} {
	passed := make(chan struct{})
	context.AfterFunc(ctx, func() { time.AfterFunc(grace, func() { close(passed) }) })
	return passed
}

func scaled(d time.Duration, scale float64) time.Duration {
	return time.Duration(float64(d) * max(scale, 1))
}

func (o Outcome) String() string { return fmt.Sprintf("%s/%s %s", o.Suite, o.Test.Name, o.Status) }
