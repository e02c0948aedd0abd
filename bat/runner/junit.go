package runner

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/ciaocloud/ciao/bat"
)

// The form that JUnit's Ant task writes and that every CI server reads. Times are in seconds.
type junitSuites struct {
	XMLName  xml.Name     `xml:"testsuites"`
	Tests    int          `xml:"tests,attr"`
	Failures int          `xml:"failures,attr"`
	Skipped  int          `xml:"skipped,attr"`
	Time     string       `xml:"time,attr"`
	Suites   []junitSuite `xml:"testsuite"`
}

type junitSuite struct {
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Skipped  int         `xml:"skipped,attr"`
	Time     string      `xml:"time,attr"`
	Cases    []junitCase `xml:"testcase"`
}

type junitCase struct {
	Name    string       `xml:"name,attr"`
	Class   string       `xml:"classname,attr"`
	Time    string       `xml:"time,attr"`
	Failure *junitReason `xml:"failure,omitempty"`
	Skipped *junitReason `xml:"skipped,omitempty"`
	Out     string       `xml:"system-out,omitempty"`
}

type junitReason struct {
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

// writeJUnit writes the outcomes as one document.
func writeJUnit(w io.Writer, outcomes []bat.Outcome) error {
	document := junitSuites{
		Tests: len(outcomes), Failures: count(outcomes, bat.Failed), Skipped: count(outcomes, bat.Skipped), Time: total(outcomes),
	}
	var order []string
	bySuite := map[string][]bat.Outcome{}
	for _, o := range outcomes {
		if bySuite[o.Suite] == nil {
			order = append(order, o.Suite)
		}
		bySuite[o.Suite] = append(bySuite[o.Suite], o)
	}
	for _, name := range order {
		document.Suites = append(document.Suites, suiteOf(name, bySuite[name]))
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return fmt.Errorf("write JUnit: %w", err)
	}
	encoder := xml.NewEncoder(w)
	encoder.Indent("", "  ")
	if err := encoder.Encode(document); err != nil {
		return fmt.Errorf("write JUnit: %w", err)
	}
	_, err := io.WriteString(w, "\n")
	return err
}

func suiteOf(name string, outcomes []bat.Outcome) junitSuite {
	suite := junitSuite{Name: name, Tests: len(outcomes), Failures: count(outcomes, bat.Failed), Skipped: count(outcomes, bat.Skipped), Time: total(outcomes)}
	for _, o := range outcomes {
		one := junitCase{Name: o.Test.Name, Class: "bat." + name, Time: seconds(o.Took), Out: clean(strings.Join(o.Log, "\n"))}
		switch o.Status {
		case bat.Failed:
			one.Failure = &junitReason{Message: clean(o.Reason), Text: clean(sections(o.Artefacts))}
		case bat.Skipped:
			one.Skipped = &junitReason{Message: clean(o.Reason)}
		}
		suite.Cases = append(suite.Cases, one)
	}
	return suite
}

func sections(artefacts []bat.Artefact) string {
	var text strings.Builder
	for _, artefact := range artefacts {
		fmt.Fprintf(&text, "── %s\n%s\n", artefact.Name, artefact.Text)
	}
	return text.String()
}

func total(outcomes []bat.Outcome) string {
	var sum time.Duration
	for _, o := range outcomes {
		sum += o.Took
	}
	return seconds(sum)
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.3f", d.Seconds()) }

// clean leaves out what XML 1.0 cannot carry (section 2.2).
func clean(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' && r != '\t' || r == 0xFFFE || r == 0xFFFF {
			return -1
		}
		return r
	}, strings.ToValidUTF8(text, "�"))
}
