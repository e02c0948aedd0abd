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
	node, one := ssntp.NewID().String(), ssntp.NewID().String()
	for generation := range uint64(keptOfInstance + 3) {
		kept.put(one, keptOfInstance, wayTo(t, node, one, generation))
	}
	found := kept.of(one)
	if len(found) != keptOfInstance || found[0].Generation() != 3 || found[len(found)-1].Generation() != keptOfInstance+2 {
		t.Errorf("%d are kept of one instance, from %d to %d", len(found), found[0].Generation(), found[len(found)-1].Generation())
	}
	for range keptTraces - 1 {
		other := ssntp.NewID().String()
		kept.put(other, keptOfInstance, wayTo(t, node, other, 1))
	}
	found = kept.of(one)
	if kept.kept.Len() != keptTraces || len(found) != 1 || found[0].Generation() != keptOfInstance+2 || len(kept.shares) != keptTraces {
		t.Errorf("%d are kept in %d shares, and of the first instance %+v", kept.kept.Len(), len(kept.shares), found)
	}
}

// TestInventedTraces: a node that makes instances up, or has told of one a thousand times, takes nothing from what others told.
func TestInventedTraces(t *testing.T) {
	inWorld(t, func(w *world) {
		w.create(2, "web")
		w.untilState(cluster.Active, 2)
		all := w.instances()
		liar := w.fake.addNode(2)
		w.fake.with(func() {
			w.fake.tell(all[0].Node, ssntp.TraceReport, payload.TraceReport{Traces: []payload.Trace{wayTo(t, all[0].Node, all[0].ID, 3)}})
			for range 50 {
				var made []payload.Trace
				for range 200 {
					made = append(made, wayTo(t, liar, ssntp.NewID().String(), 1), wayTo(t, liar, all[0].ID, 9))
				}
				w.fake.tell(liar, ssntp.TraceReport, payload.TraceReport{Traces: made})
				var often []payload.Trace
				for range 200 {
					often = append(often, wayTo(t, all[1].Node, all[1].ID, 4))
				}
				w.fake.tell(all[1].Node, ssntp.TraceReport, payload.TraceReport{Traces: often})
			}
		})
		time.Sleep(time.Second)
		found, err := w.c.Traces(w.ctx, Operator, all[0].ID)
		if err != nil || len(found) != 1 || found[0].Generation != 3 {
			t.Errorf("the traces of an instance are %+v, %v", found, err)
		}
		w.c.traces.mu.Lock()
		defer w.c.traces.mu.Unlock()
		if n := w.c.traces.kept.Len(); n != 1+keptOfNode+keptOfInstance {
			t.Errorf("%d are kept", n)
		}
	})
}
