package qemu

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// How says how a machine came to stand still.
type How string

// From the polite to the certain.
const (
	WasOff   How = "it was not running"
	PowerOff How = "the guest shut down"
	Quit     How = "QEMU was told to quit"
	Kill     How = "QEMU was killed"
)

// Limits are the times that [Process.Stop] gives to each step; a zero one skips the step.
type Limits struct {
	Powerdown time.Duration // from the power button to the guest's end
	Quit      time.Duration // from quit to QEMU's end
}

// killLimit is how long the kernel may take to end a killed process (it may be in the middle of disk I/O).
const killLimit = 10 * time.Second

// Stop ends the machine: power button, then quit, then SIGKILL, each when the one before did not help in its time. socket is a
// monitor that nobody else uses. It returns nil only when the process is gone, and ctx shortens the steps but never skips the
// kill.
func (p Process) Stop(ctx context.Context, socket string, l Limits) (How, error) {
	if !p.Alive() {
		return WasOff, nil
	}
	if how, ok := p.ask(ctx, socket, l); ok {
		return how, nil
	}
	if err := p.Kill(); err != nil {
		return Kill, err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), killLimit)
	defer cancel()
	if err := p.Wait(ctx); err != nil {
		return Kill, fmt.Errorf("process %d is still there %v after SIGKILL: %w", p.PID, killLimit, err)
	}
	return Kill, nil
}

// ask ends the machine through its monitor and tells whether that worked.
func (p Process) ask(ctx context.Context, socket string, l Limits) (How, bool) {
	ctx, cancel := context.WithTimeout(ctx, l.Powerdown+l.Quit)
	defer cancel()
	m, err := Dial(ctx, socket)
	if err != nil {
		return "", false
	}
	defer m.Close()
	how := Quit
	if l.Powerdown > 0 && m.powerOff(ctx, l.Powerdown) {
		how = PowerOff
	}
	if !p.Alive() {
		return how, p.Wait(ctx) == nil
	}
	limit := l.Quit
	if how == PowerOff && limit == 0 {
		limit = 5 * time.Second // QEMU waits for its end (NoShutdown), with nothing left to lose
	}
	if limit == 0 {
		return "", false
	}
	ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer cancel()
	if err := m.Quit(ctx); err != nil && !errors.Is(err, ErrDisconnected) {
		return "", false
	}
	return how, p.Wait(ctx) == nil
}

// powerOff presses the power button and waits until the guest is off or QEMU gone.
func (m *Monitor) powerOff(ctx context.Context, limit time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if s, err := m.Status(ctx); err != nil {
		return false
	} else if s == Off {
		return true
	}
	if err := m.Powerdown(ctx); err != nil {
		return false
	}
	for {
		select {
		case <-ctx.Done():
			return false
		case <-m.Done():
			return true
		case e, open := <-m.Events():
			if _, off := e.(Shutdown); off || !open {
				return true
			}
		}
	}
}
