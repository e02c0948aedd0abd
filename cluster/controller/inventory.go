package controller

import (
	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/payload"
	"github.com/ciaocloud/ciao/cluster/store"
)

// inventory compares all that a node has with what is recorded on it.
func (r *reconciler) inventory(node string, body payload.Inventory) {
	if body.Part == 0 {
		r.nodeArrived(node, body.State, body.Node)
	}
	p := r.peer(node)
	if body.Part == 0 || p.parts == nil {
		p.parts = map[int][]payload.InstanceReport{}
	}
	p.parts[body.Part] = body.Instances
	for _, report := range body.Instances {
		r.report(node, report)
	}
	if body.Part+1 < body.Parts || len(p.parts) < max(body.Parts, 1) {
		return
	}
	present := map[string]bool{}
	for _, part := range p.parts {
		for _, report := range part {
			present[report.Instance] = true
		}
	}
	p.parts = nil
	r.spoke(node, present)
	r.missingFrom(node, present)
}

// missingFrom deals with instances that are recorded on a node and not in its inventory: they start there again, or have stopped.
func (r *reconciler) missingFrom(node string, present map[string]bool) {
	r.peek(func(view store.Reader) {
		for i := range instances.By(view, byNode, node) {
			if _, matters := absent(i); matters && !present[i.ID] {
				r.report(node, payload.InstanceReport{Instance: i.ID, Generation: i.Generation, State: cluster.Gone})
			}
			r.dirty[i.ID] = true
		}
	})
}
