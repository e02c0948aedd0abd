package concentrator

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/driver"
	"github.com/ciaocloud/ciao/cluster/driver/shim"
)

// Create implements driver.Driver: it makes the namespace and the agent's identity.
func (d *Driver) Create(ctx context.Context, instance driver.Instance, progress func(step, message string)) error {
	return classed(d.create(ctx, instance, progress))
}

func (d *Driver) create(ctx context.Context, instance driver.Instance, progress func(step, message string)) error {
	if progress == nil {
		progress = func(string, string) {}
	}
	if !cluster.ValidID(instance.ID) {
		return fmt.Errorf("%w: %q is not the id of a CNCI", cluster.ErrInvalid, instance.ID)
	}
	if instance.Spec.Privileged && !instance.Privileged {
		return fmt.Errorf("%w: a CNCI is never privileged", cluster.ErrPermission)
	}
	c := d.carrier(instance.ID)
	before, err := c.describe()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err == nil && before.Generation > instance.Generation {
		return fmt.Errorf("%w: CNCI %s already has generation %d", cluster.ErrConflict, c.id, before.Generation)
	}
	if err := os.MkdirAll(c.directory, 0o700); err != nil {
		return cluster.DiskFull(filepath.Dir(c.directory), fmt.Errorf("make the CNCI's directory: %w", err))
	}
	progress("create", "making the network namespace")
	path, err := d.config.Namespaces.Create(ctx, c.id)
	if err != nil {
		return fmt.Errorf("make the namespace of CNCI %s: %w", c.id, err)
	}
	progress("certificate", "having the agent's key signed")
	if err := d.identify(ctx, c); err != nil {
		return err
	}
	if before.Generation < instance.Generation {
		if err := d.replace(ctx, c); err != nil {
			return err
		}
	}
	defer d.watchers.Changed(c.id)
	return c.write(description{
		Generation: instance.Generation, Tenant: instance.Tenant, Namespace: path, Arguments: instance.Spec.Command,
	})
}

// replace ends the agent of an older generation and forgets how it went.
func (d *Driver) replace(ctx context.Context, c carrier) error {
	if err := c.shim().End(ctx, 0, d.scaled(killWait)); err != nil {
		return err
	}
	return c.shim().Forget()
}

// Start implements driver.Driver.
func (d *Driver) Start(ctx context.Context, id string) error {
	return classed(d.start(ctx, d.carrier(id)))
}

func (d *Driver) start(ctx context.Context, c carrier) error {
	described, err := c.describe()
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: there is no CNCI %s on this node", cluster.ErrNotFound, c.id)
	}
	if err != nil {
		return err
	}
	if err := d.retire(ctx, c); err != nil {
		return err
	}
	turn, err := c.shim().Take()
	if err != nil || turn == nil {
		return err
	}
	defer turn.Close()
	if err := c.replace("edition", []byte(c.edition)); err != nil {
		return err
	}
	argv, err := d.config.Command(Agent{
		Instance: c.id, Tenant: described.Tenant, Arguments: described.Arguments, Directory: c.directory,
		Certificate: c.file(certificateFile), Key: c.file(keyFile), Namespace: described.Namespace,
	})
	if err != nil {
		return fmt.Errorf("prepare the agent of CNCI %s: %w", c.id, err)
	}
	if err := turn.Start(ctx, shim.Program{Arguments: argv, Namespace: described.Namespace}); err != nil {
		return err
	}
	d.watchers.Changed(c.id)
	return nil
}

const (
	retireGrace = 2 * time.Second  // how long an agent of an older edition may take to end by itself
	killWait    = 10 * time.Second // how long a killed agent may take to end
)

// retire ends an agent of an older edition.
func (d *Driver) retire(ctx context.Context, c carrier) error {
	running, err := c.shim().Running()
	if err != nil || !running || !c.outdated() {
		return err
	}
	d.logger.Info("agent is replaced, its program is new", "cnci", c.id)
	return c.shim().End(ctx, d.scaled(retireGrace), d.scaled(killWait))
}

// Stop implements driver.Driver: it ends the agent.
func (d *Driver) Stop(ctx context.Context, id string, grace time.Duration) error {
	c := d.carrier(id)
	if _, err := c.describe(); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if running, err := c.shim().Running(); err != nil || !running {
		return classed(err)
	}
	err := c.shim().Stop(ctx, grace, d.scaled(killWait))
	d.watchers.Changed(id)
	return classed(err)
}

// Delete implements driver.Driver.
func (d *Driver) Delete(ctx context.Context, id string) error {
	if !cluster.ValidID(id) {
		return nil
	}
	c := d.carrier(id)
	err := c.shim().End(ctx, 0, d.scaled(killWait))
	if err == nil {
		err = d.config.Namespaces.Remove(ctx, id)
	}
	if err == nil {
		err = os.RemoveAll(c.directory)
	}
	d.watchers.Changed(id)
	return classed(err)
}

// Status implements driver.Driver.
func (d *Driver) Status(_ context.Context, id string) (driver.Status, error) {
	status, err := d.carrier(id).status()
	return status, classed(err)
}

// List implements driver.Driver. A namespace without a concentrator is one that was only begun.
func (d *Driver) List(ctx context.Context) ([]driver.Status, error) {
	found := map[string]bool{}
	var all []driver.Status
	paths, _ := filepath.Glob(d.carrier("*").file("carrier.json")) // the pattern is well formed
	for _, path := range paths {
		id := filepath.Base(filepath.Dir(filepath.Dir(path)))
		status, err := d.carrier(id).status()
		if err != nil {
			return nil, classed(err)
		}
		if status.Condition != driver.Absent {
			found[id] = true
			all = append(all, status)
		}
	}
	spaces, err := d.config.Namespaces.List(ctx)
	if err != nil {
		return nil, classed(fmt.Errorf("list the namespaces of CNCIs: %w", err))
	}
	for _, id := range spaces {
		if !found[id] {
			all = append(all, driver.Status{ID: id, Condition: driver.Created})
		}
	}
	return all, nil
}
