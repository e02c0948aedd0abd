package ssntp_test

import (
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"runtime/pprof"
	"testing"
	"time"
)

// TestMain fails the run when a test has left goroutines behind.
// A process of BenchmarkConnections10000 does what it is there for instead.
func TestMain(m *testing.M) {
	if role := os.Getenv(idleRole); role != "" {
		if err := runIdleRole(role, os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt) // fuzzing does, which begins a goroutine that never ends
	signal.Stop(signals)
	runtime.Gosched()
	before := runtime.NumGoroutine()
	code := m.Run()
	if code == 0 && !settled(before) {
		fmt.Fprintf(os.Stderr, "goroutines were left behind: %d before, %d after\n", before, runtime.NumGoroutine())
		pprof.Lookup("goroutine").WriteTo(os.Stderr, 1)
		code = 1
	}
	os.Exit(code)
}

// settled waits for goroutines that are on their way out.
func settled(limit int) bool {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(10 * time.Second)
	for runtime.NumGoroutine() > limit {
		select {
		case <-tick.C:
		case <-deadline:
			return false
		}
	}
	return true
}
