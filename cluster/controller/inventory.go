package controller

import (
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/payload"
	"github.com/ciaocloud/ciao/cluster/store"
)

// inventory compares all that a node has with what is recorded on it.
func (r *reconciler) inventory(node string, body payload.Inventory, came time.Time) {
	if body.Part == 0 {
		r.nodeArrived(node, body.State, body.Node)
	}
	r.inspectVolumes(node, body.Volumes)
	p := r.peer(node)
	if body.Part == 0 || p.parts == nil {
		p.parts = map[int][]payload.InstanceReport{}
	}
	p.parts[body.Part] = body.Instances
	for _, report := range body.Instances {
		r.report(node, report, came)
	}
	if body.Part+1 < body.Parts || len(p.parts) < max(body.Parts, 1) {
		return
	}
	present, reports := map[string]bool{}, map[string]payload.InstanceReport{}
	for _, part := range p.parts {
		for _, report := range part {
			present[report.Instance] = true
			reports[report.Instance] = report
		}
	}
	p.parts = nil
	r.spoke(node, present)
	r.answers(node, reports)
	r.missingFrom(node, present, came)
}

// missingFrom deals with instances that are recorded on a node and not in its inventory: they start there again, or have stopped.
func (r *reconciler) missingFrom(node string, present map[string]bool, came time.Time) {
	r.peek(func(view store.Reader) {
		for i := range instances.By(view, byNode, node) {
			if _, matters := absent(i); matters && !present[i.ID] {
				r.report(node, payload.InstanceReport{Instance: i.ID, Generation: i.Generation, State: cluster.Gone}, came)
			}
			r.dirty[i.ID] = true
		}
	})
}
