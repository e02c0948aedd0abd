package ssntp

import "fmt"

// Kind is the second byte of a frame: what sort of message it is.
type Kind uint8

// The kinds of frames. Control frames belong to the protocol itself and are
// never seen by its users.
const (
	KindCommand Kind = 1
	KindStatus  Kind = 2
	KindEvent   Kind = 3
	KindError   Kind = 4
	KindControl Kind = 5
)

// String is the name in lower case.
func (k Kind) String() string {
	switch k {
	case KindCommand:
		return "command"
	case KindStatus:
		return "status"
	case KindEvent:
		return "event"
	case KindError:
		return "error"
	case KindControl:
		return "control"
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Operand says what a frame is about. The high byte is its [Kind], the low
// byte its number in that kind, so that one value names a frame's type. Numbers
// are never used again for something else.
type Operand uint16

// Commands.
const (
	Place            Operand = 0x0101 // controller → scheduler: find nodes for instances
	Start            Operand = 0x0102 // controller → node: start an instance
	Stop             Operand = 0x0103 // controller → node: stop an instance, keep its disks
	Delete           Operand = 0x0104 // controller → node: remove an instance
	Evacuate         Operand = 0x0105 // controller → node: stop everything, take nothing new
	Restore          Operand = 0x0106 // controller → node: end of evacuation
	Configure        Operand = 0x0107 // controller → node, concentrator: the wanted state of its networks
	Certificate      Operand = 0x0108 // controller → network node: a signed certificate for a concentrator
	RequestInventory Operand = 0x0109 // controller → node: report all instances
	OpenStream       Operand = 0x010a // controller → node: dial the controller for a log or a command
	Revoke           Operand = 0x010b // controller → scheduler, nodes: the authority's list of revoked certificates
	Volume           Operand = 0x010c // controller → node: make a volume that is a copy of another, remove one, give it to a running instance, or take it
)

// Statuses of a node.
const (
	Ready       Operand = 0x0201 // has room
	Full        Operand = 0x0202 // has no room until the next Ready
	Maintenance Operand = 0x0203 // evacuated
)

// Events.
const (
	NodeConnected      Operand = 0x0301 // scheduler → controllers
	NodeDisconnected   Operand = 0x0302 // scheduler → controllers
	Inventory          Operand = 0x0303 // node → scheduler, controllers: all its instances
	InstanceState      Operand = 0x0304 // node → scheduler, controllers
	Progress           Operand = 0x0305 // node → controllers
	Statistics         Operand = 0x0306 // node → scheduler, controllers; the latest wins
	Placed             Operand = 0x0307 // scheduler → controller: answer to Place
	ConcentratorState  Operand = 0x0308 // concentrator → controllers
	CertificateRequest Operand = 0x0309 // network node → controllers: sign this for a concentrator
	TraceReport        Operand = 0x030a // node → controllers: the ways of traced commands
	RequestPaths       Operand = 0x030b // node → controllers: tell it all paths of these subnets
	VolumeState        Operand = 0x030c // node → controllers: answer to Volume
)

// Errors. The payload of the first three is a [Refusal].
const (
	Undeliverable    Operand = 0x0401 // hub → sender: destination absent or its queue full
	InvalidFrame     Operand = 0x0402 // hub → sender: not understood
	NotAuthorized    Operand = 0x0403 // hub → sender: not allowed by the table of rules
	PlacementFailure Operand = 0x0404 // scheduler → controller: no node can take it
)

// Control operands of the protocol itself.
const (
	hello     Operand = 0x0501 // client → server, first frame of a connection
	welcome   Operand = 0x0502 // server → client, answer to hello
	goodbye   Operand = 0x0503 // either: this connection ends, and why
	heartbeat Operand = 0x0504 // either: alive; carries the acknowledgement
)

// Kind is the kind of the operand.
func (o Operand) Kind() Kind { return Kind(o >> 8) }

// Number is the number of the operand within its kind.
func (o Operand) Number() uint8 { return uint8(o) }

// String is the name as in this package, or "event 0x3f" when it is unknown.
func (o Operand) String() string {
	if rule, ok := RuleOf(o); ok {
		return rule.Name
	}
	switch o {
	case hello:
		return "hello"
	case welcome:
		return "welcome"
	case goodbye:
		return "goodbye"
	case heartbeat:
		return "heartbeat"
	}
	return fmt.Sprintf("%s %#02x", o.Kind(), o.Number())
}
