package controller

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/payload"
	"github.com/ciaocloud/ciao/cluster/store"
	"github.com/ciaocloud/ciao/ssntp"
)

// maxStrays is how many strays a node is told of at a time, within one transaction; the others follow.
const maxStrays = store.MaxOperations / 2

// inspectVolumes has a node delete volumes that are nobody's. A volume has a row before any node is told of it, and keeps it until its node has
// deleted it; so what has none was given up while its node was away. A restored store does not know what is younger than its backup, which stays
// until that is settled.
func (r *reconciler) inspectVolumes(node string, ids []string) {
	var unknown []string
	r.peek(func(view store.Reader) {
		for _, id := range ids {
			if cluster.ValidID(id) && !volumes.Has(view, id) && len(unknown) < maxStrays {
				unknown = append(unknown, id)
			}
		}
	})
	if unknown == nil {
		return
	}
	r.edits = append(r.edits, edit{cost: len(unknown) + 2, apply: func(tx store.Tx) (func(), error) {
		if restorations.Has(tx, lastRestoration) {
			return r.leaveStrays(tx, node)
		}
		for range batches.All(tx) {
			return nil, nil // it may yet bring the rows of volumes that a node has from before the store was restored
		}
		strays := slices.DeleteFunc(slices.Clone(unknown), func(id string) bool { return volumes.Has(tx, id) })
		return func() { r.deleteStrays(node, strays) }, r.tellStrays(tx, node, strays)
	}})
}

// leaveStrays tells, once, that a node keeps what a restored store does not know.
func (r *reconciler) leaveStrays(tx store.Tx, node string) (func(), error) {
	if r.keepers[node] {
		return nil, nil
	}
	event := newEvent(cluster.Warning, "Unknown", fmt.Sprintf(
		"Node %s has volumes that the restored store does not know; they are kept until `ciao store settle`.", node))
	event.Node = node
	return func() { r.keepers[node] = true }, putEvent(tx, event)
}

// tellStrays tells of strays, once. As the transaction writes something, it fails if another controller has made a row of one meanwhile.
func (r *reconciler) tellStrays(tx store.Tx, node string, ids []string) error {
	told := r.peer(node).strays
	ids = slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return told[id] })
	if len(ids) == 0 {
		return nil
	}
	const named = 4
	list, what := strings.Join(ids[:min(len(ids), named)], ", "), "a volume that nobody knows, and is told to delete it"
	if len(ids) > 1 {
		what = fmt.Sprintf("%d volumes that nobody knows, and is told to delete them", len(ids))
	}
	if len(ids) > named {
		list += " and others, which its log names"
	}
	event := newEvent(cluster.Warning, "StrayVolumes", fmt.Sprintf("Node %s has %s: %s.", node, what, list))
	event.Node = node
	return putEvent(tx, event)
}

func (r *reconciler) deleteStrays(node string, ids []string) {
	p := r.peer(node)
	if p.strays == nil || len(p.strays) > maxStrays {
		p.strays = map[string]bool{}
	}
	for _, id := range ids {
		p.strays[id] = true
		r.order(ssntp.Volume, node, payload.VolumeOrder{Volume: payload.Volume{ID: id}, Delete: true, Stray: true})
	}
	if len(ids) == maxStrays {
		r.inspectAgain(node)
	}
}

// inspectAgain has a node asked again soon for what it has.
func (r *reconciler) inspectAgain(node string) {
	r.deadlines.set(subject{ofStrays, node}, time.Now().Add(r.timing.Answer))
}

// strayReport hears what became of a stray. One that an instance has, which nobody knows either, is told of again when that may be gone.
func (r *reconciler) strayReport(node string, report payload.VolumeReport) {
	level, what := slog.LevelInfo, "a node has deleted a volume that nobody knew"
	switch report.State {
	case cluster.VolumeAttached:
		r.inspectAgain(node)
		return
	case cluster.VolumeFailed:
		level, what = slog.LevelWarn, "a node cannot delete a volume that nobody knows; it is told again"
	}
	r.log.Log(context.Background(), level, what,
		slog.String("node", node), slog.String("volume", clip(report.Volume)), slog.String("reason", clip(report.Reason)))
}
