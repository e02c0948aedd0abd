package bat

import (
	"context"
	"time"

	"github.com/ciaocloud/ciao/cluster"
)

// Test is one acceptance test and its entry in the test plan.
type Test struct {
	Name        string // CamelCase, unique in its suite
	Summary     string // one sentence: what is promised
	Description string // what the test does
	Expected    string // what must come of it
	// Timeout is the longest that it may take on an ordinary machine; zero is DefaultTimeout.
	Timeout time.Duration
	// Alone is a test that no other may run beside: it changes what others see, or counts what all have.
	Alone bool
	Kind  cluster.Kind // of the instances that it is about; empty is container
	Run   func(ctx context.Context, t *T)
}

// Suite is a list of tests about one thing.
type Suite struct {
	Name    string // lower case
	Summary string
	Alone   bool // all its tests are
	Tests   []Test
}

// DefaultTimeout is the longest that a test may take if it does not say otherwise: several times what the slowest needs, so that a
// busy machine does not fail it.
const DefaultTimeout = 2 * time.Minute

// Status is how a test ended.
type Status string

// How a test ends.
const (
	Passed  Status = "passed"
	Failed  Status = "failed"
	Skipped Status = "skipped"
)

// Outcome is what came of a test.
type Outcome struct {
	Suite     string
	Test      Test
	Status    Status
	Reason    string // the first failure, or why it was skipped
	Took      time.Duration
	Log       []string
	Artefacts []Artefact
}

// Artefact is something that helps to understand a failure.
type Artefact struct {
	Name string
	Text string
}
