package instance

import (
	"context"
	"errors"
	"os"
	"syscall"
	"time"

	"github.com/ciaocloud/ciao/ccloudvm"
	"github.com/ciaocloud/ciao/ccloudvm/qemu"
)

// launchLimit is how long a supervisor may take to have QEMU running: the trial of the accelerator and QEMU's start.
const launchLimit = 60 * time.Second

// launch starts the supervisor of an instance and returns when QEMU runs.
func (m *Manager) launch(ctx context.Context, name string) (Run, error) {
	id := newUUID()
	gone, err := m.supervise(name, id)
	if err != nil {
		return Run{}, err
	}
	return m.launched(ctx, name, id, gone)
}

// supervise starts a supervisor in a session of its own, so that it stays when the command and its terminal go. The channel gets how it
// ended, if it does so before this process.
func (m *Manager) supervise(name, id string) (<-chan error, error) {
	log, err := os.OpenFile(m.Layout.SupervisorLog(name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, hostError("the supervisor's log cannot be opened", err)
	}
	defer log.Close()
	cmd := m.Supervise(name, id)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = nil, log, log
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, hostError("the supervisor cannot be started", err)
	}
	gone := make(chan error, 1)
	go func() { gone <- cmd.Wait() }()
	return gone, nil
}

// launched waits for the notes of the run.
func (m *Manager) launched(ctx context.Context, name, id string, gone <-chan error) (Run, error) {
	limit := time.NewTimer(launchLimit)
	defer limit.Stop()
	tick := time.NewTicker(pollEvery / 5)
	defer tick.Stop()
	for {
		run, err := m.Layout.run(name)
		noted := err == nil && run.ID == id
		switch {
		case noted && run.Failure != "":
			return run, m.startError(run.Failure)
		case noted && !run.Started.IsZero():
			return run, nil
		}
		select {
		case err := <-gone:
			if again, readErr := m.Layout.run(name); readErr == nil && again.ID == id && (again.Failure != "" || !again.Started.IsZero()) {
				continue // it spoke its last words between our look and its end
			}
			return run, hostError("the supervisor of "+name+" ended at once (see `ccloudvm logs --supervisor "+name+"`)", orUnknown(err))
		case <-limit.C:
			return run, timeoutError("QEMU did not start within %v: see `ccloudvm logs --supervisor %s`", launchLimit, name)
		case <-ctx.Done():
			return run, context.Cause(ctx)
		case <-tick.C:
		}
	}
}

func orUnknown(err error) error {
	if err == nil {
		return errors.New("no reason given")
	}
	return err
}

// startError classes what QEMU said when it did not start.
func (m *Manager) startError(text string) error {
	return &ccloudvm.Error{Class: ccloudvm.ErrHost, Text: text}
}

// stretch scales a limit that fits hardware virtualisation to the accelerator that runs.
func stretch(a qemu.Accelerator, limit time.Duration) time.Duration {
	return limit * time.Duration(a.TimeScale())
}

// process is the QEMU of an instance, if it runs.
func (m *Manager) process(name string) (qemu.Process, bool) {
	p, err := qemu.Attach(m.Layout.Dir(name))
	return p, err == nil
}
