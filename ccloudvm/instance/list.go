package instance

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/ciaocloud/ciao/ccloudvm"
	"github.com/ciaocloud/ciao/ccloudvm/qemu"
)

// answerLimit is how long a QEMU may take to say how it is. One that is stuck delays a listing by no more than this, once.
const answerLimit = 500 * time.Millisecond

// List describes all instances, by name. One that cannot be described is listed as failed.
func (m *Manager) List(ctx context.Context) ([]ccloudvm.Instance, error) {
	names, err := m.Names()
	if err != nil {
		return nil, err
	}
	list := make([]ccloudvm.Instance, len(names))
	var group sync.WaitGroup
	for i, name := range names {
		group.Go(func() {
			r, err := m.load(name)
			if err != nil {
				list[i] = ccloudvm.Instance{Name: name, State: ccloudvm.StateFailed, Reason: err.Error(), Directory: m.Layout.Dir(name)}
				return
			}
			list[i] = m.describe(ctx, r)
		})
	}
	group.Wait()
	return list, nil
}

// Get describes one instance.
func (m *Manager) Get(ctx context.Context, name string) (ccloudvm.Instance, error) {
	r, err := m.load(name)
	if err != nil {
		return ccloudvm.Instance{}, err
	}
	return m.describe(ctx, r), nil
}

func (m *Manager) describe(ctx context.Context, r *Record) ccloudvm.Instance {
	vm := r.Spec.VM
	i := ccloudvm.Instance{
		Name: r.Name, Workload: r.Workload, Image: r.Spec.BaseImageName, Address: r.Address, SSHPort: r.sshPort(),
		SSHCommand: fmt.Sprintf("ssh -F %s %s", m.Layout.SSHConfig(r.Name), r.Name),
		CPUs:       vm.CPUs, MemMiB: vm.MemMiB, DiskGiB: vm.DiskGiB, Ports: vm.Ports, Mounts: r.Shares, QEMUPort: vm.QEMUPort,
		Created: r.Created, Phases: r.Phases, Directory: m.Layout.Dir(r.Name),
	}
	f := facts{record: r, beingMade: held(m.Layout.Dir(r.Name) + lockSuffix), supervised: held(m.Layout.file(r.Name, supervisorLockFile))}
	f.run, _ = m.Layout.run(r.Name)
	if _, f.alive = m.process(r.Name); f.alive {
		f.status, f.statusErr = m.askStatus(ctx, r.Name, statusSocket)
	}
	i.State, i.Reason = derive(f)
	if a := f.run.Accelerator; a.Kind != "" {
		i.Accelerator = string(a.Kind)
		if a.Kind == qemu.TCG && a.Reason != "" {
			i.Accelerator += ": " + a.Reason
		}
	}
	return i
}

func (m *Manager) askStatus(ctx context.Context, name, socket string) (qemu.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	monitor, err := qemu.Dial(ctx, m.socket(name, socket))
	if err != nil {
		return "", err
	}
	defer monitor.Close()
	return monitor.Status(ctx)
}

// facts is all that is known about an instance at one moment.
type facts struct {
	record     *Record
	run        Run
	beingMade  bool // a command holds the instance's lock
	supervised bool
	alive      bool // QEMU is
	status     qemu.Status
	statusErr  error
}

// derive is the state that the facts amount to, with its reason.
func derive(f facts) (ccloudvm.State, string) {
	switch {
	case f.record.Failure != "":
		return ccloudvm.StateFailed, f.record.Failure
	case !f.record.Complete && f.beingMade:
		return ccloudvm.StateCreating, ""
	case !f.record.Complete:
		return ccloudvm.StateFailed, "its creation was interrupted: delete it"
	case f.alive && f.statusErr != nil:
		return ccloudvm.StateUnresponsive, "QEMU does not answer: `ccloudvm quit` ends it"
	case f.alive && f.status == qemu.Off:
		return ccloudvm.StateStopped, "the guest shut down"
	case f.alive && (f.status == qemu.IOError || f.run.Warning != ""):
		return ccloudvm.StateUnresponsive, f.run.Warning
	case f.alive && f.status == qemu.Panicked:
		return ccloudvm.StateFailed, "the guest's kernel panicked"
	case f.alive && !f.supervised:
		return ccloudvm.StateRunning, "its supervisor was killed: `ccloudvm start` gives it a new one"
	case f.alive:
		return ccloudvm.StateRunning, ""
	case !f.run.Ended.IsZero():
		return ccloudvm.StateStopped, f.run.How
	case f.run.Failure != "":
		return ccloudvm.StateStopped, f.run.Failure
	case !f.run.Started.IsZero():
		return ccloudvm.StateFailed, "QEMU and its supervisor were killed, or the host was: start it again"
	}
	return ccloudvm.StateStopped, ""
}
