package launcher_test

import (
	"slices"
	"testing"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/ssntp"
)

// A node in maintenance keeps what it has and takes nothing new, also after a restart, until it is told otherwise.
func TestMaintenance(t *testing.T) {
	w := newWorld(t)
	n := w.node()
	n.run()
	n.ready()
	has, wants := newStart(1), newStart(1)
	w.send(ssntp.Start, n.id.String(), has)
	w.becomes(has.Instance, cluster.Active)

	w.send(ssntp.Evacuate, n.id.String(), struct{}{})
	w.eventually("maintenance", func() bool { return slices.Contains(w.operands, ssntp.Maintenance) })
	w.send(ssntp.Start, n.id.String(), wants)
	w.becomes(wants.Instance, cluster.Gone)

	n.stop()
	n.run()
	w.eventually("an inventory of a node in maintenance", func() bool {
		return w.listed[len(w.listed)-1].State == cluster.NodeMaintenance
	})
	if state := w.state(has.Instance).State; state != cluster.Active {
		t.Errorf("what the node has is %s", state)
	}

	w.change(func() { w.operands = nil })
	w.send(ssntp.Restore, n.id.String(), struct{}{})
	n.ready()
	w.send(ssntp.Start, n.id.String(), wants)
	w.becomes(wants.Instance, cluster.Active)
}
