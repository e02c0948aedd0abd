// Package runner chooses acceptance tests, runs them one after the other against one cluster, and reports.
//
// Tests run in the order of the list, never two at a time: they judge one cluster, and what one of them sees must be its own doing. A
// test that does not end is left behind and counts as failed; ^C ends the running test, whose cleanups still run.
//
// What is guaranteed: the exit code is 0 only if every chosen test passed or said why it cannot judge here; 1 is a failed test, an
// interrupt, or something left behind; 2 is wrong use or a cluster that cannot be reached. The last line on standard output is
// `N passed, N failed, N skipped`.
package runner

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/ciaocloud/ciao/bat"
	"github.com/ciaocloud/ciao/terminal"
)

// entry is a test with the name of its suite.
type entry struct {
	suite string
	test  bat.Test
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
			if e := (entry{suite.Name, test}); pattern.MatchString(e.name()) {
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

// reporter is told how it goes.
type reporter interface {
	began(entry)
	ended(bat.Outcome)
}

// options of a run.
type options struct {
	limit    time.Duration // of a test that does not say otherwise
	scale    float64
	failFast bool
}

// run runs the tests until the last one, the first failure if that is wanted, or the end of ctx.
func run(ctx context.Context, cluster *bat.Cluster, tests []entry, o options, report reporter) []bat.Outcome {
	var outcomes []bat.Outcome
	for _, e := range tests {
		if ctx.Err() != nil {
			break
		}
		limit := o.limit
		if e.test.Timeout > limit {
			limit = e.test.Timeout
		}
		report.began(e)
		outcome := bat.Do(ctx, cluster, e.suite, e.test, time.Duration(float64(limit)*max(o.scale, 1)), o.scale)
		report.ended(outcome)
		outcomes = append(outcomes, outcome)
		if o.failFast && outcome.Status == bat.Failed {
			break
		}
	}
	return outcomes
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
