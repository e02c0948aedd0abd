package instance

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/ciaocloud/ciao/ccloudvm"
	"github.com/ciaocloud/ciao/ccloudvm/qemu"
	"github.com/ciaocloud/ciao/ccloudvm/workload"
)

// Limits of ending a machine.
const (
	quitLimit    = 5 * time.Second  // from quit to QEMU's end
	destroyLimit = 60 * time.Second // for removing an instance, its QEMU included
	stopLimit    = 15 * time.Second // for a guest to shut down by itself, with hardware virtualisation
)

// Start boots a stopped instance and returns when it can be entered. Overrides are kept for later starts; the disk's size cannot change.
func (m *Manager) Start(ctx context.Context, name string, o Overrides, report Report) (ccloudvm.Instance, error) {
	held, err := m.hold(ctx, name, "start")
	if err != nil {
		return ccloudvm.Instance{}, err
	}
	defer held.release()
	r, err := m.load(name)
	if err != nil {
		held.releaseAndRemove()
		return ccloudvm.Instance{}, err
	}
	if o.DiskGiB != 0 {
		return ccloudvm.Instance{}, &ccloudvm.Error{Class: ccloudvm.ErrInvalid, Text: "the size of the disk is chosen when the instance is created"}
	}
	if running, err := m.clearAway(ctx, name); err != nil {
		return ccloudvm.Instance{}, err
	} else if running {
		return m.resume(ctx, r)
	}
	if err := m.change(ctx, r, o); err != nil {
		return ccloudvm.Instance{}, err
	}
	report.say(PhaseBegins, "boot")
	if err := m.boot(ctx, r, report); err != nil {
		return ccloudvm.Instance{}, endedBy(ctx, err, "boot")
	}
	return m.Get(ctx, name)
}

// boot starts a guest that has been set up before and waits until it can be entered.
func (m *Manager) boot(ctx context.Context, r *Record, report Report) error {
	run, err := m.launch(ctx, r.Name)
	if err != nil {
		return err
	}
	report.say(PhaseNote, "%s", run.Accelerator.Reason)
	client, err := m.dial(ctx, r, stretch(run.Accelerator, bootLimit+sshLimit))
	if err != nil {
		return err
	}
	defer client.Close()
	return syncShares(ctx, client, r, report)
}

// clearAway ends a QEMU whose guest has shut down while nobody supervised it, and tells whether one is running after that.
func (m *Manager) clearAway(ctx context.Context, name string) (running bool, err error) {
	p, running := m.process(name)
	if !running {
		return false, nil
	}
	if status, err := m.askStatus(ctx, name, commandSocket); err != nil || status != qemu.Off {
		return true, nil
	}
	if _, err := p.Stop(ctx, m.socket(name, commandSocket), qemu.Limits{Quit: quitLimit}); err != nil {
		return true, hostError("the QEMU of the guest that shut down does not end", err)
	}
	return false, nil
}

// resume deals with an instance that runs: one that is paused goes on, and one that lost its supervisor gets a new one.
func (m *Manager) resume(ctx context.Context, r *Record) (ccloudvm.Instance, error) {
	status, err := m.askStatus(ctx, r.Name, commandSocket)
	supervised := held(m.Layout.file(r.Name, supervisorLockFile))
	switch {
	case err == nil && (status == qemu.Paused || status == qemu.IOError):
		if err := m.proceed(ctx, r.Name); err != nil {
			return ccloudvm.Instance{}, err
		}
	case !supervised:
		if err := m.adopt(ctx, r.Name); err != nil {
			return ccloudvm.Instance{}, err
		}
	default:
		return ccloudvm.Instance{}, &ccloudvm.Error{Class: ccloudvm.ErrState, Text: r.Name + " is running already"}
	}
	return m.Get(ctx, r.Name)
}

// adopt starts a supervisor for a QEMU that lost its own.
func (m *Manager) adopt(ctx context.Context, name string) error {
	gone, err := m.supervise(name, "")
	if err != nil {
		return err
	}
	limit, cancel := context.WithTimeout(ctx, launchLimit)
	defer cancel()
	for !held(m.Layout.file(name, supervisorLockFile)) {
		select {
		case err := <-gone:
			return hostError("the supervisor of "+name+" ended at once (see `ccloudvm logs --supervisor "+name+"`)", orUnknown(err))
		default:
		}
		if !pause(limit, pollEvery/5) {
			return timeoutError("no supervisor took over %s within %v", name, launchLimit)
		}
	}
	return nil
}

// proceed lets a paused guest go on.
func (m *Manager) proceed(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, quitLimit)
	defer cancel()
	monitor, err := qemu.Dial(ctx, m.socket(name, commandSocket))
	if err == nil {
		defer monitor.Close()
		err = monitor.Continue(ctx)
	}
	if err != nil {
		return hostError("the guest cannot be continued", err)
	}
	return nil
}

