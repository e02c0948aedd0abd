package controller

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/quota"
	"github.com/ciaocloud/ciao/cluster/store"
)

// An instance of a workload with drain: start-first that leaves its node is replaced: a new instance of the same recipe is started elsewhere, and
// the old one is stopped and deleted when the new one is active. Each step is one transaction over both rows, so that whoever is
// killed in between, one of the two stays, and which one follows from the rows alone:
//
//	old.Replacement = new, new.Replaces = old     the new one is to come up; until it is active, the old one is the one that counts
//	old.Retired, new.Replaces = ""                the new one counts and has the external IPs and named ports; the old one is stopped, then deleted
//
// A new one whose old one does not leave after all is deleted.

// succession is what is known of an instance's replacement, and of the one that it replaces.
type succession struct {
	found    bool // the replacement is there
	state    cluster.State
	forsaken bool // the instance is a replacement of one that does not need it
}

func (r *reconciler) successionOf(view store.Reader, i cluster.Instance) (s succession) {
	if i.Replacement != "" {
		next, err := instances.Get(view, i.Replacement)
		s.found = err == nil && next.Desired == cluster.WantActive
		s.state = next.State
	}
	if i.Replaces != "" {
		old, err := instances.Get(view, i.Replaces)
		s.forsaken = err != nil || forsakes(old, i, r.peer(old.Node).evacuated)
	}
	return s
}

// forsakes says whether an instance does not need its replacement any more. evacuated says that its node, if any, is to be left.
func forsakes(old, next cluster.Instance, evacuated bool) bool {
	switch {
	case old.Desired != cluster.WantActive, old.Replacement != next.ID, ended(old.State):
		return true
	case old.Node == "": // its node was lost: it goes elsewhere itself, unless the new one is there already
		return next.State != cluster.Active
	}
	return !evacuated
}

// replaceable says whether the instance starts elsewhere before it stops.
func replaceable(i cluster.Instance) bool {
	return i.Spec.Drain == cluster.StartFirst && i.Replaces == "" && i.Desired == cluster.WantActive
}

// succeed is for an active instance that leaves its node and starts elsewhere first.
func (d decider) succeed() decision {
	switch {
	case d.m.alone != "": // there is no room for both in the quota
		return d.mark(cluster.Stopping, clip(fmt.Sprintf("node %s is being evacuated, and nothing can be started beside it: %s", d.i.Node, d.m.alone)))
	case !d.s.next.found:
		return decision{action: replace}
	case d.s.next.state == cluster.Active:
		return decision{action: retire}
	}
	return decision{} // woken by what becomes of the replacement
}

// replaceInstance records a replacement beside the instance, with its reservations. What the quota does not allow is remembered.
func (r *reconciler) replaceInstance(then cluster.Instance) {
	r.edits = append(r.edits, edit{cost: replaceCost, apply: func(tx store.Tx) (func(), error) {
		old, err := instances.Get(tx, then.ID)
		if err != nil || !unchanged(then, old) || old.Replacement != then.Replacement {
			return nil, nil
		}
		next, usage, segments, err := successor(tx, old, time.Now().UTC())
		if errors.Is(err, cluster.ErrOverQuota) || errors.Is(err, cluster.ErrTooLarge) || errors.Is(err, cluster.ErrNoCapacity) || errors.Is(err, cluster.ErrConflict) {
			event := instanceEvent(old, cluster.Warning, "NotReplaced", clip("Instance "+old.Name+" stops before it starts elsewhere: "+err.Error()))
			return func() { r.memory(old.ID).alone = err.Error(); r.dirty[old.ID] = true }, putEvent(tx, event)
		}
		if err != nil {
			return nil, err
		}
		next, _ = cluster.Batch{ID: uuid.NewString(), Template: next, Count: 1, Segments: segments}.Instance(0)
		old.Replacement = next.ID
		message := fmt.Sprintf("Instance %s is to take over from %s, which leaves node %s.", next.Name, old.Name, old.Node)
		return nil, errors.Join(usages.Put(tx, usage), instances.Create(tx, next), instances.Put(tx, old),
			putEvent(tx, instanceEvent(next, cluster.Info, "Replacing", message)))
	}})
}

// replaceCost is the rows that a replacement changes: two instances, usage, subnet, its key, event.
const replaceCost = 6

