package controller

import (
	"errors"
	"testing"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/payload"
	"github.com/ciaocloud/ciao/cluster/store"
)

// Of two that would lead, each places another member of a group that has no node yet: the second must see what the first did.
func TestTwoLeadersDoNotSplitAGroup(t *testing.T) {
	for _, kind := range []string{"together", "spread"} {
		t.Run(kind, func(t *testing.T) {
			inWorld(t, func(w *world) {
				nodes := []string{w.fake.order[0], w.fake.addNode(2)}
				if kind == "spread" {
					nodes[1] = nodes[0]
				}
				w.require("member", func(r *cluster.Requirements) {
					if kind == "spread" {
						r.Spread = "g"
					} else {
						r.Together = "g"
					}
				})
				w.fake.refuse = func(r payload.PlacementRequest) *payload.PlacementFailure {
					if r.Together+r.Spread == "" {
						return nil
					}
					return &payload.PlacementFailure{Instance: r.Instance, Generation: r.Generation, Reason: "not yet"}
				}
				w.createOf("member", "m", 2)
				w.untilState(cluster.Pending, 2)
				w.halt()
				w.raceToPlace(nodes)
				w.open(w.memory.Backend())
				w.checkGroups()
				w.lead()
			})
		})
	}
}

// raceToPlace has two stores of the same rows record a node for an instance each, the second while the first has read and not yet written.
func (w *world) raceToPlace(nodes []string) {
	w.t.Helper()
	one, other := w.openAnother(), w.openAnother()
	defer one.Close()
	defer other.Close()
	members := w.members(one)
	record := func(k int) edit {
		r := &reconciler{}
		r.placed(payload.Placed{Decisions: []payload.Decision{{Instance: members[k].ID, Generation: members[k].Generation, Node: nodes[k]}}})
		return r.edits[0]
	}
	attempts := 0
	_, err := one.Update(w.ctx, func(tx store.Tx) error {
		_, err := record(0).apply(tx)
		if attempts++; attempts == 1 {
			_, raced := other.Update(w.ctx, func(tx store.Tx) error { _, err := record(1).apply(tx); return err })
			err = errors.Join(err, raced)
		}
		return err
	})
	if err != nil || attempts != 2 {
		w.t.Errorf("the first recorded after %d attempts (%v), want it to see that it lost", attempts, err)
	}
}

// openAnother opens the rows as another process would.
func (w *world) openAnother() *store.DB {
	w.t.Helper()
	db, err := store.Open(w.ctx, w.memory.Backend(), Schema(), nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return db
}

func (w *world) members(db *store.DB) (list []cluster.Instance) {
	w.t.Helper()
	if err := db.View(w.ctx, func(r store.Reader) error {
		for i := range visible(r, w.tenant.ID) {
			list = append(list, i)
		}
		return nil
	}); err != nil || len(list) != 2 {
		w.t.Fatalf("%d members (%v), want two", len(list), err)
	}
	return list
}
