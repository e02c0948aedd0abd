package controller

import (
	"encoding/binary"
	"errors"
	"testing"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/payload"
	"github.com/ciaocloud/ciao/ssntp"
)

// wayTo is the way of a start to a node.
func wayTo(t *testing.T, node, instance string, generation uint64) payload.Trace {
	t.Helper()
	id, err := ssntp.ParseID(instance)
	end, err2 := ssntp.ParseID(node)
	if err != nil || err2 != nil {
		t.Fatal(err, err2)
	}
	way := payload.Trace{Operand: uint16(ssntp.Start), TraceID: id, Hops: []payload.Hop{
		{ID: ssntp.NewID(), Received: 1000, Sent: 2000}, {ID: ssntp.NewID(), Received: 5000, Sent: 6000}, {ID: end, Received: 9000},
	}}
	binary.BigEndian.PutUint64(way.ParentID[:], generation)
	return way
}

func TestTraces(t *testing.T) {
	inWorld(t, func(w *world) {
		w.create(1, "web")
		w.untilState(cluster.Active, 1)
		one := w.instances()[0]
		other := w.addTenant("other")
		stranger := ssntp.NewID().String()
		forged := wayTo(t, stranger, one.ID, 7)
		w.fake.with(func() {
			w.fake.tell(one.Node, ssntp.TraceReport, payload.TraceReport{Traces: []payload.Trace{
				forged, {TraceID: forged.TraceID}, wayTo(t, one.Node, one.ID, 3), wayTo(t, one.Node, ssntp.NewID().String(), 1),
			}})
			w.fake.tell(stranger, ssntp.TraceReport, payload.TraceReport{Traces: []payload.Trace{forged}}) // of another node's instance
		})
		time.Sleep(time.Second)
		found, err := w.c.Traces(w.ctx, w.tenant.ID, one.Name)
		if err != nil || len(found) != 1 {
			t.Fatalf("traces are %+v, %v", found, err)
		}
		got := found[0]
		if got.Command != "Start" || got.Generation != 3 || len(got.Hops) != 3 || got.Hops[0].Name != "controller" || got.Hops[1].Name != "scheduler" ||
			got.Hops[2].Name != "node-01" || got.Hops[1].Received.Sub(got.Hops[0].Sent) != 3*time.Microsecond || !got.Hops[2].Sent.IsZero() {
			t.Errorf("trace is %+v", got)
		}
		if _, err := w.c.Traces(w.ctx, other.ID, one.ID); !errors.Is(err, cluster.ErrNotFound) {
			t.Errorf("another tenant's: %v", err)
		}
		if _, err := w.c.DeleteInstance(w.ctx, w.tenant.ID, one.ID); err != nil {
			t.Fatal(err)
		}
		w.until("it is gone", func() bool { return len(w.instances()) == 0 })
		if _, err := w.c.Traces(w.ctx, w.tenant.ID, one.ID); !errors.Is(err, cluster.ErrNotFound) {
			t.Errorf("one that is gone, as a user: %v", err)
		}
		if found, err := w.c.Traces(w.ctx, Operator, one.ID); err != nil || len(found) != 1 {
			t.Errorf("one that is gone, as an operator: %+v, %v", found, err)
		}
	})
}

func TestOldTracesAreForgotten(t *testing.T) {
	var kept traces
	node, one, other := ssntp.NewID().String(), ssntp.NewID().String(), ssntp.NewID().String()
	for generation := range uint64(keptTraces + 3) {
		instance := other
		if generation%2 == 0 {
			instance = one
		}
		kept.put([]payload.Trace{wayTo(t, node, instance, generation)})
	}
	found := kept.of(one)
	if len(kept.kept) != keptTraces || len(found) != keptTraces/2 || found[0].Generation() != 4 || found[len(found)-1].Generation() != keptTraces+2 {
		t.Errorf("%d are kept, %d of one instance, from %d to %d", len(kept.kept), len(found), found[0].Generation(), found[len(found)-1].Generation())
	}
}
