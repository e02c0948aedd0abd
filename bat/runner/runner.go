// Package runner chooses acceptance tests, runs them against one cluster, and reports.
//
// A test acts in tenants of its own, so several run at a time, and begin in the order of the list. Those of virtual machines run one by one
// beside the others: guests that boot on emulated processors take all that a small machine has. What a test sees must be its own doing: those
// that would disturb others, or be disturbed, run one by one when the others have ended. A test that does not end is left behind and counts
// as failed; ^C ends the running tests, whose cleanups still run.
//
// What is guaranteed: the exit code is 0 only if every chosen test passed or said why it cannot judge here; 1 is a failed test, an
// interrupt, or something left behind; 2 is wrong use or a cluster that cannot be reached. The last line on standard output is
// `N passed, N failed, N skipped`.
package runner

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ciaocloud/ciao/bat"
	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/terminal"
)

// entry is a test with the name of its suite.
type entry struct {
	suite string
	test  bat.Test
	alone bool
}

func (e entry) name() string { return e.suite + "/" + e.test.Name }

// choice says which tests are wanted.
type choice struct {
	pattern string   // of SUITE/NAME; empty is all
	suites  []string // empty is all
}

// from returns the chosen tests in order; choosing none is wrong use.
func (c choice) from(suites []bat.Suite) ([]entry, error) {
	pattern, err := regexp.Compile(c.pattern)
	if err != nil {
		return nil, terminal.Usage("--run is not a regular expression: %w", err)
	}
	var names []string
	var chosen []entry
	for _, suite := range suites {
		names = append(names, suite.Name)
		if len(c.suites) > 0 && !slices.Contains(c.suites, suite.Name) {
			continue
		}
		for _, test := range suite.Tests {
			if e := (entry{suite.Name, test, suite.Alone || test.Alone}); pattern.MatchString(e.name()) {
				chosen = append(chosen, e)
			}
		}
	}
	for _, name := range c.suites {
		if !slices.Contains(names, name) {
			return nil, terminal.Usage("there is no suite %q; the suites are %s", name, strings.Join(names, ", "))
		}
	}
	if len(chosen) == 0 {
		return nil, terminal.Usage("no test matches; `bat --list` shows them")
	}
	return chosen, nil
}

// reporter is told how it goes, by one caller at a time.
type reporter interface {
	began(entry)
	ended(bat.Outcome)
}

// options of a run.
type options struct {
	limit    time.Duration // of a test that does not say otherwise
	scale    float64
	failFast bool
	parallel int // tests at a time, at least one
}

// running is a run in progress.
type running struct {
	options
	judged *bat.Cluster
	report reporter

	mu       sync.Mutex          // guards what follows, and is held while reporting
	outcomes map[int]bat.Outcome // by place in the list
	stopped  bool                // no test begins any more
}

// run runs the tests until the last one, the first failure if that is wanted, or the end of ctx, and returns what came of those that
// began, in the order of the list.
func run(ctx context.Context, judged *bat.Cluster, tests []entry, o options, report reporter) []bat.Outcome {
	r := &running{options: o, judged: judged, report: report, outcomes: make(map[int]bat.Outcome)}
	var machines, others, alone []int // places in the list
	for place, e := range tests {
		switch {
		case e.alone:
			alone = append(alone, place)
		case e.test.Kind == cluster.KindVM:
			machines = append(machines, place)
		default:
			others = append(others, place)
		}
	}
	inTurn := func(places []int) func() error {
		return func() error {
			for _, place := range places {
				r.one(ctx, place, tests[place])
			}
			return nil
		}
	}
	var beside errgroup.Group // says no errors: outcomes do
	beside.SetLimit(max(o.parallel, 1))
	beside.Go(inTurn(machines))
	for _, place := range others {
		beside.Go(inTurn([]int{place}))
	}
	_ = beside.Wait()
	_ = inTurn(alone)()
	outcomes := make([]bat.Outcome, 0, len(tests))
	for _, place := range slices.Sorted(maps.Keys(r.outcomes)) {
		outcomes = append(outcomes, r.outcomes[place])
	}
	return outcomes
}

// one runs a test, unless the run has come to its end.
func (r *running) one(ctx context.Context, place int, e entry) {
	if !r.begin(ctx, e) {
		return
	}
	limit := max(r.limit, e.test.Timeout)
	outcome := bat.Do(ctx, r.judged, e.suite, e.test, time.Duration(float64(limit)*max(r.scale, 1)), r.scale)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.report.ended(outcome)
	r.outcomes[place] = outcome
	r.stopped = r.stopped || r.failFast && outcome.Status == bat.Failed
}

func (r *running) begin(ctx context.Context, e entry) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopped || ctx.Err() != nil {
		return false
	}
	r.report.began(e)
	return true
}

// count counts the tests that ended in a way.
func count(outcomes []bat.Outcome, status bat.Status) int {
	n := 0
	for _, outcome := range outcomes {
		if outcome.Status == status {
			n++
		}
	}
	return n
}

// summary is the last line.
func summary(outcomes []bat.Outcome) string {
	return fmt.Sprintf("%d passed, %d failed, %d skipped",
		count(outcomes, bat.Passed), count(outcomes, bat.Failed), count(outcomes, bat.Skipped))
}