// change applies what start was told.
func (m *Manager) change(ctx context.Context, r *Record, o Overrides) error {
	if !r.Complete {
		return &ccloudvm.Error{Class: ccloudvm.ErrState, Text: fmt.Sprintf("the creation of %s was not completed: delete it and create it again", r.Name)}
	}
	mounts, hostIP := len(o.Mounts) > 0, r.Spec.VM.HostIP
	origins := map[string]workload.Position{}
	o.apply(&r.Spec.VM, origins)
	if err := errors.Join(workload.Check(r.Spec, origins), checkMounts(r.Spec.VM.Mounts), m.checkHost(r.Spec.VM)); err != nil {
		return err
	}
	if r.Spec.VM.HostIP != hostIP {
		return &ccloudvm.Error{Class: ccloudvm.ErrInvalid, Text: "the address of an instance is chosen when it is created"}
	}
	if mounts {
		r.Shares = chooseShares(ctx, r.Spec.VM.Mounts, r.Image, m.Caller.UID == 0)
	}
	if err := checkAddress(r.Address, r.Spec.VM.Ports); err != nil {
		return err
	}
	access, err := m.access(r)
	if err != nil {
		return err
	}
	if _, err := access.WriteFiles(m.Layout.Dir(r.Name), m.Layout.KeyFile()); err != nil {
		return hostError("the SSH configuration cannot be written", err)
	}
	return m.save(r)
}

// Stop shuts the guest down: by its power button, and if it does not go within limit, by force. It says which it was.
func (m *Manager) Stop(ctx context.Context, name string, limit time.Duration) (qemu.How, error) {
	return m.end(ctx, name, "stop", qemu.Limits{Powerdown: limit, Quit: quitLimit})
}

// StopLimit is how long the guest of an instance should be given to shut down.
func (m *Manager) StopLimit(name string) time.Duration {
	run, _ := m.Layout.run(name)
	return stretch(run.Accelerator, stopLimit)
}

// Quit ends QEMU at once, as if the power were cut.
func (m *Manager) Quit(ctx context.Context, name string) (qemu.How, error) {
	return m.end(ctx, name, "quit", qemu.Limits{Quit: quitLimit})
}

func (m *Manager) end(ctx context.Context, name, verb string, limits qemu.Limits) (qemu.How, error) {
	held, err := m.hold(ctx, name, verb)
	if err != nil {
		return "", err
	}
	defer held.release()
	if _, err := m.load(name); err != nil {
		held.releaseAndRemove()
		return "", err
	}
	return m.halt(ctx, name, limits)
}

// halt ends the machine and waits until its supervisor has noted that.
func (m *Manager) halt(ctx context.Context, name string, limits qemu.Limits) (qemu.How, error) {
	p, running := m.process(name)
	if !running {
		return qemu.WasOff, nil
	}
	how, err := p.Stop(ctx, m.socket(name, commandSocket), limits)
	if err != nil {
		return how, hostError(name+" cannot be stopped", err)
	}
	// The supervisor ends with QEMU. It is not waited for without limit: it may be stopped or stuck.
	wait, cancel := context.WithTimeout(context.WithoutCancel(ctx), quitLimit)
	defer cancel()
	for held(m.Layout.file(name, supervisorLockFile)) && pause(wait, pollEvery/5) {
	}
	return how, nil
}

// Delete ends the instance and removes everything it owns, whatever state it is in.
func (m *Manager) Delete(ctx context.Context, name string) error {
	if err := CheckName(name); err != nil {
		return err
	}
	held, err := m.hold(ctx, name, "delete")
	if err != nil {
		return err
	}
	if _, err := os.Stat(m.Layout.Dir(name)); errors.Is(err, os.ErrNotExist) {
		held.releaseAndRemove()
		return m.notFound(name)
	}
	ctx, cancel := context.WithTimeout(ctx, destroyLimit)
	defer cancel()
	if err := m.destroy(ctx, name, held); err != nil {
		held.release()
		return err
	}
	return nil
}

// destroy ends and removes an instance whose lock is held, and the lock with it.
func (m *Manager) destroy(ctx context.Context, name string, l *lock) error {
	if _, err := m.halt(ctx, name, qemu.Limits{Quit: quitLimit}); err != nil {
		return err
	}
	m.dismiss(ctx, name)
	if sockets, err := qemu.SocketDir(m.Layout.Dir(name)); err == nil {
		os.RemoveAll(sockets)
		os.Remove(filepath.Dir(sockets)) // when it was the last one
	}
	if err := os.RemoveAll(m.Layout.Dir(name)); err != nil {
		return hostError("the instance's directory cannot be removed", err)
	}
	l.releaseAndRemove()
	return nil
}
