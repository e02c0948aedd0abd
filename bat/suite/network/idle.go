package network

import (
	"context"
	"fmt"
	"time"

	"github.com/ciaocloud/ciao/bat"
)

// longestIdle is how long the test waits for a CNCI that nobody uses.
const longestIdle = time.Minute

func idleCNCI(ctx context.Context, t *bat.T) {
	idle := t.Cluster.Access.CNCIIdle
	if idle == 0 || idle > longestIdle {
		t.Skipf("this machine does not have the cluster's file, or its controller.cnci_idle is longer than %s", longestIdle)
	}
	tenant := t.Tenant(ctx)
	last := tenant.Sleepers(ctx, "last")[0]
	before, err := tenant.API.CNCIs(ctx)
	t.Need(err, "list CNCIs")
	began := time.Now() // before it can be idle
	tenant.Delete(ctx, last)
	t.Until(ctx, idle+bat.SettleTime, "the CNCI is gone", func(ctx context.Context) (bool, string) {
		left, err := tenant.API.CNCIs(ctx)
		return err == nil && len(left) == 0, fmt.Sprintf("%+v %v", left, err)
	})
	if kept := time.Since(began); kept < idle {
		t.Errorf("the CNCI was gone after %s, though its idle time is %s", kept, idle)
	}
	next := tenant.Sleepers(ctx, "next")[0]
	after, err := tenant.API.CNCIs(ctx)
	t.Need(err, "list CNCIs")
	if len(before) != 1 || len(after) != 1 || before[0].ID == after[0].ID {
		t.Errorf("the CNCIs were %+v and are %+v, expected another one", before, after)
	}
	tenant.Probe(ctx,
		bat.Step{Name: "the gateway answers at once", Script: `ping -c 1 -W 2 "$gateway"`},
		bat.Works("it knows the name of the instance", `resolves next "$gateway" `+address(next)))
}
