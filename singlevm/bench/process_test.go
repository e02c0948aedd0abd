package bench

import (
	"context"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// BenchmarkProcess1 is one process, from the request to active as a watcher sees it, beside what the kernel alone needs: fork, namespaces and
// exec. The tenant's CNCI is up.
func BenchmarkProcess1(b *testing.B) { benchmarkProcess(b, 1) }

// BenchmarkProcess50 is fifty from one request; the kernel's fifty come one after the other.
func BenchmarkProcess50(b *testing.B) { benchmarkProcess(b, 50) }

func benchmarkProcess(b *testing.B, count int) {
	m := newMachine(b)
	m.singlevm("setup")
	ctx := b.Context()
	ours := starter{b, m.tenant(ctx, m.operator(), "process"), "process"} // which comes with the program
	var took medians
	for b.Loop() {
		for phase, seconds := range ours.start(ctx, count) {
			took.add(phase, seconds)
		}
		took.add("kernel-s", fork(ctx, b, count))
	}
	took.report(b)
}

// fork starts so many processes in namespaces of their own, one after the other, and returns the seconds until the last was executed.
func fork(ctx context.Context, b *testing.B, count int) float64 {
	var all []*exec.Cmd
	begun := time.Now()
	for range count {
		command := exec.CommandContext(ctx, "sleep", "3600")
		command.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS | syscall.CLONE_NEWNET,
		}
		if err := command.Start(); err != nil {
			b.Fatal(err)
		}
		all = append(all, command)
	}
	took := time.Since(begun).Seconds()
	for _, command := range all {
		_ = command.Process.Kill()
		_ = command.Wait()
	}
	return took
}
