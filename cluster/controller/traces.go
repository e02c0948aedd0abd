package controller

import (
	"container/list"
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/payload"
	"github.com/ciaocloud/ciao/cluster/store"
	"github.com/ciaocloud/ciao/ssntp"
)

// How many commands' ways are remembered. A node tells them, and one that lies must not push out what others told: an instance has a share, and
// so has each node for instances that are not there (they may be gone, or it may have made them up).
const (
	keptTraces     = 4096 // of all instances
	keptOfInstance = 64   // of one that is on the node that tells
	keptOfNode     = 64   // of all that one node tells of instances that are not there
)

// traces remembers the ways of the latest commands.
type traces struct {
	mu     sync.Mutex
	kept   list.List                  // of keptTrace, oldest first
	shares map[string][]*list.Element // of kept, oldest first, by instance or node
}

type keptTrace struct {
	share string
	trace payload.Trace
}

// put remembers a way within a share of at most so many.
func (t *traces) put(share string, most int, one payload.Trace) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.shares == nil {
		t.shares = map[string][]*list.Element{}
	}
	switch own := t.shares[share]; {
	case len(own) >= most:
		t.forget(own[0])
	case t.kept.Len() >= keptTraces:
		t.forget(t.kept.Front())
	}
	t.shares[share] = append(t.shares[share], t.kept.PushBack(keptTrace{share, one}))
}

// forget removes the oldest of a share. t.mu is held.
func (t *traces) forget(oldest *list.Element) {
	share := valueOf(oldest).share
	if t.shares[share] = t.shares[share][1:]; len(t.shares[share]) == 0 {
		delete(t.shares, share)
	}
	t.kept.Remove(oldest)
}

func valueOf(e *list.Element) keptTrace {
	value, _ := e.Value.(keptTrace) // put has put nothing else there
	return value
}

// of lists those of an instance, oldest first.
func (t *traces) of(instance string) (found []payload.Trace) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for e := t.kept.Front(); e != nil; e = e.Next() {
		if one := valueOf(e).trace; one.Instance() == instance {
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
	node := f.Source.String()
	err = c.view(context.Background(), func(r store.Reader) error { // of the memory: it waits for nothing
		for _, one := range told {
			instance, err := instances.Get(r, one.Instance())
			switch {
			case err != nil || instance.Node == "":
				c.traces.put("node "+node, keptOfNode, one)
			case instance.Node == node: // another node tells of its own itself
				c.traces.put(instance.ID, keptOfInstance, one)
			}
		}
		return nil
	})
	if err != nil {
		c.logger.Debug("cannot keep the ways of commands", slog.Any("node", f.Source), slog.Any("error", err))
	}
}

// Traces lists the ways of the latest commands to an instance, oldest first, as far as this controller remembers them. An operator may ask
// by its id for one that is gone. Errors are those of Instance.
func (c *Controller) Traces(ctx context.Context, scope, ref string) (ways []cluster.Trace, err error) {
	instance, err := c.Instance(ctx, scope, ref)
	id := instance.ID
	if err != nil {
		if id = ref; scope != Operator || len(c.traces.of(id)) == 0 {
			return nil, err
		}
	}
	err = c.view(ctx, func(r store.Reader) error {
		for _, one := range c.traces.of(id) {
			ways = append(ways, traceOf(r, one))
		}
		return nil
	})
	return ways, err
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
