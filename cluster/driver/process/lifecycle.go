package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/driver"
	"github.com/ciaocloud/ciao/cluster/driver/cgroup"
	"github.com/ciaocloud/ciao/cluster/network/netns"
)

// killWait is how long killed processes may take to be gone.
const killWait = 10 * time.Second

// Create implements driver.Driver: it makes the root directory, and looks whether the command can run in it.
func (d *Driver) Create(ctx context.Context, instance driver.Instance, progress func(step, message string)) error {
	if progress == nil {
		progress = func(string, string) {}
	}
	err := check(instance)
	if err == nil {
		err = d.create(ctx, instance, progress)
	}
	d.watchers.Changed(instance.ID)
	return classed(err)
}

// check refuses what must never reach the runtime.
func check(instance driver.Instance) error {
	if !cluster.ValidID(instance.ID) {
		return fmt.Errorf("%w: %q is not the id of an instance", cluster.ErrInvalid, instance.ID)
	}
	if instance.Kind != cluster.KindProcess {
		return fmt.Errorf("%w: instance %s is no process but of kind %q", cluster.ErrInvalid, instance.ID, instance.Kind)
	}
	if instance.Network.Port == "" || len(instance.Network.Addresses) == 0 {
		return fmt.Errorf("%w: instance %s needs a port with an address", cluster.ErrInvalid, instance.ID)
	}
	if instance.Spec.Privileged && !instance.Privileged {
		return fmt.Errorf("instance %s: the tenant may not run privileged processes; an operator can allow it: %w", instance.Name, cluster.ErrPermission)
	}
	return nil
}

func (d *Driver) create(ctx context.Context, instance driver.Instance, progress func(step, message string)) error {
	c := d.carrier(instance.ID)
	before, err := c.describe()
	if err != nil && !missing(err) {
		return err
	}
	if err == nil && before.Generation > instance.Generation {
		return fmt.Errorf("%w: instance %s already has generation %d", cluster.ErrConflict, c.id, before.Generation)
	}
	if err == nil && before.Generation == instance.Generation {
		return nil
	}
	if err == nil {
		if err := d.end(ctx, c, 0); err != nil {
			return err
		}
		if err := c.shim().Forget(); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(c.directory, 0o700); err != nil {
		return fmt.Errorf("make the directory of instance %s: %w", c.id, err)
	}
	if err := d.furnish(ctx, c, instance, progress); err != nil {
		return err
	}
	described, err := d.settle(c, instance)
	if err != nil {
		return err
	}
	return c.write("carrier.json", described)
}

// Start implements driver.Driver.
func (d *Driver) Start(ctx context.Context, id string) error {
	return classed(d.start(ctx, d.carrier(id)))
}

func (d *Driver) start(ctx context.Context, c carrier) error {
	described, err := c.describe()
	if missing(err) || !cluster.ValidID(c.id) {
		return fmt.Errorf("%w: there is no process of instance %s on this node", cluster.ErrNotFound, c.id)
	}
	if err != nil {
		return err
	}
	turn, err := c.shim().Take()
	if err == nil && turn == nil { // it runs, or a launcher that was killed has just begun to start it
		if d.awaitUp(ctx, c) == nil {
			d.watchers.Changed(c.id)
			return nil
		}
		turn, err = c.shim().Take()
	}
	if err != nil || turn == nil {
		return err
	}
	defer turn.Close()
	defer d.watchers.Changed(c.id)
	if err := d.clear(ctx, c); err != nil {
		return err
	}
	if err := d.launch(ctx, c, described, turn); err != nil {
		limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), d.scaled(killWait))
		defer cancel()
		if failed := d.undo(limited, c); failed != nil {
			d.logger.Warn("a start that failed has left something for the next one to remove", "instance", c.id, "error", failed)
		}
		return err
	}
	return nil
}

// undo ends what a failed start has begun.
func (d *Driver) undo(ctx context.Context, c carrier) error {
	if err := c.shim().End(ctx, 0, d.scaled(killWait)); err != nil {
		return err
	}
	if err := d.clear(ctx, c); err != nil {
		return err
	}
	return c.shim().Forget()
}

// clear removes what the last run has left: processes whose shim was killed, the runtime's notes, the control group.
func (d *Driver) clear(ctx context.Context, c carrier) error {
	if err := d.forget(ctx, c); err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, d.scaled(killWait))
	defer cancel()
	return cgroup.Remove(limited, cgroup.Root, d.mark(c.id))
}

// Stop implements driver.Driver.
func (d *Driver) Stop(ctx context.Context, id string, grace time.Duration) error {
	c := d.carrier(id)
	if _, err := c.describe(); missing(err) {
		return nil
	}
	running, err := c.shim().Running()
	if err == nil && running {
		err = c.shim().MarkStopped()
	}
	if err == nil {
		err = d.end(ctx, c, grace)
	}
	d.watchers.Changed(id)
	return classed(err)
}

// end ends the process, and what is left of one whose shim was killed. The control group stays: it knows whether memory ran out.
func (d *Driver) end(ctx context.Context, c carrier, grace time.Duration) error {
	if err := c.shim().End(ctx, grace, d.scaled(killWait)); err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, d.scaled(killWait))
	defer cancel()
	return cgroup.Kill(limited, cgroup.Root, d.mark(c.id))
}

// Delete implements driver.Driver.
func (d *Driver) Delete(ctx context.Context, id string) error {
	if !cluster.ValidID(id) {
		return nil
	}
	c := d.carrier(id)
	err := d.end(ctx, c, 0)
	if err == nil {
		err = d.clear(ctx, c)
	}
	if err == nil {
		err = netns.Remove(d.mark(id))
	}
	if err == nil {
		err = os.RemoveAll(c.directory)
	}
	d.watchers.Changed(id)
	return classed(err)
}

// List implements driver.Driver. A directory, control group or namespace without a description is one that was only begun, or has lost
// its directory.
func (d *Driver) List(context.Context) ([]driver.Status, error) {
	var all []driver.Status
	for id := range d.traces() {
		status, err := d.status(d.carrier(id))
		if err != nil {
			return nil, classed(err)
		}
		if status.Condition == driver.Absent {
			status.Condition = driver.Created
		}
		all = append(all, status)
	}
	return all, nil
}

// traces are the ids of all instances of which there is something on this node.
func (d *Driver) traces() map[string]bool {
	found := map[string]bool{}
	paths, _ := filepath.Glob(d.carrier("*").directory) // the patterns are well formed
	for _, path := range paths {
		found[filepath.Base(filepath.Dir(path))] = true
	}
	namespaces, _ := filepath.Glob(netns.Path(d.mark("*")))
	for _, name := range append(cgroup.List(cgroup.Root, d.mark("")), namespaces...) {
		if id, ours := strings.CutPrefix(filepath.Base(name), d.mark("")); ours && cluster.ValidID(id) {
			found[id] = true
		}
	}
	return found
}

// Trace says whether there is anything of an instance on this node.
func (d *Driver) Trace(id string) bool { return d.traces()[id] }

// Clean removes all processes of the node, whatever is left of them.
func (d *Driver) Clean(ctx context.Context) error {
	var problems []error
	for id := range d.traces() {
		problems = append(problems, d.Delete(ctx, id))
	}
	return errors.Join(problems...)
}

// Status implements driver.Driver.
func (d *Driver) Status(_ context.Context, id string) (driver.Status, error) {
	status, err := d.status(d.carrier(id))
	return status, classed(err)
}
