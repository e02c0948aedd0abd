package ssntp

import "slices"

// Rule says who may send an operand to whom.
type Rule struct {
	Operand Operand
	Name    string
	From    Role // roles that may send it
	To      Role // roles that may receive it
	// Multicast: without a destination it goes to every connected peer with a
	// role of To, and to the hub when To names the hub's role. Operands without
	// it need a destination, unless the hub itself is the only receiver.
	Multicast bool
	// Droppable: a later frame of the same source replaces one that still waits.
	Droppable bool
}

const (
	nodes    = RoleAgent | RoleNetAgent
	hubs     = RoleScheduler | RoleServer
	everyone = allRoles
)

// rules is the one authority table; docs/ssntp.md is held to it by a test.
var rules = []Rule{
	{Operand: Place, Name: "Place", From: RoleController, To: RoleScheduler, Multicast: true},
	{Operand: Start, Name: "Start", From: RoleController, To: nodes},
	{Operand: Stop, Name: "Stop", From: RoleController, To: nodes},
	{Operand: Delete, Name: "Delete", From: RoleController, To: nodes},
	{Operand: Evacuate, Name: "Evacuate", From: RoleController, To: nodes},
	{Operand: Restore, Name: "Restore", From: RoleController, To: nodes},
	{Operand: Configure, Name: "Configure", From: RoleController, To: nodes | RoleCNCIAgent},
	{Operand: Certificate, Name: "Certificate", From: RoleController, To: RoleNetAgent},
	{Operand: RequestInventory, Name: "RequestInventory", From: RoleController, To: nodes},
	{Operand: OpenStream, Name: "OpenStream", From: RoleController, To: nodes},
	{Operand: Revoke, Name: "Revoke", From: RoleController, To: RoleScheduler | nodes, Multicast: true},
	{Operand: Volume, Name: "Volume", From: RoleController, To: nodes},

	{Operand: Ready, Name: "Ready", From: nodes, To: RoleScheduler | RoleController, Multicast: true},
	{Operand: Full, Name: "Full", From: nodes, To: RoleScheduler | RoleController, Multicast: true},
	{Operand: Maintenance, Name: "Maintenance", From: nodes, To: RoleScheduler | RoleController, Multicast: true},

	{Operand: NodeConnected, Name: "NodeConnected", From: RoleScheduler, To: RoleController, Multicast: true},
	{Operand: NodeDisconnected, Name: "NodeDisconnected", From: RoleScheduler, To: RoleController, Multicast: true},
	{Operand: Inventory, Name: "Inventory", From: nodes, To: RoleScheduler | RoleController, Multicast: true},
	{Operand: InstanceState, Name: "InstanceState", From: nodes, To: RoleScheduler | RoleController, Multicast: true},
	{Operand: Progress, Name: "Progress", From: nodes, To: RoleController, Multicast: true},
	{Operand: Statistics, Name: "Statistics", From: nodes, To: RoleScheduler | RoleController, Multicast: true, Droppable: true},
	{Operand: Placed, Name: "Placed", From: RoleScheduler, To: RoleController, Multicast: true},
	{Operand: ConcentratorState, Name: "ConcentratorState", From: RoleCNCIAgent, To: RoleController, Multicast: true},
	{Operand: CertificateRequest, Name: "CertificateRequest", From: RoleNetAgent, To: RoleController, Multicast: true},
	{Operand: TraceReport, Name: "TraceReport", From: nodes, To: RoleController, Multicast: true},
	{Operand: RequestPaths, Name: "RequestPaths", From: nodes, To: RoleController, Multicast: true},
	{Operand: VolumeState, Name: "VolumeState", From: nodes, To: RoleController, Multicast: true},

	{Operand: Undeliverable, Name: "Undeliverable", From: hubs, To: everyone},
	{Operand: InvalidFrame, Name: "InvalidFrame", From: hubs, To: everyone},
	{Operand: NotAuthorized, Name: "NotAuthorized", From: hubs, To: everyone},
	{Operand: PlacementFailure, Name: "PlacementFailure", From: RoleScheduler, To: RoleController, Multicast: true},
}

// Rules returns the authority table, a copy, ordered by operand.
func Rules() []Rule { return slices.Clone(rules) }

// ruleIndex finds the rule of a known operand without a map: [kind][number].
var ruleIndex = func() (index [KindControl][16]*Rule) {
	for i := range rules {
		r := &rules[i]
		index[r.Operand.Kind()][r.Operand.Number()] = r
	}
	return index
}()

// RuleOf returns the rule of an operand; false when it is unknown.
func RuleOf(o Operand) (Rule, bool) {
	if rule := ruleOf(o); rule != nil {
		return *rule, true
	}
	return Rule{}, false
}

func ruleOf(o Operand) *Rule {
	if int(o.Kind()) >= len(ruleIndex) || o.Number() >= 16 {
		return nil
	}
	return ruleIndex[o.Kind()][o.Number()]
}
