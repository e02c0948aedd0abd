package launcher_test

import (
	"testing"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/payload"
	"github.com/ciaocloud/ciao/ssntp"
)

// The controller is told which way each traced command took, with the times of every daemon on it.
func TestWaysOfCommandsAreTold(t *testing.T) {
	w := newWorld(t)
	n := w.node()
	n.run()
	n.ready()
	s := newStart(7)
	id, err := ssntp.ParseID(s.Instance)
	if err != nil {
		t.Fatal(err)
	}
	data, err := payload.Encode(s)
	if err != nil {
		t.Fatal(err)
	}
	trace := &ssntp.Trace{TraceID: id, ParentID: [8]byte{7: 7}, Flags: 1}
	if err := w.controller.Send(t.Context(), ssntp.Frame{Operand: ssntp.Start, Destination: n.id, Payload: data, Trace: trace}); err != nil {
		t.Fatal(err)
	}
	w.becomes(s.Instance, cluster.Active)
	n.eventually("the way of the start", func() bool { return len(w.traces) == 1 })
	way := w.traces[0]
	if way.Instance() != s.Instance || way.Generation() != 7 || ssntp.Operand(way.Operand) != ssntp.Start || len(way.Hops) != 3 {
		t.Fatalf("way is %+v", way)
	}
	if way.Hops[0].ID != w.controller.Identity().ID || way.Hops[2].ID != n.id || way.Hops[2].Sent != 0 {
		t.Errorf("hops are %+v", way.Hops)
	}
	for i, hop := range way.Hops {
		if hop.Received == 0 || i < 2 && hop.Sent < hop.Received {
			t.Errorf("hop %d is %+v", i, hop)
		}
	}
}
