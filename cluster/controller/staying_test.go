package controller

import (
	"strings"
	"testing"

	"github.com/ciaocloud/ciao/cluster"
)

// require makes a workload of the given name and requirements.
func (w *world) require(name string, change func(*cluster.Requirements)) {
	w.t.Helper()
	spec := containerSpec()
	change(&spec.Requirements)
	if _, err := w.c.CreateWorkload(w.ctx, Operator, WorkloadRequest{Name: name, Spec: spec}); err != nil {
		w.t.Fatal(err)
	}
}

// createOf creates instances of a workload.
func (w *world) createOf(workload, name string, count int) {
	w.t.Helper()
	if _, err := w.c.CreateInstances(w.ctx, w.tenant.ID, InstanceRequest{Workload: workload, Count: count, Name: name}); err != nil {
		w.t.Fatal(err)
	}
}

func TestWhatFitsNowhereElseStays(t *testing.T) {
	inWorld(t, func(w *world) {
		first := w.fake.order[0]
		w.fake.with(func() { w.fake.nodes[first].labels = map[string]string{"zone": "a"} })
		w.fake.disconnect(first)
		w.fake.reconnect(first)
		w.until("the label is known", func() bool {
			n, _ := w.c.Node(w.ctx, first)
			return n.Labels["zone"] == "a" && n.State == cluster.NodeReady
		})
		w.require("node", func(r *cluster.Requirements) { r.Node = first })
		w.require("hostname", func(r *cluster.Requirements) { r.Hostname = "node-01" })
		w.require("labels", func(r *cluster.Requirements) { r.Labels = map[string]string{"zone": "a"} })
		w.require("spread", func(r *cluster.Requirements) { r.Spread = "s" })
		w.require("pinned", func(r *cluster.Requirements) { r.Together, r.Node = "g", first })
		w.require("member", func(r *cluster.Requirements) { r.Together = "g" })
		for _, name := range []string{"node", "hostname", "labels", "spread", "pinned", "member", "web"} {
			w.createOf(name, name, 1)
		}
		w.untilState(cluster.Active, 7)
		second := w.fake.addNode(2)
		w.createOf("spread", "other", 1)
		w.until("the other is on the second node", func() bool { return w.instance("other").Node == second && w.instance("other").State == cluster.Active })
		before := w.instances()
		w.evacuate(first, false)
		w.until("what can leave has left", func() bool {
			return w.instance("web").Node == second && w.instance("web").State == cluster.Active
		})
		n, err := w.c.Node(w.ctx, first)
		if err != nil {
			t.Fatal(err)
		}
		reasons := map[string]string{}
		for _, stay := range n.Staying {
			reasons[stay.Name] = stay.Reason
		}
		for name, word := range map[string]string{
			"node": "not the wanted node", "hostname": "host name", "labels": "labels", "spread": "another instance of its group",
			"pinned": "not the wanted node", "member": "not the wanted node",
		} {
			if !strings.Contains(reasons[name], word) {
				t.Errorf("%s: the reason is %q, want one with %q", name, reasons[name], word)
			}
			if now := w.instance(name); now.State != cluster.Active || now.Node != first {
				t.Errorf("%s is %s on %s: it was torn down", name, now.State, now.Node)
			}
		}
		if len(reasons) != 6 {
			t.Errorf("those that stay are %v", reasons)
		}
		for _, then := range before {
			if now := w.instance(then.ID); then.Name != "web" && now.Generation != then.Generation {
				t.Errorf("%s was started again", now.Name)
			}
		}
		// As soon as another node will do, they leave.
		w.fake.with(func() { w.fake.nodes[second].labels = map[string]string{"zone": "a"} })
		w.fake.disconnect(second)
		w.fake.reconnect(second)
		if _, err := w.c.DeleteInstance(w.ctx, w.tenant.ID, "other"); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"labels", "spread"} {
			w.until(name+" has left", func() bool { return w.instance(name).Node == second && w.instance(name).State == cluster.Active })
		}
	})
}
