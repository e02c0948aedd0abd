package launcher

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/payload"
	"github.com/ciaocloud/ciao/ssntp"
)

// Bounds of one frame of 1 MiB: a report takes at most about 1 KiB, the id of a volume 38 bytes.
const (
	inventoryPart    = 500
	inventoryVolumes = 4000
)

// sendInventory tells everything that the node has, in as many frames as it takes. Nothing else is sent between them.
func (l *Launcher) sendInventory(ctx context.Context, to ssntp.ID) error {
	state, status := l.status()
	reports := l.reports()
	volumes := l.volumesHere(ctx)
	parts := max(1, (len(reports)+inventoryPart-1)/inventoryPart, (len(volumes)+inventoryVolumes-1)/inventoryVolumes)
	for part := range parts {
		body := payload.Inventory{State: state, Node: status, Part: part, Parts: parts}
		body.Instances = partOf(reports, part, inventoryPart)
		body.Volumes = partOf(volumes, part, inventoryVolumes)
		if err := l.link.send(ctx, ssntp.Inventory, to, body); err != nil {
			return err
		}
	}
	return nil
}

// partOf is the part of a list that goes into one frame; empty behind its end.
func partOf[T any](all []T, part, size int) []T {
	return all[min(len(all), part*size):min(len(all), (part+1)*size)]
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
	l.told = told{state: state, reason: status.Reason, allocated: status.Allocated, underlay: l.underlay()}
	l.mu.Unlock()
	return l.link.send(ctx, operand, ssntp.ID{}, status)
}

// told is what the cluster last heard of the node.
type told struct {
	state     cluster.NodeState
	reason    string
	allocated cluster.Resources
	underlay  netip.Addr
}

// tellChanges has the status told if the cluster last heard something else. Amounts that change while the node has room are not
// urgent: the reports of instances carry them too.
func (l *Launcher) tellChanges(urgent bool) {
	state, status := l.status()
	l.mu.Lock()
	now := told{state: state, reason: status.Reason, allocated: status.Allocated, underlay: l.underlay()}
	last := l.told
	l.mu.Unlock()
	if urgent {
		now.allocated = last.allocated
	}
	if now != last {
		l.outbox.statusChanged()
	}
}

// status is what the node is: in maintenance by an operator's wish, full when not even the smallest instance fits, and while a part of it does
// not work.
func (l *Launcher) status() (cluster.NodeState, payload.NodeStatus) {
	facts, networked := l.fabric.ready()
	var broken, early string
	if !networked {
		broken, early = l.fabric.excuse()
	}
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
	broken = cmp.Or(l.engineDown(), broken)
	if status.Reason, status.Impaired = cmp.Or(broken, early, l.noRoom()), broken != ""; status.Reason != "" {
		return cluster.NodeFull, status
	}
	return cluster.NodeReady, status
}

// noRoom says what even the smallest instance would lack; empty when it fits. l.mu is held.
func (l *Launcher) noRoom() string {
	free := l.config.Overcommit.Of(l.config.Capacity).Sub(l.allocated)
	switch {
	case (cluster.Resources{CPU: 1}).Fits(free) && (cluster.Resources{MemoryMiB: cluster.MinMemoryMiB}).Fits(free):
		return ""
	case free.CPU < 1:
		return "all that it may promise of its processors is promised to instances"
	}
	return fmt.Sprintf("%d MiB of memory are left to promise, and the smallest instance asks for %d", max(0, free.MemoryMiB), cluster.MinMemoryMiB)
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

// engineDown says which engine does not answer, or has no room, and why; empty when all do, and have. l.mu is held.
func (l *Launcher) engineDown() string {
	for _, d := range l.config.Drivers { // in an order that stays
		if e := l.engines[d.Kind()]; e != nil && e.down {
			return fmt.Sprintf("what carries instances of kind %s does not answer: %s", d.Kind(), cmp.Or(e.trouble, "no reason is known yet"))
		}
	}
	for _, d := range l.config.Drivers {
		if e := l.engines[d.Kind()]; e != nil && e.full != "" {
			return e.full
		}
	}
	return ""
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
