package launcher

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/payload"
	"github.com/ciaocloud/ciao/ssntp"
)

// inventoryPart bounds the instances of one frame: a report takes at most about 1 KiB of a frame's 1 MiB.
const inventoryPart = 500

// sendInventory tells everything that the node has, in as many frames as it takes. Nothing else is sent between them.
func (l *Launcher) sendInventory(ctx context.Context, to ssntp.ID) error {
	state, status := l.status()
	reports := l.reports()
	parts := max(1, (len(reports)+inventoryPart-1)/inventoryPart)
	for part := range parts {
		body := payload.Inventory{State: state, Node: status, Part: part, Parts: parts}
		body.Instances = reports[part*inventoryPart : min(len(reports), (part+1)*inventoryPart)]
		if err := l.link.send(ctx, ssntp.Inventory, to, body); err != nil {
			return err
		}
	}
	return nil
}

func (l *Launcher) reports() []payload.InstanceReport {
	l.mu.Lock()
	defer l.mu.Unlock()
	reports := make([]payload.InstanceReport, 0, len(l.owners))
	for _, id := range slices.Sorted(maps.Keys(l.owners)) {
		reports = append(reports, l.owners[id].reported)
	}
	return reports
}

// sendStatus tells whether the node has room.
func (l *Launcher) sendStatus(ctx context.Context) error {
	state, status := l.status()
	operand := ssntp.Ready
	switch state {
	case cluster.NodeFull:
		operand = ssntp.Full
	case cluster.NodeMaintenance:
		operand = ssntp.Maintenance
	}
	l.mu.Lock()
	l.told = told{state: state, allocated: status.Allocated, underlay: l.underlay()}
	l.mu.Unlock()
	return l.link.send(ctx, operand, ssntp.ID{}, status)
}

// told is what the cluster last heard of the node.
type told struct {
	state     cluster.NodeState
	allocated cluster.Resources
	underlay  netip.Addr
}

// tellChanges has the status told if the cluster last heard something else. Amounts that change while the node has room are not
// urgent: the reports of instances carry them too.
func (l *Launcher) tellChanges(urgent bool) {
	state, status := l.status()
	l.mu.Lock()
	now := told{state: state, allocated: status.Allocated, underlay: l.underlay()}
	last := l.told
	l.mu.Unlock()
	if urgent {
		now.allocated = last.allocated
	}
	if now != last {
		l.outbox.statusChanged()
	}
}

// status is what the node is: in maintenance by an operator's wish, full when not even the smallest instance fits, and while a part of it does not work.
func (l *Launcher) status() (cluster.NodeState, payload.NodeStatus) {
	facts, networked := l.fabric.ready()
	l.mu.Lock()
	defer l.mu.Unlock()
	status := payload.NodeStatus{
		Hostname: l.config.Hostname, Roles: l.roles, Kinds: l.kinds(),
		Capacity: l.config.Capacity, Allocated: l.allocated, Version: l.config.Version, Labels: l.config.Labels,
	}
	if facts.Underlay.IsValid() {
		status.Underlay = append(status.Underlay, facts.Underlay)
	}
	if l.maintenance {
		return cluster.NodeMaintenance, status
	}
	smallest := cluster.Resources{CPU: 1, MemoryMiB: cluster.MinMemoryMiB}
	room := smallest.Fits(l.config.Overcommit.Of(l.config.Capacity).Sub(status.Allocated))
	if !room || !networked || l.enginesDown() {
		return cluster.NodeFull, status
	}
	return cluster.NodeReady, status
}

func (l *Launcher) underlay() netip.Addr {
	facts, _ := l.fabric.ready()
	return facts.Underlay
}

func (l *Launcher) kinds() []cluster.Kind {
	var kinds []cluster.Kind
	for _, d := range l.config.Drivers {
		if slices.Contains(l.roles, roleFor(d.Kind())) {
			kinds = append(kinds, d.Kind())
		}
	}
	return kinds
}

func (l *Launcher) enginesDown() bool {
	for _, e := range l.engines {
		if e.down {
			return true
		}
	}
	return false
}

// roleFor is the role that a node needs to run a kind.
func roleFor(kind cluster.Kind) cluster.NodeRole {
	if kind == cluster.KindCNCI {
		return cluster.Network
	}
	return cluster.Compute
}

// bounded keeps text that comes from an engine readable and short.
func bounded(text string) string {
	const most = 512
	text = strings.ToValidUTF8(text, "?")
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most-3], "") + "..."
}
