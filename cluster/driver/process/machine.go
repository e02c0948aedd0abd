package process

import (
	"context"
	"errors"
	"syscall"

	"github.com/ciaocloud/ciao/cluster/driver/cgroup"
	"github.com/ciaocloud/ciao/cluster/network/netns"
)

// Crash does to all processes of the node what a loss of power does: shims first, so that nobody notes how anything ended, and the network
// namespaces go with the memory. Directories stay.
func (d *Driver) Crash(ctx context.Context) error {
	var problems []error
	for id := range d.traces() {
		d.carrier(id).shim().Kill()
		problems = append(problems, cgroup.Remove(ctx, cgroup.Root, d.mark(id)), netns.Remove(d.mark(id)))
	}
	return errors.Join(problems...)
}

// Signal sends a signal to everything that runs in the node's instances.
func (d *Driver) Signal(signal syscall.Signal) error {
	var problems []error
	for id := range d.traces() {
		inside, err := cgroup.Processes(cgroup.Root, d.mark(id))
		problems = append(problems, err)
		for pid := range inside {
			if err := syscall.Kill(pid, signal); err != nil && !errors.Is(err, syscall.ESRCH) {
				problems = append(problems, err)
			}
		}
	}
	return errors.Join(problems...)
}
