package controller

import (
	"slices"
	"testing"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/ssntp"
)

// reasonsOf lists the reasons of a node's events, oldest first.
func reasonsOf(w *world, node string) (reasons []string) {
	w.t.Helper()
	list, _, err := w.c.Events(w.ctx, Operator, EventFilter{Node: node})
	if err != nil {
		w.t.Fatal(err)
	}
	for _, event := range list {
		if event.Instance == "" {
			reasons = append(reasons, event.Reason)
		}
	}
	return reasons
}

// TestNodeSaysWhyItTakesNothing: the operator reads which part of a node does not work, and an event tells of it once; that a node is full
// tells itself.
func TestNodeSaysWhyItTakesNothing(t *testing.T) {
	inWorld(t, func(w *world) {
		id := w.fake.addNode(2)
		tell := func(operand ssntp.Operand, reason string, impaired bool) cluster.Node {
			t.Helper()
			w.fake.with(func() {
				status := w.fake.status(w.fake.nodes[id])
				status.Reason, status.Impaired = reason, impaired
				w.fake.tell(id, operand, status)
			})
			var n cluster.Node
			w.until("the node's word", func() bool {
				var err error
				n, err = w.c.Node(w.ctx, id)
				return err == nil && n.State == nodeState(operand) && n.Reason == reason
			})
			return n
		}
		tell(ssntp.Ready, "", false)
		before := reasonsOf(w, id)
		if n := tell(ssntp.Full, "the engine is down", true); !n.Impaired {
			t.Errorf("node %+v is not impaired", n)
		}
		tell(ssntp.Full, "the engine is down", true)
		if n := tell(ssntp.Full, "2 MiB are left", false); n.Impaired {
			t.Errorf("node %+v is impaired for want of room", n)
		}
		tell(ssntp.Ready, "", false)
		tell(ssntp.Full, "1 MiB is left", false)
		if told := reasonsOf(w, id)[len(before):]; !slices.Equal(told, []string{"NodeImpaired", "NodeRecovered"}) {
			t.Errorf("the events are %v", told)
		}
		w.fake.disconnect(id)
		w.until("the node's absence", func() bool {
			n, err := w.c.Node(w.ctx, id)
			return err == nil && n.State == cluster.NodeMissing && n.Reason == ""
		})
	})
}
