package cluster

import "slices"

// State is where an instance is in its life.
type State string

// States of an instance.
const (
	Pending   State = "pending"   // recorded, everything reserved, not yet on a node
	Scheduled State = "scheduled" // a node is chosen and recorded
	Starting  State = "starting"  // its node prepares network, image and disks
	Active    State = "active"    // it runs
	Stopping  State = "stopping"  // it was asked to stop
	Stopped   State = "stopped"   // it stopped because it was asked to
	Exited    State = "exited"    // it ended by itself
	Failed    State = "failed"    // it could not be started; Reason says why
	Missing   State = "missing"   // its node has not been heard of for longer than the grace time
	Deleting  State = "deleting"  // on its way out
	Gone      State = "gone"      // a node's last word on an instance it no longer has; never stored
)

// States lists all states in the order of an instance's life.
func States() []State {
	return []State{Pending, Scheduled, Starting, Active, Stopping, Stopped, Exited, Failed, Missing, Deleting, Gone}
}

// Desired is what the user wants of an instance.
type Desired string

// Desired states.
const (
	WantActive  Desired = "active"
	WantStopped Desired = "stopped"
	WantDeleted Desired = "deleted"
)

// transitions says which state may follow which. docs/architecture.md shows it; a test keeps both the same.
var transitions = map[State][]State{
	Pending:   {Scheduled, Failed, Deleting, Stopped},
	Scheduled: {Starting, Active, Exited, Failed, Missing, Stopping, Deleting, Pending},
	Starting:  {Active, Exited, Failed, Missing, Stopping, Deleting, Pending},
	Active:    {Stopping, Exited, Failed, Missing, Deleting, Starting, Pending},
	Stopping:  {Stopped, Exited, Failed, Missing, Deleting, Pending},
	Stopped:   {Pending, Scheduled, Starting, Active, Missing, Deleting},
	Exited:    {Pending, Scheduled, Starting, Active, Stopped, Missing, Deleting},
	Failed:    {Pending, Scheduled, Starting, Active, Stopped, Deleting},
	Missing:   {Scheduled, Starting, Active, Stopping, Stopped, Exited, Failed, Deleting, Pending},
	Deleting:  {Gone},
}

// May says whether an instance in state s may come to state next. Staying is always allowed.
func (s State) May(next State) bool { return s == next || slices.Contains(transitions[s], next) }

// Settled says whether the state lasts until somebody wants something else.
func (s State) Settled() bool {
	return slices.Contains([]State{Active, Stopped, Exited, Failed, Missing}, s)
}

// Next lists the states that may follow s.
func (s State) Next() []State { return slices.Clone(transitions[s]) }
