package controller

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/payload"
	"github.com/ciaocloud/ciao/cluster/store"
	"github.com/ciaocloud/ciao/ssntp"
)

// keptTraces bounds how many commands' ways are remembered, of all instances.
const keptTraces = 4096

// traces remembers the ways of the latest commands.
type traces struct {
	mu    sync.Mutex
	kept  []payload.Trace
	first int // the oldest, once there are keptTraces
}

func (t *traces) put(all []payload.Trace) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, one := range all {
		if len(t.kept) < keptTraces {
			t.kept = append(t.kept, one)
			continue
		}
		t.kept[t.first] = one
		t.first = (t.first + 1) % keptTraces
	}
}

// of lists those of an instance, oldest first.
func (t *traces) of(instance string) (found []payload.Trace) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range t.kept {
		if one := t.kept[(t.first+i)%len(t.kept)]; one.Instance() == instance {
			found = append(found, one)
		}
	}
	return found
}

// traced lets a command to an instance be followed through the cluster. The id of the trace is that of the instance, so that logs are
// searched for one thing, and its parent is the generation.
func traced(body any) *ssntp.Trace {
	var instance string
	var generation uint64
	switch command := body.(type) {
	case payload.Start:
		instance, generation = command.Instance, command.Generation
	case payload.Stop:
		instance, generation = command.Instance, command.Generation
	case payload.Delete:
		instance, generation = command.Instance, command.Generation
	default:
		return nil
	}
	id, err := ssntp.ParseID(instance)
	if err != nil {
		return nil // nothing to follow: the launcher refuses it
	}
	trace := &ssntp.Trace{TraceID: id, Flags: 1}
	binary.BigEndian.PutUint64(trace.ParentID[:], generation)
	return trace
}

// receiveTraces keeps what a node tells of commands that it got itself, to instances that are not another node's.
func (c *Controller) receiveTraces(f ssntp.Frame) {
	body, err := payload.Decode[payload.TraceReport](f.Payload)
	if err != nil {
		c.unreadable(f, err)
		return
	}
	told := slices.DeleteFunc(body.Traces, func(t payload.Trace) bool {
		return len(t.Hops) == 0 || len(t.Hops) > payload.MaxTraceHops || ssntp.ID(t.Hops[len(t.Hops)-1].ID) != f.Source
	})
	err = c.view(context.Background(), func(r store.Reader) error { // of the memory: it waits for nothing
		told = slices.DeleteFunc(told, func(t payload.Trace) bool {
			instance, err := instances.Get(r, t.Instance())
			return err == nil && instance.Node != "" && instance.Node != f.Source.String() // another node's, which tells itself
		})
		return nil
	})
	if err == nil {
		c.traces.put(told)
	}
}

// Traces lists the ways of the latest commands to an instance, oldest first, as far as this controller remembers them. An operator may ask
// by its id for one that is gone. Errors are those of Instance.
func (c *Controller) Traces(ctx context.Context, scope, ref string) (list []cluster.Trace, err error) {
	instance, err := c.Instance(ctx, scope, ref)
	id := instance.ID
	if err != nil {
		if id = ref; scope != Operator || len(c.traces.of(id)) == 0 {
			return nil, err
		}
	}
	err = c.view(ctx, func(r store.Reader) error {
		for _, one := range c.traces.of(id) {
			list = append(list, traceOf(r, one))
		}
		return nil
	})
	return list, err
}

func traceOf(r store.Reader, t payload.Trace) cluster.Trace {
	way := ssntp.Trace{TraceID: t.TraceID, ParentID: t.ParentID, Flags: 1}
	trace := cluster.Trace{Command: ssntp.Operand(t.Operand).String(), Generation: t.Generation(), Traceparent: way.Traceparent()}
	for i, hop := range t.Hops {
		trace.Hops = append(trace.Hops, cluster.TraceHop{
			ID: ssntp.ID(hop.ID).String(), Name: hopName(r, i, len(t.Hops), ssntp.ID(hop.ID).String()), Received: moment(hop.Received), Sent: moment(hop.Sent),
		})
	}
	return trace
}

// hopName is what a hop is: commands come from a controller and end at a node.
func hopName(r store.Reader, i, hops int, id string) string {
	switch i {
	case hops - 1:
		if row, err := nodes.Get(r, id); err == nil {
			return nodeName(row)
		}
		return fmt.Sprintf("node %s", id)
	case 0:
		return "controller"
	}
	return "scheduler"
}

// moment reads nanoseconds since 1970; 0 is none.
func moment(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns).UTC()
}
