package concentrator

import (
	"context"

	"github.com/ciaocloud/ciao/cluster/driver"
	"github.com/ciaocloud/ciao/cluster/driver/shim"
)

// Watch implements driver.Driver. While somebody watches, the driver also keeps outputs bounded and renews certificates.
func (d *Driver) Watch(ctx context.Context) <-chan string {
	return d.watchers.Watch(ctx, shim.Source{
		Running: d.running,
		Shim:    func(id string) shim.Shim { return d.carrier(id).shim() },
		Upkeep:  d.keep,
		Logger:  d.logger,
	})
}

func (d *Driver) running(ctx context.Context) ([]string, error) {
	all, err := d.List(ctx)
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, status := range all {
		if status.Condition == driver.Running {
			ids = append(ids, status.ID)
		}
	}
	return ids, nil
}

// keep does the upkeep of every concentrator.
func (d *Driver) keep(ctx context.Context) {
	running, err := d.running(ctx)
	if err != nil {
		d.logger.Warn("upkeep put off", "error", err)
		return
	}
	for _, id := range running {
		c := d.carrier(id)
		c.shim().Bound()
		if err := d.identify(ctx, c); err != nil {
			d.logger.Error("certificate not renewed", "cnci", c.id, "error", err)
		}
	}
}
