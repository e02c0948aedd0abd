package cluster

import (
	"slices"
	"testing"
)

func TestEveryStateIsInTheTable(t *testing.T) {
	for _, state := range States() {
		next := state.Next()
		if state == Gone {
			if len(next) != 0 {
				t.Errorf("after %s comes %v", state, next)
			}
			continue
		}
		if len(next) == 0 {
			t.Errorf("%s leads nowhere", state)
		}
		for _, n := range next {
			if !slices.Contains(States(), n) {
				t.Errorf("%s leads to the unknown state %q", state, n)
			}
		}
		if !state.May(state) {
			t.Errorf("%s may not stay", state)
		}
		if state != Deleting && !state.May(Deleting) {
			t.Errorf("%s cannot be deleted", state)
		}
	}
}

func TestTransitions(t *testing.T) {
	tests := []struct {
		from, to State
		may      bool
	}{
		{Pending, Scheduled, true},
		{Pending, Active, false},
		{Scheduled, Starting, true},
		{Starting, Active, true},
		{Starting, Pending, true},
		{Active, Exited, true},
		{Active, Pending, true}, // when its node is evacuated
		{Exited, Active, true},
		{Pending, Stopping, false},
		{Active, Stopped, false},
		{Stopping, Stopped, true},
		{Stopped, Scheduled, true},
		{Missing, Active, true},
		{Deleting, Gone, true},
		{Deleting, Active, false},
		{Gone, Pending, false},
		{"dancing", Active, false},
	}
	for _, test := range tests {
		if got := test.from.May(test.to); got != test.may {
			t.Errorf("%s → %s: %t, want %t", test.from, test.to, got, test.may)
		}
	}
}

func TestEveryStateIsReached(t *testing.T) {
	reached := map[State]bool{}
	var visit func(State)
	visit = func(s State) {
		if !reached[s] {
			reached[s] = true
			for _, next := range s.Next() {
				visit(next)
			}
		}
	}
	visit(Pending)
	for _, state := range States() {
		if !reached[state] {
			t.Errorf("%s cannot be reached", state)
		}
	}
}

func TestNextIsACopy(t *testing.T) {
	Pending.Next()[0] = Gone
	if Pending.May(Gone) {
		t.Error("a caller changed the table")
	}
}
