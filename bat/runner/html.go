package runner

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"time"

	"github.com/ciaocloud/ciao/bat"
)

//go:embed report.html
var reportHTML string

var reportPage = template.Must(template.New("report").Funcs(template.FuncMap{
	"mark":  func(s bat.Status) string { return marks[s] },
	"round": func(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) },
}).Parse(reportHTML))

// page is what the report shows.
type page struct {
	Summary  string
	Finished time.Time
	Suites   []suiteOutcomes
}

type suiteOutcomes struct {
	Name     string
	Outcomes []bat.Outcome
}

// writeHTML writes the outcomes as one page that needs nothing else: no script, no style, no picture from elsewhere.
func writeHTML(w io.Writer, outcomes []bat.Outcome) error {
	p := page{Summary: summary(outcomes), Finished: time.Now().UTC()}
	for _, o := range outcomes {
		if n := len(p.Suites); n == 0 || p.Suites[n-1].Name != o.Suite {
			p.Suites = append(p.Suites, suiteOutcomes{Name: o.Suite})
		}
		last := &p.Suites[len(p.Suites)-1]
		last.Outcomes = append(last.Outcomes, o)
	}
	if err := reportPage.Execute(w, p); err != nil {
		return fmt.Errorf("write HTML: %w", err)
	}
	return nil
}
