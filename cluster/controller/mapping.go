package controller

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/payload"
	"github.com/ciaocloud/ciao/cluster/store"
)

// observeExternalIP keeps what a subnet's CNCI must map.
func (r *reconciler) observeExternalIP(before, e cluster.ExternalIP, deleted bool) {
	if n := r.networks[before.Subnet]; n != nil && (deleted || before.Subnet != e.Subnet) {
		delete(n.external, before.Address)
		n.touch()
	}
	n := r.networks[e.Subnet]
	if n == nil || deleted {
		return
	}
	had, known := n.external[e.Address]
	n.external[e.Address] = e
	n.due = true
	if !known || had.Attached() != e.Attached() || had.Instance != e.Instance {
		n.touch()
	}
}

// observePools keeps the ranges that tenants may reach on the underlay.
func (r *reconciler) observePools(view store.Reader) {
	var lent []netip.Prefix
	for pool := range pools.All(view) {
		lent = append(lent, pool.Prefixes...)
	}
	slices.SortFunc(lent, netip.Prefix.Compare)
	if slices.Equal(lent, r.lent) {
		return
	}
	r.lent = lent
	for _, n := range r.networks {
		n.touch()
	}
}

// mappings are what the CNCI should map, in order.
func (n *network) mappings() (list []payload.Mapping) {
	for _, address := range slices.SortedFunc(maps.Keys(n.external), netip.Addr.Compare) {
		e := n.external[address]
		if internal := addressFor(address, n.hosts[e.Instance].Addresses); e.Attached() && internal.IsValid() {
			list = append(list, payload.Mapping{External: address, Internal: internal})
		}
	}
	return list
}

// tendExternalIPs records what has become of a subnet's external IPs.
func (r *reconciler) tendExternalIPs(n *network) {
	for _, e := range n.external {
		state, reason := n.judge(e)
		if state == e.State && reason == e.Reason {
			continue
		}
		r.edits = append(r.edits, edit{cost: 2, apply: func(tx store.Tx) (func(), error) {
			row, err := externalIPs.Get(tx, e.Address.String())
			if err != nil || row.State != e.State || row.Instance != e.Instance || row.Reason != e.Reason {
				return nil, nil // its owner wants something else meanwhile
			}
			return nil, settleExternalIP(tx, row, state, reason)
		}})
	}
}

// judge says where an external IP is, as far as its CNCI is known to be.
func (n *network) judge(e cluster.ExternalIP) (state cluster.ExternalIPState, reason string) {
	held := n.applied != nil && slices.ContainsFunc(n.applied.body.Mappings, func(m payload.Mapping) bool {
		return m.External == e.Address && (!e.Attached() || m.Internal == addressFor(e.Address, n.hosts[e.Instance].Addresses)) // not still its predecessor's
	})
	problem, unclaimed := n.unclaimed[e.Address]
	switch working := n.cnci.ID == n.subnet.CNCI && n.cnci.State == cluster.Active && n.problem == ""; {
	case e.State == cluster.ExternalUnmapping && (n.subnet.CNCI == "" || n.applied != nil && !held):
		return cluster.ExternalReserved, ""
	case e.State == cluster.ExternalUnmapping && n.broken():
		return e.State, n.trouble()
	case e.State == cluster.ExternalUnmapping:
		return e.State, ""
	case n.subnet.CNCI == "", n.cnci.Node == "" && !n.broken(): // it is made, or goes elsewhere: what it had applied is gone
		return cluster.ExternalMapping, ""
	case held && unclaimed:
		return cluster.ExternalFailed, problem
	case held && working:
		return cluster.ExternalMapped, ""
	case !working && n.broken():
		return cluster.ExternalFailed, n.trouble()
	case !held && n.heard:
		return cluster.ExternalMapping, ""
	}
	return e.State, e.Reason
}

// broken says that the CNCI does not serve, and not because it is just coming up.
func (n *network) broken() bool {
	return n.problem != "" || n.cnci.State == cluster.Failed || n.cnci.State == cluster.Missing || n.cnci.State == cluster.Exited
}

func settleExternalIP(tx store.Tx, row cluster.ExternalIP, state cluster.ExternalIPState, reason string) error {
	before := row
	row.State, row.Reason = state, reason
	event := cluster.Event{}
	switch {
	case state == cluster.ExternalReserved && passing(tx, before):
		row = passed(tx, before)
	case state == cluster.ExternalReserved:
		event, row = unmappedEvent(before), unmapped(row)
	case state == cluster.ExternalMapped && before.State != state:
		event = externalEvent(row, cluster.Info, "Mapped", fmt.Sprintf("External IP %s reaches instance %s.", row.Address, instanceName(tx, row.Instance)))
	case state == cluster.ExternalFailed && (before.State != state || before.Reason != reason):
		event = externalEvent(row, cluster.Error, "MappingFailed", clip(fmt.Sprintf("External IP %s does not reach instance %s: %s", row.Address, instanceName(tx, row.Instance), reason)))
	case state == cluster.ExternalUnmapping && reason != "":
		event = externalEvent(row, cluster.Error, "UnmappingFailed", clip(fmt.Sprintf("External IP %s is not detached yet: %s", row.Address, reason)))
	}
	if event.Reason != "" {
		if err := putEvent(tx, event); err != nil {
			return err
		}
	}
	return externalIPs.Put(tx, row)
}

func unmappedEvent(row cluster.ExternalIP) cluster.Event {
	return externalEvent(row, cluster.Info, "Unmapped", fmt.Sprintf("External IP %s is attached to nothing any more.", row.Address))
}

func externalEvent(row cluster.ExternalIP, severity cluster.Severity, reason, message string) cluster.Event {
	event := newEvent(severity, reason, message)
	event.Tenant, event.Instance = row.Tenant, row.Instance
	return event
}
