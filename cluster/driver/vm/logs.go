package vm

import (
	"context"
	"fmt"
	"io"

	"github.com/ciaocloud/ciao/cluster"
)

// maxOutput bounds each of the two files that keep what a guest prints on its console, in bytes.
const maxOutput = 4 << 20

// Logs implements driver.Logger: what the guest printed on its serial console, and QEMU's own complaints.
func (d *Driver) Logs(ctx context.Context, id string, lines int, follow bool, w io.Writer) error {
	c := d.carrier(id)
	if !c.has(machineFile) {
		return fmt.Errorf("%w: there is no instance %s on this node", cluster.ErrNotFound, id)
	}
	return c.shim().Logs(ctx, lines, follow, w)
}
