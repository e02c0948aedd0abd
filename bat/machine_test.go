package bat_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/ciaocloud/ciao/require"
)

// Time limits of the programs: a whole run takes three to five minutes on two idle cores.
const (
	setupTime = 3 * time.Minute
	runTime   = 20 * time.Minute
)

// TestMachineAcceptance sets a cluster of three nodes up on this machine, has bat judge it, and removes it.
func TestMachineAcceptance(t *testing.T) {
	require.Machine(t)
	require.Docker(t)
	programs, err := filepath.Abs("../bin")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		call(context.WithoutCancel(t.Context()), t, setupTime, filepath.Join(programs, "singlevm"), "cleanup")
	})
	call(t.Context(), t, setupTime, filepath.Join(programs, "singlevm"), "setup", "--nodes", "3")
	call(t.Context(), t, runTime, filepath.Join(programs, "bat"))
}

// call runs a program with the test's own output; anything but success ends the test.
func call(ctx context.Context, t *testing.T, limit time.Duration, program string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	command := exec.CommandContext(ctx, program, args...)
	command.Stdout, command.Stderr = os.Stdout, os.Stderr
	command.Cancel = func() error { return command.Process.Signal(os.Interrupt) }
	command.WaitDelay = time.Minute
	if err := command.Run(); err != nil {
		t.Fatalf("%s %v: %v", filepath.Base(program), args, err)
	}
}
