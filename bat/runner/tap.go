package runner

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"github.com/goccy/go-yaml"

	"github.com/ciaocloud/ciao/bat"
)

// diagnostic is what TAP says of a test that failed, as YAML below its line.
type diagnostic struct {
	Message  string  `yaml:"message"`
	Severity string  `yaml:"severity"`
	Seconds  float64 `yaml:"duration_s"`
	Promised string  `yaml:"promised"`
	Expected string  `yaml:"expected"`
	Log      string  `yaml:"log,omitempty"`
}

// writeTAP writes the outcomes in the Test Anything Protocol, version 14 (https://testanything.org/tap-version-14-specification.html).
func writeTAP(w io.Writer, outcomes []bat.Outcome) error {
	var text bytes.Buffer
	fmt.Fprintf(&text, "TAP version 14\n1..%d\n", len(outcomes))
	for i, o := range outcomes {
		verdict, directive := "ok", ""
		switch o.Status {
		case bat.Failed:
			verdict = "not ok"
		case bat.Skipped:
			directive = " # SKIP " + oneLine(o.Reason)
		}
		fmt.Fprintf(&text, "%s %d - %s%s\n", verdict, i+1, escapeTAP(o.Suite+"/"+o.Test.Name), directive)
		if o.Status != bat.Failed {
			continue
		}
		block, err := yaml.Marshal(diagnostic{
			Message: clean(o.Reason), Severity: "fail", Seconds: o.Took.Seconds(), Promised: o.Test.Summary, Expected: o.Test.Expected,
			Log: clean(strings.Join(o.Log, "\n")),
		})
		if err != nil {
			return fmt.Errorf("write TAP: %w", err)
		}
		fmt.Fprint(&text, "  ---\n")
		for line := range strings.Lines(string(block)) {
			fmt.Fprint(&text, "  ", line)
		}
		fmt.Fprint(&text, "  ...\n")
	}
	if _, err := w.Write(text.Bytes()); err != nil {
		return fmt.Errorf("write TAP: %w", err)
	}
	return nil
}

func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

// escapeTAP keeps a description from being read as a directive.
func escapeTAP(text string) string { return strings.NewReplacer(`\`, `\\`, "#", `\#`).Replace(text) }