// successor reserves what a replacement needs.
func successor(tx store.Tx, old cluster.Instance, now time.Time) (next cluster.Instance, usage usageRow, segments []cluster.BatchSegment, err error) {
	tenant, err := tenants.Get(tx, old.Tenant)
	if err != nil {
		return next, usage, nil, err
	}
	if usage, err = usages.Get(tx, old.Tenant); err != nil {
		return next, usage, nil, err
	}
	if usage.Usage, err = quota.Reserve(tenant.Quota, usage.Usage, old.Spec.Requirements.Resources(), 1); err != nil {
		return next, usage, nil, err
	}
	if segments, err = reserveAddresses(tx, tenant, 1, now); err != nil {
		return next, usage, nil, err
	}
	if at := segments[0]; at.Subnet != old.Subnet { // in the same one, it has what the old one had
		if err = claimPorts(tx, old.Spec, old.Tenant, segments); err != nil { // the refusal is recorded, and nothing else
			return next, usage, nil, errors.Join(err, releaseAddress(tx, cluster.Instance{Subnet: at.Subnet, Addresses: []netip.Addr{cluster.HostAddress(at.Prefix, at.Range.First)}}))
		}
	}
	next = cluster.Instance{
		Name: replacementName(tx, old), Tenant: old.Tenant, Workload: old.Workload, Kind: old.Kind, Spec: old.Spec, Labels: old.Labels,
		Desired: cluster.WantActive, State: cluster.Pending, Generation: 1, Created: now, Changed: now, Replaces: old.ID,
	}
	return next, usage, segments, nil
}

var replacementSuffix = regexp.MustCompile(`-r([0-9]{1,6})$`)

// replacementName is the name of the one that is replaced with the next free suffix -r1, -r2 and so on.
func replacementName(r store.Reader, old cluster.Instance) string {
	stem, count := old.Name, 0
	if found := replacementSuffix.FindStringSubmatch(stem); found != nil {
		stem = stem[:len(stem)-len(found[0])]
		count, _ = strconv.Atoi(found[1]) // digits, by the expression
	}
	for {
		count++
		suffix := fmt.Sprint("-r", count)
		batch := cluster.Batch{Count: 1, Template: cluster.Instance{Tenant: old.Tenant, Name: stem[:min(len(stem), 63-len(suffix))] + suffix}}
		if takenName(r, batch, pendingNames(r, old.Tenant)) == "" {
			return batch.Template.Name
		}
	}
}

// retireInstance hands over to the replacement: from here on it is the one that counts. One that has no node any more, because that was
// lost, is deleted at once.
func (r *reconciler) retireInstance(then cluster.Instance) {
	r.edits = append(r.edits, edit{cost: 5 + bequestCost*len(r.c.ExternalAddresses(then.ID)), apply: func(tx store.Tx) (func(), error) {
		old, err := instances.Get(tx, then.ID)
		if err != nil || !unchanged(then, old) {
			return nil, nil
		}
		next, err := instances.Get(tx, old.Replacement)
		if err != nil || next.State != cluster.Active || next.Desired != cluster.WantActive || next.Replaces != old.ID {
			return nil, nil
		}
		before, now := old, time.Now().UTC()
		next.Replaces, old.Retired = "", true
		reason := "instance " + next.Name + " has taken over"
		if old.Node == "" {
			old.Desired = cluster.WantDeleted
			enter(&old, cluster.Deleting, reason, now)
		} else {
			old.Desired = cluster.WantStopped
			enter(&old, cluster.Stopping, reason, now)
		}
		return nil, errors.Join(bequeath(tx, old, next), instances.Put(tx, next), putInstance(tx, before, old),
			putEvent(tx, instanceEvent(next, cluster.Info, "Replaced", fmt.Sprintf("Instance %s has taken over from %s.", next.Name, old.Name))))
	}})
}

// dismissInstance has an instance deleted that is not needed: a retired one that has stopped, or a replacement that was forsaken.
func (r *reconciler) dismissInstance(then cluster.Instance) {
	r.editInstance(then.ID, func(i *cluster.Instance) bool {
		if !unchanged(then, *i) || i.Retired != then.Retired || i.Replaces != then.Replaces {
			return false
		}
		return wantDeleted(i, time.Now().UTC()) == nil
	})
}
