package runner

import (
	"fmt"
	"io"

	"github.com/ciaocloud/ciao/bat"
)

// writePlan writes the test plan: what each chosen test promises, does and expects.
func writePlan(w io.Writer, suites []bat.Suite, chosen []entry) {
	last := ""
	for _, e := range chosen {
		if e.suite != last {
			last = e.suite
			for _, suite := range suites {
				if suite.Name == e.suite {
					fmt.Fprintf(w, "%s: %s\n\n", suite.Name, suite.Summary)
				}
			}
		}
		fmt.Fprintf(w, "  %s\n      %s\n      does:     %s\n      expected: %s\n\n", e.name(), e.test.Summary, e.test.Description, e.test.Expected)
	}
	fmt.Fprintf(w, "%d tests\n", len(chosen))
}
