package vm

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/driver/cgroup"
)

// traces are the ids of all instances of which there is something on this node.
func (d *Driver) traces() map[string]bool {
	found := map[string]bool{}
	paths, _ := filepath.Glob(d.carrier("*").directory) // the pattern is well formed
	for _, path := range paths {
		found[filepath.Base(filepath.Dir(path))] = true
	}
	for _, name := range cgroup.List(cgroup.Root, d.group("")) {
		if id := strings.TrimPrefix(name, d.group("")); cluster.ValidID(id) {
			found[id] = true
		}
	}
	return found
}

// Trace says whether there is anything of an instance on this node.
func (d *Driver) Trace(id string) bool { return d.traces()[id] }

// Clean removes all virtual machines of the node, whatever is left of them.
func (d *Driver) Clean(ctx context.Context) error {
	var problems []error
	for id := range d.traces() {
		problems = append(problems, d.Delete(ctx, id))
	}
	return errors.Join(problems...)
}

// Crash does to all virtual machines of the node what a loss of power does: shims first, so that nobody notes how anything ended.
func (d *Driver) Crash(ctx context.Context) error {
	var problems []error
	for id := range d.traces() {
		d.carrier(id).shim().Kill()
		problems = append(problems, d.carrier(id).shim().Wait(ctx), cgroup.Remove(ctx, cgroup.Root, d.group(id)))
	}
	return errors.Join(problems...)
}

// Signal sends a signal to every QEMU of the node.
func (d *Driver) Signal(signal syscall.Signal) error {
	var problems []error
	for id := range d.traces() {
		inside, err := cgroup.Processes(cgroup.Root, d.group(id))
		problems = append(problems, err)
		for pid := range inside {
			if err := syscall.Kill(pid, signal); err != nil && !errors.Is(err, syscall.ESRCH) {
				problems = append(problems, err)
			}
		}
	}
	return errors.Join(problems...)
}
